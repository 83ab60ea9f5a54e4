"""Backend "scan": `lax.scan` of the cell's step, differentiated by JAX. Serves every cell; the others must match it."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from gru_jax._backends.backend import Backend
from gru_jax._backends.platforms import guess, unroll_for
from gru_jax._cells.cell import Cell
from gru_jax._cells.precision import carry_dtype, compute_params, input_dtype
from gru_jax._cells.select import select
from gru_jax._cells.steps import run_step


def run(
    cell: Cell,
    params: tuple[Any, ...],
    carry: tuple[Any, ...],
    xs: Any,
    valid: jax.Array | None,
    restart: tuple[jax.Array, ...] | None,
    reset_carry: tuple[Any, ...] | None,
    *,
    reverse: tuple[bool, ...],
    unroll: int | None,
    backend: str,
) -> tuple[tuple[Any, ...], tuple[jax.Array, ...]]:
    """See `Run`; lanes run one after another."""
    steps = jax.tree.leaves(xs)[0].shape[0]
    unroll = unroll_for(guess(), unroll, steps)
    nowhere = (None,) * len(params)
    lanes = zip(params, carry, restart or nowhere, reset_carry or nowhere, reverse, strict=True)
    runs = [_run_lane(cell, p, h, xs, valid, starts, restored, back, unroll) for p, h, starts, restored, back in lanes]
    return tuple(last for last, _ in runs), tuple(ys for _, ys in runs)


def _run_lane(
    cell: Cell,
    params: Any,
    carry: Any,
    xs: Any,
    valid: jax.Array | None,
    restart: jax.Array | None,
    reset_carry: Any,
    reverse: bool,
    unroll: int,
) -> tuple[Any, jax.Array]:
    dtype = input_dtype(xs)
    # Wide here and narrowed at every step: the loop sums the weights' gradients in the dtype that it is given.
    params = jax.tree.map(_widen, params)
    by_step = restart is not None and jax.tree.leaves(reset_carry)[0].ndim > jax.tree.leaves(carry)[0].ndim

    def step(carry: Any, now: Any) -> tuple[Any, jax.Array]:
        projected, valid, restart, restored = now
        if restart is not None:
            carry = select(restart, restored if by_step else reset_carry, carry)
        # Padding is run on a zero state: with a NaN in the row's own, 0 * NaN would reach the weights' gradients.
        seen = carry if valid is None else select(valid, carry, jax.tree.map(jnp.zeros_like, carry))
        new, y = run_step(cell, compute_params(params, dtype), seen, projected, rows)
        if valid is not None:
            new = select(valid, new, carry)
            y = select(valid, y, jnp.zeros_like(y))
        return new, y

    rows = jax.tree.leaves(xs)[0].shape[1:2]
    projected = cell.project(compute_params(params, dtype), xs)
    _check_projected(cell, projected, jax.tree.leaves(xs)[0].shape[0])
    steps = (projected, valid, restart, reset_carry if by_step else None)
    return lax.scan(step, carry, steps, reverse=reverse, unroll=unroll)


def _check_projected(cell: Cell, projected: Any, steps: Any) -> None:
    leaves = jax.tree.leaves(projected)
    if not leaves or any(jnp.shape(leaf)[:1] != (steps,) for leaf in leaves):
        found = ", ".join(str(jnp.shape(leaf)) for leaf in leaves) or "none"
        raise ValueError(
            f"project: expected arrays with the leading axes of x, here {steps} steps, from the cell {cell.name!r}, "
            f"got {found if not leaves else f'shapes {found}'}; keep all axes of x before its features."
        )


def _widen(leaf: jax.Array) -> jax.Array:
    return jnp.astype(leaf, carry_dtype(leaf.dtype)) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf


scan = Backend(name="scan", run=run, refuses=lambda problem: "", opaque=False)
