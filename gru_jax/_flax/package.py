"""Import Flax, which only `gru_jax.nnx` and `gru_jax.linen` need, or say how to install it."""

import importlib

try:
    importlib.import_module("flax")
except ImportError as error:
    raise ImportError(
        f'gru_jax.nnx and gru_jax.linen need the package flax ({error}): pip install "gru_jax[flax]".'
    ) from None
