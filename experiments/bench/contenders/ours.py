"""``gru_jax.scan``, in the variants that a contender's name spells out."""

from typing import Any

import jax
import jax.numpy as jnp

import gru_jax
from experiments.bench.contenders.program import JaxProgram
from experiments.bench.problem import Problem
from experiments.bench.registry import Variant


def build(problem: Problem, variant: Variant) -> JaxProgram:
    """Parameters stay in float32 whatever the inputs are, as this library keeps them."""
    cell = gru_jax.gru()

    def scan(params: Any, xs: jax.Array, lengths: Any, resets: Any) -> tuple[Any, jax.Array]:
        return gru_jax.scan(
            cell, params, xs, seq_lengths=lengths, resets=resets, backend=variant.backend, remat=variant.remat
        )

    def rows(params: Any, xs: jax.Array, lengths: Any, resets: Any) -> tuple[Any, jax.Array]:
        def row(xs: jax.Array, length: Any, resets: Any) -> tuple[Any, jax.Array]:
            return scan(params, xs, length, resets)

        # None has no leaves, so its axis is not looked at.
        return jax.vmap(row, in_axes=(1, 0, 1), out_axes=(0, 1))(xs, lengths, resets)

    return JaxProgram(
        problem,
        rows if variant.vmap else scan,
        gru_jax.GRUParams(*map(jnp.asarray, problem.weights)),
        problem.weights,
        note=f"backend {gru_jax.backend_for(cell, variant.backend)}" if variant.backend == "auto" else "",
        zeroes_padding=True,
    )
