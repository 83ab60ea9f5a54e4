"""Losses and metrics against NumPy float64."""

import math

import jax
import numpy as np
import pytest

from experiments.tasks import Quantiles
from experiments.training import losses

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(4, 6, 5)).astype(np.float32) * 3
CLASSES = RNG.integers(5, size=(4, 6)).astype(np.int32)
STEP_WEIGHTS = RNG.integers(2, size=(4, 6)).astype(np.float32)
VALUES = RNG.normal(size=(7, 3)).astype(np.float32)
WANTED = RNG.normal(size=(7, 3)).astype(np.float32)
ROW_WEIGHTS = np.array([1, 1, 0, 1, 0, 1, 1], np.float32)


def reference_nll():
    nll, correct = 0.0, 0
    for row in range(4):
        for step in range(6):
            if STEP_WEIGHTS[row, step]:
                logits = LOGITS[row, step].astype(np.float64)
                nll += np.log(np.exp(logits).sum()) - logits[CLASSES[row, step]]
                correct += int(np.argsort(logits)[-1] == CLASSES[row, step])
    return nll, correct


def test_cross_entropy_sums():
    nll, correct = reference_nll()
    summed = jax.jit(losses.sums, static_argnums=0)("cross_entropy", LOGITS, CLASSES, STEP_WEIGHTS)
    assert summed["loss"] == pytest.approx(nll, rel=1e-6)
    assert summed["correct"] == correct
    assert summed["weight"] == STEP_WEIGHTS.sum()


def test_squared_error_sums():
    summed = jax.jit(losses.sums, static_argnums=0)("squared_error", VALUES, WANTED, ROW_WEIGHTS)
    kept = ROW_WEIGHTS > 0
    difference = (VALUES[kept] - WANTED[kept]).astype(np.float64)
    assert summed["loss"] == pytest.approx((difference**2).sum() / 3, rel=1e-6)
    assert summed["absolute_error"] == pytest.approx(np.abs(difference).sum() / 3, rel=1e-6)
    assert summed["weight"] == 5


def test_sums_of_batches_add_up():
    whole = losses.sums("cross_entropy", LOGITS, CLASSES, STEP_WEIGHTS)
    parts = [losses.sums("cross_entropy", LOGITS[s], CLASSES[s], STEP_WEIGHTS[s]) for s in (slice(0, 1), slice(1, 4))]
    for name, value in whole.items():
        assert float(parts[0][name] + parts[1][name]) == pytest.approx(float(value), rel=1e-6)


def test_mean_loss_and_its_gradient():
    nll, _ = reference_nll()
    loss, gradient = jax.value_and_grad(losses.mean_loss, argnums=1)("cross_entropy", LOGITS, CLASSES, STEP_WEIGHTS)
    assert loss == pytest.approx(nll / STEP_WEIGHTS.sum(), rel=1e-6)
    logits = LOGITS.astype(np.float64)
    expected = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True) - np.eye(5)[CLASSES]
    expected *= STEP_WEIGHTS[..., None] / STEP_WEIGHTS.sum()
    np.testing.assert_allclose(gradient, expected, atol=1e-7)


def test_mean_loss_of_nothing_is_zero():
    assert losses.mean_loss("squared_error", VALUES, WANTED, 0 * ROW_WEIGHTS) == 0


def test_metrics_of_classification():
    nll, correct = reference_nll()
    weight = float(STEP_WEIGHTS.sum())
    names = ("accuracy", "bits_per_char", "nll", "nll_per_step", "loss")
    got = losses.metrics(names, {"weight": weight, "loss": nll, "correct": correct})
    assert tuple(got) == names
    assert got["accuracy"] == pytest.approx(correct / weight)
    assert got["bits_per_char"] == pytest.approx(nll / weight * 1.4426950408889634)
    assert got["nll"] == got["nll_per_step"] == got["loss"] == pytest.approx(nll / weight)


def test_a_uniform_guess_costs_log2_of_the_alphabet():
    summed = losses.sums("cross_entropy", np.zeros((3, 64)), np.zeros(3, np.int32), np.ones(3))
    assert losses.metrics(["bits_per_char"], summed)["bits_per_char"] == pytest.approx(math.log2(64), rel=1e-6)


def test_metrics_of_regression():
    got = losses.metrics(("mse", "mae"), {"weight": 4.0, "loss": 2.0, "absolute_error": 3.0})
    assert got == {"mse": 0.5, "mae": 0.75}


def test_every_metric_says_which_way_is_better():
    everything = {"weight": 1.0, "loss": 1.0, "correct": 1.0, "absolute_error": 1.0}
    of_sums = {"loss", "nll", "nll_per_step", "bits_per_char", "accuracy", "mse", "mae", "pinball"}
    assert set(losses.metrics(tuple(of_sums), everything)) == of_sums
    assert of_sums < set(losses.BETTER)
    assert {name for name, way in losses.BETTER.items() if way == "higher"} == {
        "accuracy",
        "auroc",
        "digit_accuracy",
        "exact_match",
        "r2",
        "rouge_l",
    }


def test_bernoulli_sums_over_features():
    """-log of the probability of independent events, by hand."""
    logits, targets = np.array([[0.5, -2.0, 3.0], [0.0, 0.0, 0.0]]), np.array([[1.0, 0.0, 0.0], [1.0, 0.0, 1.0]])
    probability = 1 / (1 + np.exp(-logits))
    expected = -np.sum(np.log(np.where(targets == 1, probability, 1 - probability)), axis=-1) @ [1.0, 0.5]
    summed = losses.sums("bernoulli", *(np.float32(a) for a in (logits, targets, [1.0, 0.5])))
    assert float(summed["loss"]) == pytest.approx(expected, rel=1e-6)
    assert float(summed["weight"]) == 1.5


def test_quantiles_are_the_pinball_loss():
    """Of two values and three levels, by hand; the median's distance beside it, in the unit asked for."""
    levels = (0.1, 0.5, 0.9)
    targets = np.array([[1.0, -1.0]])
    outputs = np.array([[0.0, 0.5, 2.0, -3.0, -2.0, -1.5]])
    errors = targets[..., None] - outputs.reshape(1, 2, 3)
    expected = np.mean([max(q * e, (q - 1) * e) for e_of in errors[0] for q, e in zip(levels, e_of, strict=True)])
    summed = losses.sums(Quantiles(levels), *(np.float32(a) for a in (outputs, targets, [1.0])))
    assert float(summed["loss"]) == pytest.approx(expected, rel=1e-6)
    found = losses.metrics(("pinball", "mae"), {k: float(v) for k, v in summed.items()}, scale=2.0)
    assert found == pytest.approx({"pinball": 2 * expected, "mae": 2 * 0.75})


def test_unknown_names_are_refused():
    known = '"cross_entropy", "squared_error", "bernoulli" or Quantiles'
    with pytest.raises(ValueError, match=f"loss: expected {known}, got 'hinge'"):
        losses.sums("hinge", LOGITS, CLASSES, STEP_WEIGHTS)
    with pytest.raises(ValueError, match="got 'f1'"):
        losses.metrics(["f1"], {"weight": 1.0, "loss": 1.0})
