"""``keras.layers.GRU`` on JAX: batch first, gates in the order z, r, n, called by ``stateless_call``."""

import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.bench.contenders.program import JaxProgram
from experiments.bench.problem import Problem, join

# Keras reads the variable once, when it is imported.
os.environ["KERAS_BACKEND"] = "jax"
import keras  # pyrefly: ignore[missing-import]


def build(problem: Problem) -> JaxProgram:
    """Lengths are given as ``mask=``; keras has nothing for resets, which are left out."""
    if keras.backend.backend() != "jax":
        raise RuntimeError(f"keras was imported on its {keras.backend.backend()} backend before the bench began")
    asked, problem = problem, problem.with_option("lengths" if problem.lengths_on else "plain")
    layer = keras.layers.GRU(
        problem.features,
        return_sequences=True,
        return_state=True,
        # Not "mixed_bfloat16", whose state changes its type in the loop on JAX.
        dtype=problem.dtype,
        # The default needs a decomposition that bfloat16 does not have; every call passes weights of its own anyway.
        recurrent_initializer="zeros",
    )
    layer.build((problem.batch, problem.steps, problem.in_features))
    r, z, n = problem.weights.gates()
    w_i, w_h, b_i, b_h = join([z, r, n])
    params = [jnp.asarray(array, problem.dtype) for array in (w_i, w_h, np.stack([b_i, b_h]))]
    rest = [variable.value for variable in layer.non_trainable_variables]

    def apply(params: Any, xs: jax.Array, lengths: Any, resets: Any) -> tuple[Any, jax.Array]:
        mask = None if lengths is None else jnp.arange(xs.shape[1]) < lengths[:, None]
        (ys, h), _ = layer.stateless_call(params, rest, xs, mask=mask)
        return h, ys

    note = "lengths as mask=" if problem.lengths_on else ""
    if asked.resets_on:
        note = f"{note}; no resets" if note else "no resets"
    return JaxProgram(problem, apply, params, problem.weights, note=note, batch_major=True)
