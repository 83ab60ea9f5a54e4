import jax
import numpy as np
import pytest

from experiments.config import configs
from experiments.runs.config import Config
from experiments.training.evaluation import Evaluator
from experiments.training.experiment import assemble


def evaluator(**training):
    values = {"task": {"name": "digits", "steps": 8}, "model": {"features": 4}, "training": training}
    experiment = assemble(configs.check(Config, values))
    params = jax.jit(experiment.model.init)(jax.random.key(3), experiment.train_batch(1).inputs)
    return experiment, Evaluator(experiment), params


@pytest.fixture(scope="module")
def digits():
    """The 8x8 digits, read row by row by a GRU that has learnt nothing."""
    return evaluator(eval_batch_size=77)


def test_metrics_are_those_of_all_rows_whatever_the_batch_size(digits):
    experiment, evaluate, params = digits
    (whole,) = experiment.task.split_batches("test", 10_000)
    assert len(whole.targets) == 360
    logits = np.asarray(experiment.model.apply(params, whole.inputs), np.float64)
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    metrics = evaluate(params, "test")
    assert metrics["accuracy"] == pytest.approx(np.mean(logits.argmax(axis=1) == whole.targets))
    assert metrics["nll"] == pytest.approx(-log_probabilities[np.arange(360), whole.targets].mean(), rel=1e-5)


def test_confusion_counts_every_row_once(digits):
    experiment, evaluate, params = digits
    metrics, confusion = evaluate.with_confusion(params, "test")
    (whole,) = experiment.task.split_batches("test", 10_000)
    counts = np.array(confusion)
    np.testing.assert_array_equal(counts.sum(axis=1), np.bincount(whole.targets, minlength=10))
    assert np.trace(counts) / 360 == pytest.approx(metrics["accuracy"])


def test_compiles_once_for_a_shape(digits):
    _, evaluate, params = digits
    evaluate(params, "test")
    seconds = evaluate.compile_seconds
    evaluate(params, "test")
    assert evaluate.compile_seconds == seconds > 0
