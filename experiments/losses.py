"""Losses and metrics, as weighted sums: sums of batches add up to the sum of a split, whatever the batch size."""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal

import jax
import jax.numpy as jnp
import optax

LossName = Literal["cross_entropy", "squared_error"]

BETTER: Mapping[str, Literal["lower", "higher"]] = MappingProxyType(
    {
        "loss": "lower",
        "nll": "lower",
        "nll_per_step": "lower",
        "bits_per_char": "lower",
        "accuracy": "higher",
        "mse": "lower",
        "mae": "lower",
    }
)
"""Every metric there is, and which way is better."""


def sums(loss: LossName, outputs: jax.Array, targets: jax.Array, weights: jax.Array) -> dict[str, jax.Array]:
    """Weighted sums over a batch, float32 scalars: "weight", "loss", and what the metrics need besides.

    "cross_entropy": ``outputs`` (..., classes) are logits, ``targets`` (...) classes, ``weights`` (...); the loss is in
    nats; also "correct", the weight of the rows (or steps) whose largest logit is the target's.

    "squared_error": ``outputs`` and ``targets`` (..., features), ``weights`` (...); the loss of a row is the mean over
    its features; also "absolute_error", the same with the distance.
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
        case _:
            raise ValueError(f'loss: expected "cross_entropy" or "squared_error", got {loss!r}')
    return {"weight": jnp.sum(weights), "loss": jnp.sum(weights * losses), **other}


def mean_loss(loss: LossName, outputs: jax.Array, targets: jax.Array, weights: jax.Array) -> jax.Array:
    """Mean of the loss over all that weighs: the scalar to minimise; 0 if nothing weighs. Shapes as in `sums`."""
    summed = sums(loss, outputs, targets, weights)
    return summed["loss"] / jnp.maximum(summed["weight"], 1)


def metrics(names: Sequence[str], summed: Mapping[str, float]) -> dict[str, float]:
    """Turn ``summed``, the sums of a whole split, into the metrics ``names``, in that order."""
    weight = float(summed["weight"])
    mean = {name: float(value) / weight for name, value in summed.items() if name != "weight"}
    return {name: _metric(name, mean) for name in names}


def _metric(name: str, mean: Mapping[str, float]) -> float:
    match name:
        case "loss" | "nll" | "nll_per_step" | "mse":
            return mean["loss"]
        case "bits_per_char":
            return mean["loss"] / math.log(2)
        case "accuracy":
            return mean["correct"]
        case "mae":
            return mean["absolute_error"]
    raise ValueError(f"names: expected names out of {', '.join(BETTER)}, got {name!r}")
