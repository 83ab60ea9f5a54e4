"""The shipped configs: each says what it does and how to run it, and trains."""

import dataclasses
import functools
import itertools

import jax
import numpy as np
import pytest

from experiments.config import configs
from experiments.models.build import build_model
from experiments.runs.config import Config
from experiments.training import losses
from experiments.training.experiment import assemble
from tests.places import CONFIGS

# Those of the bench and of comparisons are of other kinds: see bench/test_config.py and compare/test_compare.py.
PATHS = sorted(path for path in CONFIGS.glob("*.yaml") if not path.stem.startswith(("bench", "compare")))
every_config = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def test_the_configs_asked_for_are_there():
    assert {"quickstart", "chars", "adding", "copy", "digits"} <= {path.stem for path in PATHS}


@every_config
def test_a_config_opens_with_what_it_does_and_the_command(path):
    lines = path.read_text().splitlines()
    header = list(itertools.takewhile(lambda line: line.startswith("#"), lines))
    assert len(header) >= 4
    assert any(f"python -m experiments train configs/{path.name}" in line for line in header)
    measured = next(number for number, line in enumerate(header) if "Measured on 2 CPU cores" in line)
    assert any(character.isdigit() for character in header[measured + 1])


@pytest.fixture(scope="module")
def small():
    """The experiment of a config, as it is but for its size, and its first state; data are loaded once a config."""

    @functools.cache
    def shrunk(path):
        whole = assemble(configs.load(Config, path))
        sizes = ["training.batch_size=2", "training.eval_batch_size=4", "model.features=8", "model.num_layers=1"]
        # An ensemble would not share two rows.
        sizes += ["model.members=1"]
        values = configs.load(Config, path, sizes)
        experiment = dataclasses.replace(whole, config=values, model=build_model(values.model, whole.task))
        return experiment, experiment.initial_state()

    return shrunk


@every_config
def test_a_config_trains(small, path):
    """Two steps change the parameters, and the first loss is that of a model that knows nothing yet."""
    experiment, state = small(path)
    step = jax.jit(experiment.step_function())
    before = jax.tree.map(np.asarray, state.params)
    first = step(state, experiment.train_batch(1))
    second = step(first, experiment.train_batch(2))
    assert int(second.step) == 2
    assert int(second.divergence.step) == 0
    outputs = experiment.task.outputs
    ignorant = {"cross_entropy": np.log(outputs), "bernoulli": outputs * np.log(2)}.get(experiment.task.loss, 1.0)
    assert 0.2 * ignorant < float(first.loss_sum) < 2 * ignorant
    moved = jax.tree.leaves(jax.tree.map(lambda old, new: bool((old != new).any()), before, second.params))
    assert sum(moved) > len(moved) / 2


@every_config
def test_the_test_split_of_a_config_gives_every_metric(small, path):
    experiment, state = small(path)

    @jax.jit
    def sums(params, batch):
        outputs = experiment.model.apply(params, batch.inputs, batch.seq_lengths)
        return losses.sums(experiment.task.loss, outputs, batch.targets, batch.weights)

    summed = sums(state.params, next(experiment.task.split_batches("test", experiment.config.training.eval_batch_size)))
    metrics = losses.metrics(experiment.task.metrics, summed)
    assert tuple(metrics) == experiment.task.metrics
    assert np.isfinite(list(metrics.values())).all()
