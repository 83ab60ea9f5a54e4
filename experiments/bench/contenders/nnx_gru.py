"""``flax.nnx.RNN(GRUCell)``: two products a step, no bias beside h at all, whatever its documentation says."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from experiments.bench.contenders.program import JaxProgram, scan_by_hand
from experiments.bench.problem import Problem


def build(problem: Problem) -> JaxProgram:
    """RNN has lengths; resets are by hand. The model is split, so that `jax.jit` takes it without nnx's overhead."""
    weights = problem.weights.with_gates_on_input_bias().without_hidden_bias()
    cell = nnx.GRUCell(problem.in_features, problem.features, dtype=jnp.dtype(problem.dtype), rngs=nnx.Rngs(0))
    cell.dense_i.kernel = nnx.Param(jnp.asarray(weights.w_i))
    cell.dense_i.bias = nnx.Param(jnp.asarray(weights.b_i))
    cell.dense_h.kernel = nnx.Param(jnp.asarray(weights.w_h))
    # No random numbers: a zero carry needs none, and their counter would change at every call.
    rnn = nnx.RNN(cell, time_major=True, return_carry=True, rngs=False)
    graph, params, rest = nnx.split(rnn, nnx.Param, ...)

    def apply(params: Any, xs: jax.Array, lengths: Any, resets: Any) -> tuple[Any, jax.Array]:
        rnn = nnx.merge(graph, params, rest)
        h = jnp.zeros((xs.shape[1], problem.features))
        if resets is None:
            return rnn(xs, initial_carry=h, seq_lengths=lengths)
        return scan_by_hand(lambda h, x: rnn.cell(h, x)[0], h, xs, lengths, resets)

    by_hand = "lax.scan over the cell with jnp.where" if problem.resets_on else ""
    return JaxProgram(problem, apply, params, weights, note=by_hand, zeroes_padding=problem.resets_on)
