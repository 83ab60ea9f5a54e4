"""Recordings of speech: which digit was spoken, and who spoke."""
