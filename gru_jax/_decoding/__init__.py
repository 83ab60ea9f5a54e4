"""Encoder and decoder, and searches for the likeliest output.

May import `_attention`, `_cells`, `_layers` and `_scan`.
"""
