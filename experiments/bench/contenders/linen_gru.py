"""``flax.linen.RNN(GRUCell)``: six small products a step, no bias beside h in r and z."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen

from experiments.bench.contenders.program import JaxProgram, scan_by_hand
from experiments.bench.problem import Problem, Weights


def build(problem: Problem) -> JaxProgram:
    """RNN has lengths; resets are by hand, in a `lax.scan` over the cell."""
    weights = problem.weights.with_gates_on_input_bias()
    cell: Any = linen.GRUCell(problem.features, dtype=jnp.dtype(problem.dtype), parent=None)
    rnn: Any = linen.RNN(cell, time_major=True, return_carry=True)

    def apply(params: Any, xs: jax.Array, lengths: Any, resets: Any) -> tuple[Any, jax.Array]:
        if resets is None:
            return rnn.apply({"params": {"cell": params}}, xs, seq_lengths=lengths)

        def step(h: jax.Array, x: jax.Array) -> jax.Array:
            return cell.apply({"params": params}, h, x)[0]

        h = cell.initialize_carry(jax.random.key(0), xs.shape[1:])
        return scan_by_hand(step, h, xs, lengths, resets)

    by_hand = "lax.scan over the cell with jnp.where" if problem.resets_on else ""
    return JaxProgram(problem, apply, _params(weights), weights, note=by_hand, zeroes_padding=problem.resets_on)


def _params(weights: Weights) -> dict[str, Any]:
    params: dict[str, Any] = {}
    for gate, (w_i, w_h, b_i, b_h) in zip("rzn", weights.gates(), strict=True):
        params[f"i{gate}"] = {"kernel": jnp.asarray(w_i), "bias": jnp.asarray(b_i)}
        params[f"h{gate}"] = {"kernel": jnp.asarray(w_h)} | ({"bias": jnp.asarray(b_h)} if gate == "n" else {})
    return params
