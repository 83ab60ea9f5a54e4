"""What the two Flax stacks share: how a layout of layers becomes calls of the pure functions.

Batch-major in, time-major through `scan_layers`, batch-major out; params as dicts of arrays by layer, direction, name.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from gru_jax._cells.cell import Cell
from gru_jax._cells.checks import check_array, check_dtype, check_flag
from gru_jax._layers import DIRECTIONS, scan_layers


@functools.cache
def params_type(cell: Cell) -> type:
    """The NamedTuple that the cell's `init` returns."""
    return type(jax.eval_shape(lambda: cell.init(jax.random.key(0), 1, 1)))


def as_dict(params: Any) -> dict[str, jax.Array]:
    """A cell's params by name."""
    if not hasattr(params, "_asdict"):
        raise TypeError(
            "cell: expected a cell whose init returns a NamedTuple, so that its params have names, "
            f"got {type(params).__name__}; return a NamedTuple, or use gru_jax.scan_layers."
        )
    return dict(params._asdict())


def as_params(cell: Cell, leaves: Mapping[str, jax.Array]) -> Any:
    """A cell's params from their names."""
    return params_type(cell)(**leaves)


def direction_names(bidirectional: bool) -> tuple[str, ...]:
    """Which directions a layer has, in their order."""
    return DIRECTIONS if check_flag("bidirectional", bidirectional) else DIRECTIONS[:1]


def cast_inputs(name: str, xs: Any, dtype: Any) -> jax.Array:
    """Inputs in the dtype that a module was told to compute in; as they are, when it was told none."""
    xs = check_array(name, xs)
    if dtype is None or not jnp.issubdtype(xs.dtype, jnp.floating):
        return xs
    return jnp.astype(xs, check_dtype("dtype", dtype))


def run_stack(
    cell: Cell,
    params: Any,
    xs: Any,
    *,
    initial_carry: Any,
    mask: Any,
    resets: Any,
    time_major: bool,
    dtype: Any,
    **options: Any,
) -> tuple[Any, jax.Array]:
    """`scan_layers` on `(*B, T, I)`, or on `(T, *B, I)` with `time_major`; mask and resets follow the layout of xs."""
    xs = cast_inputs("xs", xs, dtype)
    if check_flag("time_major", time_major):
        return scan_layers(cell, params, xs, initial_carry, mask=mask, resets=resets, **options)
    feature_axes = len(cell.input_shape(params[0][0]))
    if xs.ndim < 1 + feature_axes:
        raise ValueError(f"xs: expected shape (*B, T, I), got {xs.shape}; add the missing axes, for example xs[None].")
    axis = xs.ndim - feature_axes - 1
    mask, resets = (_time_first(name, m, xs.shape[: axis + 1]) for name, m in (("mask", mask), ("resets", resets)))
    carry, ys = scan_layers(cell, params, jnp.moveaxis(xs, axis, 0), initial_carry, mask=mask, resets=resets, **options)
    return carry, jnp.moveaxis(ys, 0, axis)


def _time_first(name: str, value: Any, shape: tuple[int, ...]) -> jax.Array | None:
    if value is None:
        return None
    value = check_array(name, value)
    if value.shape != shape:
        raise ValueError(
            f"{name}: expected shape {shape}, (*B, T) as in xs, got {value.shape}; "
            "for time-major arrays pass time_major=True."
        )
    return jnp.moveaxis(value, -1, 0)
