"""Attention and attention pooling over sequences. May import `_cells` and `_scan`."""
