"""How a call of a Flax stack becomes a call of the pure functions, for linen and NNX alike.

Batch-major in, time-major through `scan_layers`, batch-major out.
"""

import contextlib
import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gru_jax._cells.carry_checks import carry_shapes, check_carry
from gru_jax._cells.cell import Cell
from gru_jax._cells.checks import (
    check_array,
    check_dtype,
    check_flag,
    check_inputs,
    check_positive,
    input_leaves,
    leading_shape,
)
from gru_jax._cells.precision import carry_dtype
from gru_jax._flax.param_names import as_dict, input_shape, stored_width
from gru_jax._layers.layers import check_dropout, check_nesting, check_states, scan_layers
from gru_jax._layers.steps import step_layers
from gru_jax._scan.checks import check_cell, check_lengths, check_precision, check_step_mask, check_unroll


class _Plan(NamedTuple):
    """All of a call that is fixed when it is traced."""

    cell: Cell
    time_major: bool
    dtype: Any
    dropout_rate: float
    options: tuple[tuple[str, Any], ...]


def cast_inputs(name: str, xs: Any, dtype: Any) -> jax.Array:
    """Inputs as a JAX array; floats are cast to the dtype that the module was told to compute in, if any."""
    xs = check_array(name, xs)
    if dtype is None or not jnp.issubdtype(xs.dtype, jnp.floating):
        return xs
    return jnp.astype(xs, check_dtype("dtype", dtype))


def cast_leaves(cell: Cell, name: str, xs: Any, shapes: Any, dtype: Any) -> Any:
    """The cell's input, laid out as `shapes`, its `input_shape`, says, in the dtype that a module was told.

    The first of several arrays gets that dtype, in which the cell computes. The others get the dtype of its carry,
    which holds what a narrow float does not, such as long gaps of time.
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
    seq_lengths: Any,
    mask: Any,
    resets: Any,
    reset_carry: Any,
    time_major: bool,
    dtype: Any,
    dropout_rate: float,
    dropout_key: Any,
    precision: Any,
    unroll: int | None,
    remat: int | None,
    backend: str,
) -> tuple[Any, jax.Array]:
    """`scan_layers` on `(*B, T, I)`, or on `(T, *B, I)` with `time_major`.

    mask, resets, and a reset_carry that has a time axis, follow the layout of xs.
    """
    check_flag("time_major", time_major)
    shapes = cell.input_shape(params[0][0])
    (name, first, own), *others = input_leaves(cell, "xs", xs, shapes)
    arrays = [check_array(path, leaf) for path, leaf, _ in ((name, first, own), *others)]
    xs = type(shapes)(*arrays) if hasattr(shapes, "_fields") else arrays[0]
    lead = arrays[0].shape[: max(0, arrays[0].ndim - len(own))]
    plan = _Plan(
        cell,
        bool(time_major),
        None if dtype is None else check_dtype("dtype", dtype),
        check_dropout(dropout_rate),
        (
            ("precision", check_precision(precision)),
            ("unroll", check_unroll(unroll)),
            (
                "remat",
                None if remat is None else check_positive("remat", remat, remedy="None keeps the carry of every step"),
            ),
            ("backend", backend),
        ),
    )
    with _reading(lead, time_major):
        if lead:
            steps, batch = (lead[0], lead[1:]) if time_major else (lead[-1], lead[:-1])
            # Outside of jit, where lengths have values, and errors can name what is no array.
            seq_lengths = check_lengths(seq_lengths, steps, batch)
            check_states(cell, params, "initial_carry", initial_carry, batch)
            if time_major:
                check_states(cell, params, "reset_carry", reset_carry, batch, steps=steps)
            else:
                _check_restored(cell, params, reset_carry, batch, steps)
            mask, resets = (_check_mask(n, m, lead, time_major) for n, m in (("mask", mask), ("resets", resets)))
        return _run(plan, params, xs, initial_carry, seq_lengths, mask, resets, reset_carry, dropout_key)


class Widths(NamedTuple):
    """What the params of a stack say of the module that they are for."""

    in_features: Any
    features: tuple[int, ...]
    bidirectional: bool
    dtype: Any


def stack_widths(cell: Cell, params: Any) -> Widths:
    """Widths and directions of `params[layer][direction]`, which are checked by tracing one step through each layer."""
    check_cell(cell)
    check_nesting("params", params)
    directions = [len(layer) for layer in params]
    if len(set(directions)) > 1:
        raise ValueError(
            f"params: expected as many directions in every layer, got {directions}; run gru_jax.scan_layers on them."
        )
    shapes = cell.input_shape(params[0][0])
    dtype = jax.tree.leaves(params)[0].dtype
    (*_, wide), *others = every = shapes if hasattr(shapes, "_fields") else (shapes,)
    if wide is None:
        state = jax.tree.leaves(carry_shapes(cell, (), params[0][0]))[0]
        wide = stored_width(cell, as_dict(params[0][0]), state.shape[-1])
        every = ((*every[0][:-1], wide), *others)
    arrays = [jax.ShapeDtypeStruct((1, *(1 if size is None else size for size in axes)), dtype) for axes in every]
    xs = type(shapes)(*arrays) if hasattr(shapes, "_fields") else arrays[0]
    jax.eval_shape(lambda params, xs: scan_layers(cell, params, xs), params, xs)
    features = []
    for layer in params:
        _, xs = jax.eval_shape(lambda layer, xs: scan_layers(cell, (layer,), xs), layer, xs)
        features.append(xs.shape[-1] // len(layer))
    return Widths(wide, tuple(features), directions[0] == 2, dtype)


def step_stack(
    cell: Cell, params: Any, x: Any, carry: Any, *, reset: Any, dtype: Any, precision: Any
) -> tuple[Any, jax.Array]:
    """`step_layers` on an input in the dtype that a module was told."""
    x = cast_leaves(cell, "x", x, cell.input_shape(params[0][0]), dtype)
    return step_layers(cell, params, carry, x, reset=reset, precision=precision)


# One program: outside of one, jax_debug_nans looks at the result of each operation, and padding may hold NaN.
@functools.partial(jax.jit, static_argnums=0, inline=True)
def _run(
    plan: _Plan,
    params: Any,
    xs: Any,
    initial_carry: Any,
    seq_lengths: Any,
    mask: Any,
    resets: Any,
    reset_carry: Any,
    dropout_key: Any,
) -> tuple[Any, jax.Array]:
    cell = plan.cell
    axes = ("T", "*B") if plan.time_major else ("*B", "T")
    xs = cast_leaves(cell, "xs", xs, cell.input_shape(params[0][0]), plan.dtype)
    check_inputs(cell, "xs", xs, params[0][0], axes=axes)
    axis = 0 if plan.time_major else len(leading_shape(cell, params[0][0], xs)) - 1
    xs, mask, resets = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, axis, 0), (xs, mask, resets))
    if axis and reset_carry is not None:
        of_a_row = _of_each(lambda p: carry_shapes(cell, (), p), params)
        reset_carry = jax.tree.map(
            lambda leaf, row: jnp.moveaxis(leaf, axis, 0) if leaf.ndim - row.ndim > axis else leaf,
            tuple(tuple(layer) for layer in reset_carry),
            of_a_row,
        )
    carry, ys = scan_layers(
        cell,
        params,
        xs,
        initial_carry,
        seq_lengths=seq_lengths,
        mask=mask,
        resets=resets,
        reset_carry=reset_carry,
        dropout_rate=plan.dropout_rate,
        dropout_key=dropout_key,
        **dict(plan.options),
    )
    return carry, jnp.moveaxis(ys, 0, axis)


@contextlib.contextmanager
def _reading(lead: Sequence[int], time_major: bool) -> Iterator[None]:
    """Let errors about shapes say that the one axis of xs is read as time: it may have been meant as the batch."""
    try:
        yield
    except ValueError as error:
        if len(lead) != 1:
            raise
        raise ValueError(
            f"{error} xs has one axis before its features, which is read as time, {lead[0]} steps of one row without a "
            f"batch axis; for a batch of single steps pass xs[{'None' if time_major else ':, None'}], or call step."
        ) from None


def _of_each(function: Any, params: Any) -> tuple[tuple[Any, ...], ...]:
    return tuple(tuple(function(p) for p in directions) for directions in params)


def _check_restored(cell: Cell, params: Any, states: Any, batch: Sequence[int], steps: int) -> None:
    """Check what resets restore, batch-major: as any carry, or with a time axis after the batch."""
    if states is None:
        return
    check_nesting("reset_carry", states, like=params)
    for layer, row in enumerate(states):
        for direction, state in enumerate(row):
            p, name = params[layer][direction], f"reset_carry[{layer}][{direction}]"
            of_a_row = jax.tree.leaves(carry_shapes(cell, (), p))
            leaves = jax.tree.leaves(state)
            if len(leaves) != len(of_a_row) or not any(
                np.ndim(leaf) > len(batch) + one.ndim for leaf, one in zip(leaves, of_a_row, strict=True)
            ):
                check_carry(cell, name, state, p, batch)
                continue
            for leaf, one in zip(leaves, of_a_row, strict=True):
                shape, plain = (*batch, steps, *one.shape), (*batch, *one.shape)
                found = check_array(name, leaf).shape
                if len(found) == len(shape) and (
                    any(a not in (1, b) for a, b in zip(found, shape, strict=True)) or found[-1] != shape[-1]
                ):
                    raise ValueError(
                        f"{name}: expected shape {shape}, (*B, T, H) with one for each step, or {plain}, "
                        f"got {found}; for time-major arrays pass time_major=True."
                    )


def _check_mask(name: str, value: Any, shape: tuple[int, ...], time_major: bool) -> jax.Array | None:
    if value is None or time_major:
        return check_step_mask(name, value, shape)
    value = check_array(name, value)
    if value.shape != shape:
        raise ValueError(
            f"{name}: expected shape {shape}, (*B, T) as in xs, got {value.shape}; "
            "for time-major arrays pass time_major=True."
        )
    return check_step_mask(name, value, shape)
