"""``equinox.nn.GRUCell`` in a `lax.scan`, vmapped over the rows, as equinox's documentation does it."""

from typing import Any

import equinox as eqx  # pyrefly: ignore[missing-import]
import jax
import jax.numpy as jnp

from experiments.bench.contenders.program import JaxProgram, scan_by_hand
from experiments.bench.problem import Problem


def build(problem: Problem) -> JaxProgram:
    """equinox has no masks, so both are by hand. A cell is itself the tree of its parameters."""
    weights = problem.weights.with_gates_on_input_bias()
    dtype = jnp.dtype(problem.dtype)
    cell = eqx.nn.GRUCell(problem.in_features, problem.features, key=jax.random.key(0))
    arrays = (weights.w_i.T, weights.w_h.T, weights.b_i, weights.b_h[2 * problem.features :])
    cell = eqx.tree_at(
        lambda cell: (cell.weight_ih, cell.weight_hh, cell.bias, cell.bias_n),
        cell,
        tuple(jnp.asarray(array, dtype) for array in arrays),
    )

    def apply(cell: Any, xs: jax.Array, lengths: Any, resets: Any) -> tuple[Any, jax.Array]:
        def row(xs: jax.Array) -> tuple[jax.Array, jax.Array]:
            def step(h: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
                h = cell(x, h)
                return h, h

            return jax.lax.scan(step, jnp.zeros(cell.hidden_size, xs.dtype), xs)

        if lengths is None and resets is None:
            return jax.vmap(row, in_axes=1, out_axes=(0, 1))(xs)
        h = jnp.zeros((xs.shape[1], cell.hidden_size), xs.dtype)
        return scan_by_hand(lambda h, x: jax.vmap(cell)(x, h), h, xs, lengths, resets)

    by_hand = "" if problem.option == "plain" else "lax.scan over the vmapped cell with jnp.where"
    return JaxProgram(problem, apply, cell, weights, note=by_hand, zeroes_padding=problem.lengths_on)
