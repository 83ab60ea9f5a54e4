"""Checks of the arguments that `scan` has and a single step does not have."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from gru_jax._cells.cell import Cell
from gru_jax._cells.checks import check_array, check_bools, check_positive


def check_cell(cell: Any) -> None:
    """Check for a hashable `Cell`, not the function that makes one."""
    if not isinstance(cell, Cell):
        raise TypeError(f"cell: expected a gru_jax.Cell, got {cell!r}; call the maker: gru_jax.gru().")
    for name in ("carry", "project", "step", "input_shape"):
        if not callable(getattr(cell, name)):
            raise TypeError(
                f"cell: expected {name} of the cell {cell.name!r} to be a function, got {getattr(cell, name)!r}; "
                "see gru_jax.Cell for what it takes and returns."
            )
    try:
        hash(cell)
    except TypeError as error:
        raise TypeError(
            f"cell: expected hashable fields, since a cell is fixed when it is compiled; {error}; "
            "make its options a NamedTuple or another immutable value."
        ) from None


def check_lengths(
    lengths: Any,
    steps: int,
    batch: tuple[int, ...],
    *,
    names: tuple[str, str] = ("seq_lengths", "mask"),
    padded: str = "xs",
) -> jax.Array | None:
    """Check for integers `(*B,)`, within 0..T where the values are known; returns them as a JAX array.

    `names` are what messages call the lengths and the mask that could replace them, `padded` the array of T steps.
    """
    if lengths is None:
        return None
    name, mask = names
    # Taken before `check_array`: inside jit, a JAX array has no known values.
    known = None if isinstance(lengths, jax.core.Tracer) else lengths
    lengths = check_array(name, lengths)
    if not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise TypeError(f"{name}: expected integers, got {lengths.dtype}; cast with .astype(jnp.int32).")
    if lengths.shape != batch:
        raise ValueError(
            f"{name}: expected shape {batch}, one length for each row of the batch, got {lengths.shape}; "
            f"for padding elsewhere than at the end pass {mask}."
        )
    if known is not None and lengths.size and getattr(known, "is_fully_addressable", True):
        # By NumPy: under jit, JAX would trace the minimum of an array even if the function closes over it.
        known = np.asarray(known)
        least, most = int(known.min()), int(known.max())
        if least < 0 or most > steps:
            raise ValueError(
                f"{name}: expected lengths within 0..{steps}, the number of steps in {padded}, got {least}..{most}; "
                f"pad {padded} to the longest row, or clip the lengths."
            )
    return lengths


def check_step_mask(
    name: str, value: Any, shape: tuple[int, ...], *, like: str = "(T, *B) as in xs", place: str = "first"
) -> jax.Array | None:
    """Check for a bool array of `shape`, which messages call `like`; `place` is where its time axis belongs."""
    if value is None:
        return None
    return check_bools(name, value, shape, like, f"put the time axis {place}, or broadcast it over the batch")


def check_unroll(unroll: Any) -> int | None:
    """Check for a positive integer or None."""
    if unroll is None:
        return None
    return check_positive("unroll", unroll, remedy="1 runs one step at a time, None as many as suit the platform")


def with_precision(precision: Any) -> AbstractContextManager[Any]:
    """A context in which matrix products have this precision; None: what JAX is set to."""
    name = check_precision(precision)
    return jax.default_matmul_precision(name) if name else nullcontext()


def check_precision(precision: Any) -> str | None:
    """The precision as a name that `jax.default_matmul_precision` takes, or None."""
    if precision is None:
        return None
    if isinstance(precision, lax.Precision):
        return precision.name.lower()
    try:
        with jax.default_matmul_precision(precision):
            return str(precision)
    except (ValueError, TypeError):
        raise ValueError(
            f'precision: expected None, a lax.Precision or a name such as "default", "high", "highest", "bfloat16", '
            f'"tensorfloat32" or "float32", got {precision!r}; pass one of them.'
        ) from None
