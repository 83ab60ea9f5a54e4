"""Schedules against their formulas, optimisers against the update rules of their papers, in NumPy."""

import math

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.config.schema import OptimizerConfig
from experiments.training.optimizers import build_optimizer, learning_rate_schedule


def rates(steps, **options):
    schedule = learning_rate_schedule(OptimizerConfig(**options), steps)
    return np.array([float(schedule(step)) for step in range(steps + 1)])


def test_constant():
    np.testing.assert_allclose(rates(5, learning_rate=0.1), 0.1, rtol=1e-6)


def test_linear_reaches_the_final_scale_at_the_end():
    expected = [1.0, 0.8, 0.6, 0.4, 0.2]
    np.testing.assert_allclose(rates(4, learning_rate=1.0, schedule="linear", final_scale=0.2), expected, rtol=1e-6)


def test_cosine():
    got = rates(10, learning_rate=0.5, schedule="cosine", final_scale=0.1)
    expected = [0.5 * (0.1 + 0.9 * (1 + math.cos(math.pi * step / 10)) / 2) for step in range(11)]
    np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_warm_up_rises_along_a_line_to_the_peak_and_the_rest_follows(schedule):
    warmed = rates(24, learning_rate=0.4, schedule=schedule, warmup_steps=4)
    np.testing.assert_allclose(warmed[:5], [0.08, 0.16, 0.24, 0.32, 0.4], rtol=1e-6)
    np.testing.assert_allclose(warmed[4:], rates(20, learning_rate=0.4, schedule=schedule), rtol=1e-6, atol=1e-8)


def updates(gradients, start, **options):
    """Parameters after each of ``gradients``, by optax."""
    optimizer = build_optimizer(OptimizerConfig(**options), len(gradients))
    params = jnp.array(start)
    state = optimizer.init(params)
    for gradient in gradients:
        change, state = optimizer.update(jnp.array(gradient), state, params)
        params = optax.apply_updates(params, change)
        yield np.asarray(params)


GRADIENTS = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
START = np.array([1.0, -2.0, 0.5], np.float32)


@pytest.mark.parametrize(("name", "decay"), [("adam", 0.0), ("adamw", 0.3)])
def test_adam_and_its_decoupled_decay(name, decay):
    params, first, second = START.astype(float), np.zeros(3), np.zeros(3)
    got = updates(GRADIENTS, START, name=name, learning_rate=0.01, weight_decay=decay)
    for count, (gradient, after) in enumerate(zip(GRADIENTS, got, strict=True), start=1):
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        step = (first / (1 - 0.9**count)) / (np.sqrt(second / (1 - 0.999**count)) + 1e-8)
        params = params - 0.01 * (step + decay * params)
        np.testing.assert_allclose(after, params, rtol=1e-5)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_with_momentum(momentum):
    params, velocity = START.astype(float), np.zeros(3)
    got = updates(GRADIENTS, START, name="sgd", learning_rate=0.1, momentum=momentum)
    for gradient, after in zip(GRADIENTS, got, strict=True):
        velocity = momentum * velocity + gradient
        params = params - 0.1 * velocity
        np.testing.assert_allclose(after, params, rtol=1e-5, atol=1e-7)


def test_rmsprop():
    params, mean = START.astype(float), np.zeros(3)
    got = updates(GRADIENTS, START, name="rmsprop", learning_rate=0.01)
    for gradient, after in zip(GRADIENTS, got, strict=True):
        mean = 0.9 * mean + 0.1 * gradient**2
        params = params - 0.01 * gradient / np.sqrt(mean + 1e-8)
        np.testing.assert_allclose(after, params, rtol=1e-5)


def test_the_schedule_drives_the_optimizer():
    got = list(updates(np.ones((4, 1), np.float32), [0.0], name="sgd", learning_rate=1.0, schedule="linear"))
    np.testing.assert_allclose(np.ravel(got), np.cumsum([-1.0, -0.75, -0.5, -0.25]), rtol=1e-6)


def test_clipping_by_global_norm():
    optimizer = build_optimizer(OptimizerConfig(name="sgd", learning_rate=1.0, clip_norm=1.0), 1)
    small = {"a": jnp.array([0.3]), "b": jnp.array([0.4])}
    large = {"a": jnp.array([30.0]), "b": jnp.array([-40.0])}
    state = optimizer.init(small)
    kept, _ = optimizer.update(small, state)
    clipped, _ = optimizer.update(large, state)
    np.testing.assert_allclose([kept["a"][0], kept["b"][0]], [-0.3, -0.4], rtol=1e-6)
    np.testing.assert_allclose([clipped["a"][0], clipped["b"][0]], [-0.6, 0.8], rtol=1e-6)
