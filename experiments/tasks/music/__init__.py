"""Scores for piano: which keys sound next."""
