"""What every attention shares: which keys count, and weights over those that do.

A key that does not count gets weight 0 exactly, and NaN in it reaches no value and no gradient.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gru_jax._cells.checks import check_float_array, check_letters
from gru_jax._cells.precision import carry_dtype
from gru_jax._scan.checks import check_lengths, check_step_mask


class Layout(NamedTuple):
    """Where users have the time axis: first, `(S, *B, K)`, as in functions, or after the batch, as in Flax modules."""

    batch_major: bool

    @property
    def place(self) -> str:
        """The place of the time axis, in words."""
        return "after the batch" if self.batch_major else "first"

    def letters(self, time: str, features: str = "") -> str:
        """A shape as docstrings write it."""
        axes = ("*B", time) if self.batch_major else (time, "*B")
        return f"({', '.join((*axes, features) if features else axes)})"

    def split(self, shape: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
        """Steps and batch of a shape without features."""
        return (shape[-1], shape[:-1]) if self.batch_major else (shape[0], shape[1:])

    def time_first(self, array: jax.Array, features: int = 1) -> jax.Array:
        """The array with its time axis, which stands before `features` axes of features, moved to the front."""
        return jnp.moveaxis(array, -1 - features, 0) if self.batch_major else array


TIME_MAJOR, BATCH_MAJOR = Layout(False), Layout(True)


def valid_keys(
    lengths: Any,
    mask: Any,
    steps: int,
    batch: tuple[int, ...],
    *,
    names: tuple[str, str],
    layout: Layout,
    like: tuple[str, str] = ("T", "xs"),
) -> jax.Array | None:
    """Bool `(S, *B)`, True where a key counts, or None where all do.

    `names` are what messages call lengths and mask. `layout` is that of the mask. `like` is the letter of the time axis
    and the name of the array that has the mask's layout.
    """
    if lengths is not None and mask is not None:
        raise ValueError(
            f"{names[1]} and {names[0]}: expected at most one of them, got both; fold the lengths into the mask."
        )
    lengths = check_lengths(lengths, steps, batch, names=names, padded=like[1])
    if lengths is None:
        shape = (*batch, steps) if layout.batch_major else (steps, *batch)
        described = f"{layout.letters(like[0])} as in {like[1]}"
        mask = check_step_mask(names[1], mask, shape, like=described, place=layout.place)
        return None if mask is None else layout.time_first(mask, features=0)
    places = jnp.arange(steps, dtype=jnp.int32).reshape(steps, *(1 for _ in batch))
    return places < jnp.astype(lengths, jnp.int32)[None]


def zero_where_invalid(keys: jax.Array, valid: jax.Array | None) -> jax.Array:
    """Keys or values `(S, *B, F)`, with zeros where they do not count."""
    # Before any product: 0 * NaN in the backward pass would be NaN.
    return keys if valid is None else jnp.where(valid[..., None], keys, 0)


def masked_softmax(scores: jax.Array, valid: jax.Array | None, axis: int) -> jax.Array:
    """Weights that sum to 1 over `axis`, or are all 0 where nothing counts; `valid` broadcasts against scores."""
    if valid is None:
        return jax.nn.softmax(scores, axis=axis)
    highest = jnp.max(scores, axis=axis, keepdims=True, where=valid, initial=-jnp.inf)
    highest = jax.lax.stop_gradient(jnp.where(jnp.isneginf(highest), 0, highest))
    raised = jnp.exp(jnp.where(valid, scores - highest, -jnp.inf))
    total = jnp.sum(raised, axis=axis, keepdims=True)
    return raised / jnp.where(total == 0, 1, total)


def weighted_sum(weights: jax.Array, values: jax.Array, batch: tuple[int, ...]) -> jax.Array:
    """Σ_s weights[s] values[s]: `(*Q, S, *B)` and `(S, *B, V)` to `(*Q, *B, V)`, in the dtype of the values."""
    steps, width = values.shape[0], values.shape[-1]
    leading = weights.shape[: weights.ndim - 1 - len(batch)]
    rows = math.prod(batch)
    flat = jnp.einsum(
        "qsb,sbv->qbv",
        jnp.astype(weights, values.dtype).reshape(math.prod(leading), steps, rows),
        values.reshape(steps, rows, width),
        preferred_element_type=carry_dtype(values.dtype),
    )
    return jnp.astype(flat, values.dtype).reshape(*leading, *batch, width)


def check_attention_params(wanted: type, params: Any, shapes: Mapping[str, tuple[str, ...]]) -> dict[str, int]:
    """Check params against shapes written in letters, `{"w_q": ("Q", "A")}`; returns the size of each letter."""
    remedy = "pass what this attention's init returned"
    if not isinstance(params, wanted):
        raise TypeError(f"params: expected {wanted.__name__}, got {type(params).__name__}; {remedy}.")
    return check_letters("params", params, shapes, remedy)


def check_width(name: str, array: Any, letters: str, width: int, least_axes: int) -> jax.Array:
    """A float array, checked to have at least `least_axes` axes, the last as wide as the params were made for."""
    array = check_float_array(name, array)
    if array.ndim < least_axes or array.shape[-1] != width:
        raise ValueError(
            f"{name}: expected shape {letters} with {width} features, which the params were made for, "
            f"got {array.shape}; pass such an array, or init the params for that width."
        )
    return array
