"""Backend "scan": `lax.scan` of the cell's step, differentiated by JAX. Serves every cell; the others must match it."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from gru_jax._backends.backend import Backend
from gru_jax._cells.cell import Cell
from gru_jax._cells.precision import compute_params, input_dtype


def select(where: jax.Array, then: Any, otherwise: Any) -> Any:
    """Row by row of two trees with leaves `(B, ...)`: `then` where `where (B,)` holds, else `otherwise`."""

    def leaf(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.where(where.reshape(where.shape + (1,) * (a.ndim - where.ndim)), a, b)

    return jax.tree.map(leaf, then, otherwise)


def run(
    cell: Cell,
    params: Any,
    carry: Any,
    xs: Any,
    valid: jax.Array | None,
    restart: jax.Array | None,
    reset_carry: Any,
    *,
    reverse: bool,
    unroll: int,
) -> tuple[Any, jax.Array]:
    """See `Run`."""
    params = compute_params(params, input_dtype(xs))

    def step(carry: Any, now: Any) -> tuple[Any, jax.Array]:
        projected, valid, restart = now
        if restart is not None:
            carry = select(restart, reset_carry, carry)
        # Padding is run on a zero state: with a NaN in the row's own, 0 * NaN would reach the weights' gradients.
        seen = carry if valid is None else select(valid, carry, jax.tree.map(jnp.zeros_like, carry))
        new, y = cell.step(params, seen, projected)
        if valid is not None:
            new = select(valid, new, carry)
            y = select(valid, y, jnp.zeros_like(y))
        return new, y

    return lax.scan(step, carry, (cell.project(params, xs), valid, restart), reverse=reverse, unroll=unroll)


scan = Backend(name="scan", run=run, refuses=lambda cell: "")
