"""Sequences made up to ask for memory."""
