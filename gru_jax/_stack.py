"""What the two Flax stacks share: how a layout of layers becomes calls of the pure functions.

Batch-major in, time-major through `scan_layers`, batch-major out; params as dicts of arrays by layer, direction, name.
"""

import functools
import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from gru_jax._cells.cell import Cell
from gru_jax._cells.checks import (
    check_array,
    check_dtype,
    check_flag,
    check_inputs,
    first_shape,
    input_leaves,
    leading_shape,
)
from gru_jax._cells.precision import carry_dtype
from gru_jax._layers import DIRECTIONS, check_states, scan_layers


def as_dict(params: Any) -> dict[str, jax.Array]:
    """A cell's params by name."""
    if not hasattr(params, "_asdict"):
        raise TypeError(
            "cell: expected a cell whose init returns a NamedTuple, so that its params have names, "
            f"got {type(params).__name__}; return a NamedTuple, or use gru_jax.scan_layers."
        )
    return dict(params._asdict())


@functools.lru_cache(maxsize=256)
def params_type(cell: Cell, in_features: int, features: int) -> Any:
    """The NamedTuple that the cell's `init` returns."""
    return type(jax.eval_shape(lambda: cell.init(jax.random.key(0), in_features, features)))


@functools.lru_cache(maxsize=256)
def input_shape(cell: Cell, features: int) -> Any:
    """What one input of the cell looks like; its width, which nobody has said yet, is that of the state."""

    def look() -> None:
        params = cell.init(jax.random.key(0), features, features)
        as_dict(params)
        # In here, as shapes alone are no params.
        found.append(cell.input_shape(params))

    found: list[Any] = []
    jax.eval_shape(look)
    return found[0]


def as_params(kind: Any, leaves: Mapping[str, jax.Array]) -> Any:
    """A cell's params, of the NamedTuple `kind`, from their names."""
    check_names("params", leaves, kind._fields)
    return kind(**leaves)


def check_names(name: str, found: Mapping[str, Any], wanted: Iterable[str]) -> None:
    """The same names, in any order: parameters of another layout or cell are refused, not half used."""
    if set(found) != set(wanted):
        raise ValueError(
            f"{name}: expected {', '.join(sorted(wanted))}, got {', '.join(sorted(found))}; "
            "load parameters of a module with the same cell and directions."
        )


def stored_width(cell: Cell, leaves: Mapping[str, jax.Array], features: int) -> int:
    """The input width that stored params of one layer were made for."""
    # Their NamedTuple does not depend on the width, which is what is asked for; some cells want it to divide features.
    width = first_shape(cell.input_shape(as_params(params_type(cell, features, features), leaves)))[-1]
    return features if width is None else width


def direction_names(bidirectional: bool) -> tuple[str, ...]:
    """Which directions a layer has, in their order."""
    return DIRECTIONS if check_flag("bidirectional", bidirectional) else DIRECTIONS[:1]


def cast_inputs(name: str, xs: Any, dtype: Any) -> jax.Array:
    """Inputs in the dtype that a module was told to compute in; as they are, when it was told none."""
    xs = check_array(name, xs)
    if dtype is None or not jnp.issubdtype(xs.dtype, jnp.floating):
        return xs
    return jnp.astype(xs, check_dtype("dtype", dtype))


def cast_leaves(cell: Cell, name: str, xs: Any, shapes: Any, dtype: Any) -> Any:
    """What the cell reads, which its `input_shape` says is like `shapes`, in the dtype that a module was told.

    Of several arrays the first, whose dtype is what the cell computes in; the others in that of its carry, which holds
    what a narrow float does not, such as long gaps of time.
    """
    dtypes = itertools.chain([dtype], itertools.repeat(None if dtype is None else carry_dtype(dtype)))
    leaves = input_leaves(cell, name, xs, shapes)
    arrays = [cast_inputs(path, leaf, wanted) for (path, leaf, _), wanted in zip(leaves, dtypes, strict=False)]
    return type(shapes)(*arrays) if hasattr(shapes, "_fields") else arrays[0]


def width_of(cell: Cell, name: str, xs: Any, features: int) -> int:
    """`in_features` for these inputs."""
    _, first, _ = input_leaves(cell, name, xs, input_shape(cell, features))[0]
    return (check_array(name, first).shape or (1,))[-1]


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
    axes = ("T", "*B") if check_flag("time_major", time_major) else ("*B", "T")
    xs = cast_leaves(cell, "xs", xs, cell.input_shape(params[0][0]), dtype)
    check_inputs(cell, "xs", xs, params[0][0], axes=axes)
    lead = leading_shape(cell, params[0][0], xs)
    axis = 0 if time_major else len(lead) - 1
    check_states(cell, params, "initial_carry", initial_carry, lead[:axis] + lead[axis + 1 :])
    if not time_major:
        mask, resets = (_time_first(name, m, lead) for name, m in (("mask", mask), ("resets", resets)))
    xs = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, axis, 0), xs)
    carry, ys = scan_layers(cell, params, xs, initial_carry, mask=mask, resets=resets, **options)
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
