"""What the Flax modules of both kinds share: names of parameters, layouts of batches, the checks of both.

May import `_attention`, `_cells`, `_decoding`, `_layers` and `_scan`.
"""
