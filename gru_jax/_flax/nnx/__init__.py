"""The modules of `gru_jax.nnx`, one a file."""
