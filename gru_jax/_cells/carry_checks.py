"""Checks of states, of resets, and of the arguments of one step."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from gru_jax._cells.checks import check_array, check_bools, check_inputs, leading_shape, outline


def check_carry(cell: Any, name: str, carry: Any, params: Any, batch: Sequence[int], *, steps: Any = None) -> Any:
    """Check a carry, leaves `(*B, H)` or what broadcasts to it over the batch, against the cell's zero carry.

    With `steps`, a leaf may have one more axis in front, of that size or of size 1. Returns the carry as JAX arrays.
    """
    wanted = carry_shapes(cell, batch, params)
    if jax.tree.structure(carry) != jax.tree.structure(wanted):
        raise TypeError(
            f"{name}: expected {outline(wanted)} for the cell {cell.name!r}, got {outline(carry)}; "
            "pass cell.carry(params, batch_shape=...) or a carry that this cell returned."
        )
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(wanted)]
    leaves = []
    for path, want, leaf in zip(paths, jax.tree.leaves(wanted), jax.tree.leaves(carry), strict=True):
        leaf = check_array(f"{name}{path}", leaf)
        if leaf.dtype != want.dtype:
            raise TypeError(
                f"{name}{path}: expected {want.dtype}, got {leaf.dtype}; floats in a carry are float32 for all inputs "
                f"but float64: cast it with .astype(jnp.{want.dtype})."
            )
        by_step = steps is not None and leaf.ndim == len(want.shape) + 1
        shape = (steps, *want.shape) if by_step else want.shape
        if leaf.shape != shape and not _broadcasts(leaf.shape, shape, features=len(want.shape) > len(batch)):
            more = "" if steps is None else f", or {(steps, *want.shape)} with one for each step,"
            raise ValueError(
                f"{name}{path}: expected shape {want.shape}{more} or one that broadcasts to it over the batch, "
                f"got {leaf.shape}; "
                f"cell.carry(params, batch_shape={tuple(batch)}) has that shape."
            )
        leaves.append(leaf)
    return jax.tree.unflatten(jax.tree.structure(wanted), leaves)


def broadcast_carry(carry: Any, like: Any, steps: Any = None) -> Any:
    """A checked carry, each leaf broadcast to its shape in `like`; with `steps`, to an axis of that size before it."""

    def leaf(x: jax.Array, whole: Any) -> jax.Array:
        shape = whole.shape if steps is None else (steps, *whole.shape)
        return x if x.shape == shape else jnp.broadcast_to(x, shape)

    return jax.tree.map(leaf, carry, like)


def check_reset(name: str, reset: Any, batch: tuple[int, ...]) -> jax.Array:
    """Check a reset, bool `(*B,)`; returns it as a JAX array."""
    remedy = f"broadcast it with jnp.broadcast_to({name}, {batch})"
    return check_bools(name, reset, batch, "one for each row of the batch", remedy)


def check_call(cell: Any, params: Any, carry: Any, x: Any, reset: Any, reset_carry: Any) -> tuple[Any, ...]:
    """Check the arguments of one step; returns them as JAX arrays."""
    params, x = check_inputs(cell, "x", x, params, axes=("*B",))
    batch = leading_shape(cell, params, x)
    carry = check_carry(cell, "carry", carry, params, batch)
    _check_one_step(carry, carry_shapes(cell, batch, params), len(batch), x)
    if reset is not None:
        reset = check_reset("reset", reset, batch)
    if reset_carry is not None:
        reset_carry = check_carry(cell, "reset_carry", reset_carry, params, batch)
    return params, carry, x, reset, reset_carry


def _check_one_step(carry: Any, wanted: Any, axes: int, x: Any) -> None:
    """Refuse a carry with only some axes of the batch: x then most likely has one too many, that of time."""
    for leaf, want in zip(jax.tree.leaves(carry), jax.tree.leaves(wanted), strict=True):
        if len(want.shape) - axes < leaf.ndim < len(want.shape):
            raise ValueError(
                f"carry: expected shape {want.shape}, or {want.shape[axes:]} for all rows, got {leaf.shape}; x of "
                f"shape {jax.tree.leaves(x)[0].shape} is one step of a batch of {axes} axes: for a sequence run "
                "gru_jax.scan, for such a batch broadcast the carry."
            )


def carry_shapes(cell: Any, batch: Sequence[int], params: Any) -> Any:
    """Shapes and dtypes of the cell's zero carry; cached, since a loop of single steps asks each time."""
    leaves, structure = jax.tree.flatten(params)
    # JAX makes float32 of NumPy's float64 while it runs in 32 bits.
    kinds = tuple((leaf.shape, jax.dtypes.canonicalize_dtype(leaf.dtype, allow_extended_dtype=True)) for leaf in leaves)
    return _zero_carry_of(cell, tuple(batch), structure, kinds)


@functools.lru_cache(maxsize=256)
def _zero_carry_of(cell: Any, batch: tuple[int, ...], structure: Any, leaves: tuple[Any, ...]) -> Any:
    params = structure.unflatten(jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in leaves)
    remedy = "it is called as carry(params, batch_shape=(...)) and returns leaves (*batch_shape, ...)"
    try:
        shapes = jax.eval_shape(lambda p: cell.carry(p, batch_shape=batch), params)
    except TypeError as error:
        if "batch_shape" not in str(error):
            raise
        raise TypeError(
            f"cell: expected carry of the cell {cell.name!r} to take batch_shape, got {cell.carry!r}; {remedy}."
        ) from error
    for leaf in jax.tree.leaves(shapes):
        if leaf.shape[: len(batch)] != batch:
            raise ValueError(
                f"cell: expected carry of the cell {cell.name!r} to make leaves ({', '.join(map(str, batch))}, ...), "
                f"got {leaf.shape}; {remedy}."
            )
    return shapes


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...], *, features: bool) -> bool:
    # One feature is refused: it is more often a mistake than a state whose features are all equal.
    if features and shape and shape[-1] != to[-1]:
        return False
    return len(shape) <= len(to) and all(a in (1, b) for a, b in zip(shape[::-1], to[::-1], strict=False))
