"""Summaries of docstrings: written anew, or picked from their words."""
