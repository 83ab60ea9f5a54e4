"""Losses and metrics, as weighted sums: sums of batches add up to the sum of a split, whatever the batch size."""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal

import jax
import jax.numpy as jnp
import optax

from experiments.tasks import Quantiles

Loss = Literal["cross_entropy", "squared_error", "bernoulli"] | Quantiles

BETTER: Mapping[str, Literal["lower", "higher"]] = MappingProxyType(
    {
        "loss": "lower",
        "nll": "lower",
        "nll_per_step": "lower",
        "bits_per_char": "lower",
        "accuracy": "higher",
        "digit_accuracy": "higher",
        "mse": "lower",
        "rollout_mse": "lower",
        "mae": "lower",
        "pinball": "lower",
        "r2": "higher",
        "exact_match": "higher",
        "character_error_rate": "lower",
        "phone_error_rate": "lower",
        "word_error_rate": "lower",
        "rouge_l": "higher",
        "auroc": "higher",
        "brier": "lower",
    }
)
"""Every metric there is, and which way is better."""


def sums(loss: Loss, outputs: jax.Array, targets: jax.Array, weights: jax.Array) -> dict[str, jax.Array]:
    """Weighted sums over a batch, float32 scalars: "weight", "loss", and what the metrics need besides.

    "cross_entropy": ``outputs`` (..., classes) are logits, ``targets`` (...) classes, ``weights`` (...); the loss is in
    nats; also "correct", the weight of the rows (or steps) whose largest logit is the target's.

    "squared_error": ``outputs`` and ``targets`` (..., features), ``weights`` (...); the loss of a row is the mean over
    its features; also "absolute_error", the same with absolute errors.

    "bernoulli": ``outputs`` (..., features) are logits of as many independent events, ``targets`` the same, 0 or 1; the
    loss of a row (or step) is the sum over its features, in nats.

    `Quantiles`: see there; the loss of a row is the mean over its values and levels; also "absolute_error", that of the
    median.
    """
    weights = weights.astype(jnp.float32)
    outputs = outputs.astype(jnp.float32)
    match loss:
        case "cross_entropy":
            losses = optax.losses.softmax_cross_entropy_with_integer_labels(outputs, targets)
            other = {"correct": jnp.sum(weights, where=jnp.argmax(outputs, axis=-1) == targets)}
        case "squared_error":
            losses = jnp.mean(optax.losses.squared_error(outputs, targets), axis=-1)
            other = {"absolute_error": jnp.sum(weights * jnp.mean(jnp.abs(outputs - targets), axis=-1))}
        case "bernoulli":
            losses, other = jnp.sum(optax.losses.sigmoid_binary_cross_entropy(outputs, targets), axis=-1), {}
        case Quantiles(levels):
            outputs = outputs.reshape(*targets.shape, len(levels))
            error = targets[..., None] - outputs
            tau = jnp.asarray(levels, jnp.float32).reshape((1,) * (error.ndim - 1) + (-1,))
            losses = jnp.mean(jnp.maximum(tau * error, (tau - 1) * error), axis=(-2, -1))
            median = jnp.mean(jnp.abs(error[..., levels.index(0.5)]), axis=-1)
            other = {"absolute_error": jnp.sum(weights * median)}
        case _:
            raise ValueError(f'loss: expected "cross_entropy", "squared_error", "bernoulli" or Quantiles, got {loss!r}')
    return {"weight": jnp.sum(weights), "loss": jnp.sum(weights * losses), **other}


def mean_loss(loss: Loss, outputs: jax.Array, targets: jax.Array, weights: jax.Array) -> jax.Array:
    """The weighted mean of the loss, the scalar to minimise; 0 if all weights are 0. Shapes as in `sums`."""
    summed = sums(loss, outputs, targets, weights)
    return summed["loss"] / jnp.maximum(summed["weight"], 1)


def metrics(names: Sequence[str], summed: Mapping[str, float], scale: float = 1.0) -> dict[str, float]:
    """Turn ``summed``, the sums of a whole split, into the metrics ``names``, in that order.

    ``scale``: the size of one unit of the targets, in the unit that errors are reported in.
    """
    weight = float(summed["weight"])
    mean = {name: float(value) / weight for name, value in summed.items() if name != "weight"}
    return {name: _metric(name, mean, scale) for name in names}


def _metric(name: str, mean: Mapping[str, float], scale: float) -> float:
    match name:
        case "loss" | "nll" | "nll_per_step":
            return mean["loss"]
        case "mse":
            return mean["loss"] * scale**2
        case "pinball":
            return mean["loss"] * scale
        case "bits_per_char":
            return mean["loss"] / math.log(2)
        case "accuracy":
            return mean["correct"]
        case "mae":
            return mean["absolute_error"] * scale
    raise ValueError(f"names: expected a metric that sums give, got {name!r}")
