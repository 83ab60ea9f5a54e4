"""The Flax modules, linen and NNX, and what both share: names of parameters, layouts of batches, checks.

May import `_attention`, `_cells`, `_decoding`, `_layers` and `_scan`.
"""
