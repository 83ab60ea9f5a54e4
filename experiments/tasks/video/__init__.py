"""Clips of moving digits: the next frame, or which digits they show."""
