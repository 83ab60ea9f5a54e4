"""``haiku.dynamic_unroll`` of ``haiku.GRU``: reset before the product, z near 1 writes, gates in the order z, r, n."""

from typing import Any

import haiku as hk  # pyrefly: ignore[missing-import]
import jax
import jax.numpy as jnp

from experiments.bench.contenders.program import JaxProgram, valid_steps
from experiments.bench.problem import Problem, Weights, join

_RNNCore: Any = hk.RNNCore


class _Held(_RNNCore):
    """A core that keeps its state, by hand, where the second of its inputs is False."""

    def __init__(self, core: Any):
        super().__init__()
        self.core = core

    def __call__(self, inputs: Any, state: jax.Array) -> tuple[jax.Array, jax.Array]:
        x, valid = inputs
        y, new = self.core(x, state)
        return jnp.where(valid[:, None], y, 0), jnp.where(valid[:, None], new, state)

    def initial_state(self, batch_size: int | None) -> jax.Array:
        return self.core.initial_state(batch_size)


def build(problem: Problem) -> JaxProgram:
    """ResetCore for resets; for lengths, which haiku does not have, a core with jnp.where around the GRU."""
    weights = problem.weights.with_gates_on_input_bias(candidate=True)

    def unroll(xs: jax.Array, lengths: Any, resets: Any) -> tuple[Any, Any]:
        core: Any = hk.GRU(problem.features)
        inputs: Any = xs
        if lengths is not None:
            core, inputs = _Held(core), (inputs, valid_steps(xs, lengths))
        if resets is not None:
            core, inputs = hk.ResetCore(core), (inputs, resets)
        h = core.initial_state(problem.batch).astype(xs.dtype)
        ys, h = hk.dynamic_unroll(core, inputs, h)
        return h, ys

    function = hk.without_apply_rng(hk.transform(unroll))
    notes = {"lengths": "jnp.where in a core", "resets": "hk.ResetCore", "both": "hk.ResetCore, jnp.where in a core"}
    return JaxProgram(
        problem,
        function.apply,
        {_name(function, problem): _params(weights, problem.dtype)},
        weights,
        reset_after=False,
        note="; ".join(["resets before the product", *([notes[problem.option]] if problem.option in notes else [])]),
        zeroes_padding=problem.lengths_on,
    )


def _name(function: Any, problem: Problem) -> str:
    """The name under which the GRU's parameters stand; it may begin with the names of cores around the GRU."""
    xs = jax.ShapeDtypeStruct(problem.xs.shape, problem.dtype)
    (name,) = jax.eval_shape(function.init, jax.random.key(0), xs, problem.lengths, problem.resets)
    return name


def _params(weights: Weights, dtype: str) -> dict[str, jax.Array]:
    # With z = σ(a) and z' = σ(-a), z ∘ h + (1 - z) ∘ n = (1 - z') ∘ h + z' ∘ n.
    r, z, n = weights.gates()
    w_i, w_h, b, _ = join([Weights(*(-array for array in z)), r, n])
    return {"w_i": jnp.asarray(w_i, dtype), "w_h": jnp.asarray(w_h, dtype), "b": jnp.asarray(b, dtype)}
