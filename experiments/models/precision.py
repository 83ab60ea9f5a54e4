"""Layers of Flax that compute in a narrow dtype as gru_jax does: products in it; sums, biases and outputs in float32.

`nn.Embed` needs nothing of the kind. Its rows are rounded by the layer that reads them, and so their gradients, sums
over all places of a token, stay in float32.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


def dense(width: int, dtype: Any) -> nn.Dense:
    """`nn.Dense` with its product in ``dtype``; None: as Flax has it."""
    if dtype is None:
        return nn.Dense(width)
    wide = functools.partial(jax.lax.dot_general, preferred_element_type=jnp.float32)
    return nn.Dense(width, dtype=dtype, promote_dtype=_all_but_the_bias, dot_general=wide)


def conv(width: int, kernel: tuple[int, int], dtype: Any) -> nn.Conv:
    """`nn.Conv` with its product in ``dtype``; None: as Flax has it."""
    if dtype is None:
        return nn.Conv(width, kernel)
    return nn.Conv(width, kernel, dtype=dtype, promote_dtype=_all_but_the_bias, conv_general_dilated=_widened_conv)


def widened(xs: jax.Array) -> jax.Array:
    """``xs`` in float32 at least: a mean over many steps needs a sum and a count that a narrow float cannot hold."""
    return jnp.astype(xs, jnp.float32) if xs.dtype.itemsize < 4 else xs


def _all_but_the_bias(*arrays: Any, dtype: Any = None, inexact: bool = True) -> list[Any]:
    """Flax's `promote_dtype` for inputs, kernel and bias."""
    inputs, kernel, bias = arrays
    return [jnp.astype(inputs, dtype), jnp.astype(kernel, dtype), bias]


def _widened_conv(*arguments: Any, **options: Any) -> jax.Array:
    # JAX cannot differentiate a convolution whose result is wider than what it multiplies.
    return widened(jax.lax.conv_general_dilated(*arguments, **options))
