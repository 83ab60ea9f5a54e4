"""The plain recurrent network."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gru_jax._cells import initializers
from gru_jax._cells.cell import Bound, Cell
from gru_jax._cells.checks import check_params
from gru_jax._cells.gru import project, zero_carry
from gru_jax._cells.initializers import Initializer
from gru_jax._cells.precision import add_bias, matmul


class RNNParams(NamedTuple):
    """One plain recurrent layer in one direction.

    Attributes:
      w_i: `(I, H)`, applied to the input.
      w_h: `(H, H)`, applied to the state.
      b_i: `(H,)`, the bias beside the input.
      b_h: `(H,)`, the bias beside the state.
    """

    w_i: jax.Array
    w_h: jax.Array
    b_i: jax.Array
    b_h: jax.Array


class RNNStart(NamedTuple):
    """How the params of a plain recurrent network begin; see `rnn`."""

    kernel_init: Initializer
    recurrent_init: Initializer
    bias_init: Initializer


def rnn(
    *,
    kernel_init: Initializer = initializers.lecun_normal,
    recurrent_init: Initializer = initializers.orthogonal,
    bias_init: Initializer = initializers.zeros,
) -> Cell:
    """The plain recurrent network.

        h' = tanh(x W_i + b_i + h W_h + b_h)

    Args:
      kernel_init: `init(key, (I, H), dtype)` for w_i.
      recurrent_init: `init(key, (H, H), dtype)` for w_h.
      bias_init: `init(key, (H,), dtype)` for each bias.

    Returns:
      A `Cell` whose params are `RNNParams` and whose carry is h, `(*B, H)`; y is h' in the input's dtype.

    Raises:
      TypeError: for an initialiser that is no hashable function.

    Source: Elman 1990, "Finding structure in time".
    """
    initializers.check_initializers(kernel_init=kernel_init, recurrent_init=recurrent_init, bias_init=bias_init)
    return _rnn(RNNStart(kernel_init, recurrent_init, bias_init))


@functools.cache
def _rnn(start: RNNStart) -> Cell:
    return Cell("rnn", Bound(_init, start), zero_carry, project, _step, _input_shape)


def _init(start: RNNStart, key: jax.Array, in_features: int, features: int, dtype: Any = jnp.float32) -> RNNParams:
    kernel_init, recurrent_init, bias_init = start
    in_features, features, dtype = initializers.check_init(key, in_features, features, dtype)
    k_i, k_h, k_bi, k_bh = jax.random.split(key, 4)
    return RNNParams(
        w_i=initializers.per_gate("kernel_init", kernel_init, k_i, (in_features, features), 1, dtype),
        w_h=initializers.per_gate("recurrent_init", recurrent_init, k_h, (features, features), 1, dtype),
        b_i=initializers.per_gate("bias_init", bias_init, k_bi, (features,), 1, dtype),
        b_h=initializers.per_gate("bias_init", bias_init, k_bh, (features,), 1, dtype),
    )


def _input_shape(params: Any) -> tuple[int]:
    check_params("rnn", RNNParams, params, {"w_i": ("I", "H"), "w_h": ("H", "H"), "b_i": ("H",), "b_h": ("H",)})
    return (params.w_i.shape[0],)


def _step(params: RNNParams, h: jax.Array, g: jax.Array) -> tuple[jax.Array, jax.Array]:
    h = jnp.tanh(add_bias(g + matmul(h, params.w_h), params.b_h))
    return h, h
