"""The modules of `gru_jax.linen`, one a file."""
