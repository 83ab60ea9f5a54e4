"""The minimal GRU, whose gates see the input alone."""

import functools
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from gru_jax._cells import initializers
from gru_jax._cells.cell import Bound, Cell
from gru_jax._cells.checks import check_batch_shape, check_params
from gru_jax._cells.gru import check_update_gate, project, update
from gru_jax._cells.initializers import Initializer
from gru_jax._cells.precision import carry_dtype


class MinGRUParams(NamedTuple):
    """One minimal-GRU layer in one direction; blocks side by side in the order z, n.

    Attributes:
      w_i: `(I, 2H)`, applied to the input.
      b_i: `(2H,)`, its bias.
    """

    w_i: jax.Array
    b_i: jax.Array


class MinGRUOptions(NamedTuple):
    """Which of the two minimal-GRU equations a cell computes."""

    update_gate: Literal["keep", "write"]


class MinGRUStart(NamedTuple):
    """How the params of a minimal GRU begin; see `min_gru`."""

    options: MinGRUOptions
    kernel_init: Initializer
    bias_init: Initializer
    update_bias: float
    chrono_span: float | None


def min_gru(
    *,
    update_gate: Literal["keep", "write"] = "write",
    kernel_init: Initializer = initializers.lecun_normal,
    bias_init: Initializer = initializers.zeros,
    update_bias: float = 0.0,
    chrono_span: float | None = None,
) -> Cell:
    """The minimal GRU: gate and candidate come from the input alone, so the state enters linearly.

        z  = σ(x W_iz + b_iz)                                    update gate
        n  = x W_in + b_in                                       candidate
        h' = (1 - z) ∘ h + z ∘ n                                 update_gate="write" (the paper's)
        h' = z ∘ h + (1 - z) ∘ n                                 update_gate="keep"

    Args:
      update_gate: whether z near 1 writes the candidate or keeps the old state.
      kernel_init: `init(key, (I, H), dtype)`, called once for z and once for n.
      bias_init: `init(key, (H,), dtype)`, called once for z and once for n.
      update_bias: the initial bias of the update gate, when not 0.
      chrono_span: the longest time span to remember at the start, in steps (Tallec & Ollivier 2018).

    Returns:
      A `Cell` whose params are `MinGRUParams` and whose carry is h, `(*B, H)`; y is h' in the input's dtype.

    Raises:
      TypeError, ValueError: for options that do not exist or contradict each other.

    Source: Feng et al. 2024, "Were RNNs all we needed?", section 3.1 (minGRU).
    """
    check_update_gate(update_gate)
    initializers.check_initializers(kernel_init=kernel_init, bias_init=bias_init)
    initializers.check_bias_options("update_bias", update_bias, chrono_span)
    return _min_gru(MinGRUStart(MinGRUOptions(update_gate), kernel_init, bias_init, float(update_bias), chrono_span))


@functools.cache
def _min_gru(start: MinGRUStart) -> Cell:
    options = start.options
    return Cell("min_gru", Bound(_init, start), _zero_carry, project, Bound(_step, options), _input_shape, options)


def _init(
    start: MinGRUStart, key: jax.Array, in_features: int, features: int, dtype: Any = jnp.float32
) -> MinGRUParams:
    options, kernel_init, bias_init, update_bias, chrono_span = start
    in_features, features, dtype = initializers.check_init(key, in_features, features, dtype)
    k_i, k_b, k_z = jax.random.split(key, 3)
    b_i = initializers.per_gate("bias_init", bias_init, k_b, (features,), 2, dtype)
    if update_bias != 0.0:
        b_i = initializers.set_gate(b_i, 0, 2, update_bias)
    if chrono_span is not None:
        keeps = initializers.chrono(k_z, features, chrono_span, dtype)
        b_i = initializers.set_gate(b_i, 0, 2, keeps if options.update_gate == "keep" else -keeps)
    w_i = initializers.per_gate("kernel_init", kernel_init, k_i, (in_features, features), 2, dtype)
    return MinGRUParams(w_i=w_i, b_i=b_i)


def _zero_carry(params: Any, batch_shape: tuple[int, ...] = ()) -> jax.Array:
    if not isinstance(params, MinGRUParams):
        raise TypeError(
            f"params: expected MinGRUParams, got {type(params).__name__}; pass what this cell's init returned."
        )
    return jnp.zeros((*check_batch_shape(batch_shape), params.w_i.shape[-1] // 2), carry_dtype(params.w_i.dtype))


def _input_shape(params: Any) -> tuple[int]:
    check_params("min_gru", MinGRUParams, params, {"w_i": ("I", "2H"), "b_i": ("2H",)})
    return (params.w_i.shape[0],)


def _step(options: MinGRUOptions, params: MinGRUParams, h: jax.Array, g: jax.Array) -> tuple[jax.Array, jax.Array]:
    a, n = jnp.split(g, 2, axis=-1)
    h = update(options.update_gate, jax.nn.sigmoid(a), h, n)
    return h, h
