import dataclasses
import json
import math
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.config import configs
from experiments.runs import metrics_log
from experiments.runs.checkpoints import restore, saved_steps
from experiments.runs.config import Config
from experiments.runs.directory import RunDirectory
from experiments.system.errors import UserError
from experiments.training import train as training
from experiments.training.ahead_of_time import compiled, need_jit
from experiments.training.evaluation import evaluate_checkpoint
from experiments.training.experiment import assemble
from tests.experiments.trained_runs import at_step, train

CONFIG = configs.check(
    Config,
    {
        "task": {"name": "copy", "length": 2, "symbols": 3, "delay": 1, "validation_rows": 20, "test_rows": 30},
        "model": {"features": 6, "dropout_rate": 0.2},
        "optimizer": {"learning_rate": 0.05, "schedule": "cosine", "clip_norm": 0.5},
        "training": {"steps": 14, "batch_size": 4, "log_every": 3, "eval_every": 5, "keep_best": True},
        "checkpoint": {"every": 4},
    },
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing stopped."""
    path = tmp_path_factory.mktemp("whole")
    with jax.numpy_dtype_promotion("standard"):
        outcome, printed = train(path, CONFIG)
    return path, outcome, printed


def rows(path, split):
    return [row for row in metrics_log.read(path / "metrics.jsonl") if row["split"] == split]


def test_rows_come_when_the_config_says(whole):
    path, _, _ = whole
    assert [row["step"] for row in rows(path, "train")] == [3, 6, 9, 12, 14]
    assert [row["step"] for row in rows(path, "validation")] == [5, 10, 14]
    assert [row["step"] for row in rows(path, "test")] == [14]
    assert saved_steps(path / "checkpoints") == [12, 14]


def test_rows_are_those_of_a_plain_loop(whole):
    """The same training written down plainly: no train state, no sums on the device."""
    path, _, _ = whole
    experiment = assemble(CONFIG)
    initial, dropout = jax.random.split(jax.random.key(0))
    params = jax.jit(experiment.model.init)(initial, experiment.train_batch(1).inputs)
    schedule = optax.cosine_decay_schedule(0.05, 14)
    optimizer = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(schedule))
    opt_state = optimizer.init(params)
    losses, norms = [], []

    def loss(params, batch, key):
        outputs = experiment.model.apply(params, batch.inputs, deterministic=False, rngs={"dropout": key})
        nats = -jnp.take_along_axis(jax.nn.log_softmax(outputs), jnp.asarray(batch.targets)[..., None], -1)[..., 0]
        return (nats * batch.weights).sum() / batch.weights.sum()

    @jax.jit
    def update(params, opt_state, batch, key):
        value, grads = jax.value_and_grad(loss)(params, batch, key)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return value, grads, optax.apply_updates(params, updates), opt_state

    for step in range(1, 15):
        batch = experiment.task.train_batch(0, step, 4)
        key = jax.random.fold_in(dropout, step - 1)
        value, grads, params, opt_state = update(params, opt_state, batch, key)
        losses.append(float(value))
        norms.append(math.sqrt(sum(float((leaf**2).sum()) for leaf in jax.tree.leaves(grads))))
    logged = rows(path, "train")
    spans = [(0, 3), (3, 6), (6, 9), (9, 12), (12, 14)]
    np.testing.assert_allclose([row["loss"] for row in logged], [np.mean(losses[a:b]) for a, b in spans], rtol=1e-5)
    np.testing.assert_allclose([row["grad_norm"] for row in logged], [np.mean(norms[a:b]) for a, b in spans], rtol=1e-4)
    rates = [float(schedule(end - 1)) for _, end in spans]
    np.testing.assert_allclose([row["learning_rate"] for row in logged], rates, rtol=1e-5)
    final, _ = restore(path / "checkpoints", 14, jax.eval_shape(experiment.initial_state))
    jax.tree.map(lambda ours, plain: np.testing.assert_allclose(ours, plain, atol=2e-5), final.params, params)


def test_summary_and_record_of_a_complete_run(whole):
    path, outcome, printed = whole
    summary = json.loads((path / "summary.json").read_text())
    assert summary == outcome.summary
    assert (summary["status"], summary["steps"], summary["seed"], summary["config"]) == ("complete", 14, 0, "tiny")
    (test,) = rows(path, "test")
    assert summary["test"] == {name: test[name] for name in ("accuracy", "nll_per_step")}
    assert summary["floor"]["accuracy"] == pytest.approx(1 / 3)
    assert set(summary["seconds"]) == {"compile", "run"}
    # GRU on 5 one-hot tokens, then a read-out of 3 classes.
    assert summary["parameters"] == (5 * 18 + 6 * 18 + 18 + 18) + (6 * 3 + 3)
    assert configs.load(Config, path / "config.yaml") == CONFIG
    environment = json.loads((path / "environment.json").read_text())
    assert environment["packages"]["jax"] == jax.__version__
    assert environment["data"]["steps"] == 6
    assert f"{summary['parameters']} parameters" in printed


def test_keep_best_reports_the_parameters_that_were_best_on_validation(whole):
    path, outcome, _ = whole
    best = max(rows(path, "validation"), key=lambda row: row["accuracy"])
    assert outcome.summary["parameters_from"] == "best"
    assert outcome.summary["best_step"] == best["step"]
    assert outcome.summary["validation"]["accuracy"] == best["accuracy"]
    step, origin, metrics, _ = evaluate_checkpoint(CONFIG, RunDirectory(path), "test")
    assert (step, origin) == (14, "best")
    assert metrics == pytest.approx(outcome.summary["test"])


def test_interrupted_and_killed_runs_end_with_the_same_bytes(whole, tmp_path, monkeypatch):
    path, reference, _ = whole
    with monkeypatch.context() as patch:
        at_step(patch, 3, lambda: signal.raise_signal(signal.SIGINT))
        outcome, printed = train(tmp_path, CONFIG)
    assert (outcome.status, outcome.exit_code) == ("interrupted", 130)
    assert saved_steps(tmp_path / "checkpoints") == [outcome.summary["steps"]] == [2]
    assert json.loads((tmp_path / "summary.json").read_text())["status"] == "interrupted"
    assert "to go on:\n  command" in printed

    class Killed(Exception):
        pass

    def kill():
        raise Killed

    with monkeypatch.context() as patch:
        at_step(patch, 12, kill)
        with pytest.raises(Killed):
            train(tmp_path, CONFIG)
    assert not (tmp_path / "summary.json").exists()
    assert [row["step"] for row in rows(tmp_path, "train")] == [3, 6, 9]

    with monkeypatch.context() as patch:
        at_step(patch, 14, lambda: signal.raise_signal(signal.SIGTERM))
        outcome, printed = train(tmp_path, CONFIG)
    assert outcome.exit_code == 143
    assert "resuming after step 8; 2 later rows of metrics.jsonl dropped" in printed

    outcome, _ = train(tmp_path, CONFIG)
    assert (tmp_path / "metrics.jsonl").read_bytes() == (path / "metrics.jsonl").read_bytes()
    different = {"seconds"}
    assert {key: outcome.summary[key] for key in outcome.summary.keys() - different} == {
        key: reference.summary[key] for key in reference.summary.keys() - different
    }
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_loss_that_is_not_finite_stops_the_run_and_spoils_no_checkpoint(tmp_path, monkeypatch):
    original = training.assemble

    def poisoned(config):
        experiment = original(config)
        task = experiment.task

        def train_batch(seed, step, size):
            batch = task.train_batch(seed, step, size)
            return batch._replace(weights=batch.weights * np.float32("nan")) if step == 7 else batch

        return dataclasses.replace(experiment, task=dataclasses.replace(task, train_batch=train_batch))

    monkeypatch.setattr(training, "assemble", poisoned)
    outcome, _ = train(tmp_path, CONFIG)
    assert (outcome.status, outcome.exit_code) == ("diverged", 1)
    assert outcome.summary["diverged_at_step"] == 7
    assert outcome.summary["reason"] == "the loss was nan"
    assert outcome.summary["last_good_checkpoint"] == 4
    assert saved_steps(tmp_path / "checkpoints") == [4]
    state, _ = restore(tmp_path / "checkpoints", 4, jax.eval_shape(original(CONFIG).initial_state))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state._replace(best=None)))
    assert "NaN" not in (tmp_path / "metrics.jsonl").read_text()
    with pytest.raises(UserError, match="diverged at step 7"):
        train(tmp_path, CONFIG)


def test_a_model_that_contradicts_the_task_is_refused_before_anything_is_written(tmp_path):
    values = CONFIG.model_dump(mode="json") | {"model": {"readout": "last"}}
    with pytest.raises(UserError, match=r"model\.readout"):
        train(tmp_path / "run", configs.check(Config, values))
    assert not (tmp_path / "run").exists()


def test_a_run_started_on_other_data_is_refused(tmp_path):
    directory = RunDirectory(tmp_path)
    directory.begin(CONFIG, "command")
    directory.environment.write_text('{"data": {"sha256": "0123456789abcdef"}}')
    with pytest.raises(UserError, match="was started on other data"):
        train(tmp_path, CONFIG)


def test_strict_promotion_and_checked_nans_give_the_same_rows(whole, tmp_path):
    with jax.numpy_dtype_promotion("strict"), jax.debug_nans(True):
        outcome, _ = train(tmp_path / "run", CONFIG)
    assert outcome.status == "complete"
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == (whole[0] / "metrics.jsonl").read_bytes()


def test_without_jit_nothing_is_compiled_ahead_of_time():
    def double(x):
        return 2 * x

    assert float(compiled(double, jnp.float32(1))(jnp.float32(3))) == 6
    need_jit("compare")
    with jax.disable_jit():
        assert compiled(double, jnp.float32(1)) is double
        with pytest.raises(UserError, match=r"compare: .*JAX_DISABLE_JIT"):
            need_jit("compare")
