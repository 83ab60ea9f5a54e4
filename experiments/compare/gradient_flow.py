"""How far back gradients reach: the spectral norm of d s_T / d s_t against T - t.

s is the whole state of the recurrent layers (h; for an LSTM h and c), so that all that a cell remembers counts. At each
step of real rows, autodiff gives J_t = d s_t / d s_(t-1). The product

    d s_T / d s_t = J_T J_(T-1) ... J_(t+1)

is built up from step T backwards. Its scale is kept apart as a logarithm, since it may underflow float32.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from experiments.system.errors import UserError
from experiments.training.experiment import Experiment


def inputs_of(experiment: Experiment, rows: int, steps: int) -> np.ndarray:
    """The first ``rows`` rows of the validation split that have ``steps`` + 1 valid steps, cut to those."""
    found: list[np.ndarray] = []
    for batch in experiment.task.split_batches("validation", experiment.config.training.eval_batch_size):
        lengths = batch.seq_lengths
        for row, inputs in enumerate(batch.inputs):
            if (len(inputs) if lengths is None else lengths[row]) > steps and len(found) < rows:
                found.append(inputs[: steps + 1])
    if len(found) < rows:
        raise UserError(
            f"compare.gradient_flow.steps: {len(found)} of the {rows} rows asked for have more than {steps} steps; "
            "make it or compare.gradient_flow.rows smaller"
        )
    return np.stack(found)


def log10_norms(experiment: Experiment, params: Any, inputs: np.ndarray) -> list[float]:
    """log10 of the norm at distance T - t = 1, 2, ..., averaged over rows; ``inputs`` is (rows, T, ...)."""
    model = experiment.model

    def advance(carry: Any, x: jax.Array) -> Any:
        moved: Any = model.apply(params, x[None, None], carry, method="advance")
        return moved[0]

    def of_row(row: jax.Array) -> jax.Array:
        start = jax.tree.map(jnp.zeros_like, jax.eval_shape(advance, None, row[0]))
        _, unravel = ravel_pytree(start)
        flat = lambda state, x: ravel_pytree(advance(unravel(state), x))[0]  # noqa: E731

        def forward(state: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
            return flat(state, x), jax.jacfwd(flat)(state, x)

        def back(carry: tuple[jax.Array, jax.Array], jacobian: jax.Array) -> Any:
            product, log_scale = carry
            product = product @ jacobian
            norm = jnp.linalg.norm(product, ord=2)
            safe = jnp.where(norm > 0, norm, 1)
            log_scale = log_scale + jnp.log10(safe)
            return (product / safe, log_scale), jnp.where(norm > 0, log_scale, -jnp.inf)

        first = ravel_pytree(advance(start, row[0]))[0]
        _, jacobians = jax.lax.scan(forward, first, row[1:])
        identity = jnp.eye(first.size, dtype=first.dtype)
        return jax.lax.scan(back, (identity, jnp.float32(0)), jacobians, reverse=True)[1][::-1]

    rows = jax.jit(lambda inputs: jax.lax.map(of_row, inputs))(jnp.asarray(inputs))
    # A norm of exactly 0 has no logarithm, so it is drawn as the smallest float32.
    return np.maximum(np.asarray(rows, np.float64), -45.0).mean(axis=0).tolist()
