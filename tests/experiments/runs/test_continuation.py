"""Going on from a finished run, and beginning with its weights."""

import dataclasses
import json
import shutil
import signal

import jax
import numpy as np
import pytest

from experiments import cli
from experiments.config import configs
from experiments.config.stored_configs import default_path
from experiments.runs import continuation, metrics_log
from experiments.runs.checkpoints import restore, saved_steps
from experiments.runs.config import Config
from experiments.runs.directory import RunDirectory
from experiments.system.errors import UserError
from experiments.training import train as training
from experiments.training.evaluation import evaluate_checkpoint
from experiments.training.experiment import assemble
from tests.experiments.trained_runs import at_step, train

VALUES = {
    "task": {"name": "copy", "length": 2, "symbols": 3, "delay": 1, "validation_rows": 20, "test_rows": 30},
    "model": {"features": 6, "dropout_rate": 0.2},
    "optimizer": {"learning_rate": 0.05, "clip_norm": 0.5},
    "training": {"steps": 14, "batch_size": 4, "log_every": 3, "eval_every": 5, "keep_best": True},
    "checkpoint": {"every": 4},
}


def config(**changes):
    values = json.loads(json.dumps(VALUES))
    for path, value in changes.items():
        block, _, key = path.partition("__")
        values[block] = values[block] | {key: value} if key else value
    return configs.check(Config, values)


def final_state(path, of):
    like = jax.eval_shape(assemble(of).initial_state)
    return restore(path / "checkpoints", of.training.steps, like)[0]


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """A finished run of 14 steps."""
    path = tmp_path_factory.mktemp("short")
    with jax.numpy_dtype_promotion("standard"):
        train(path, config())
    return path


@pytest.fixture(scope="module")
def longer(short, tmp_path_factory):
    """The same, gone on with to 25 steps, and what was printed."""
    path = tmp_path_factory.mktemp("longer")
    with jax.numpy_dtype_promotion("standard"):
        outcome, printed = train(path, config(training__steps=25, training__continue_from=str(short)))
    return path, outcome, printed


def test_with_a_constant_rate_it_ends_as_if_it_had_been_one_run(short, longer, tmp_path):
    """Parameters, optimiser and batches alike: only the rows at the seam are others."""
    path, outcome, printed = longer
    whole = config(training__steps=25)
    train(tmp_path, whole)
    ours, one = final_state(path, whole), final_state(tmp_path, whole)
    for name in ("params", "opt_state", "step"):
        jax.tree.map(np.testing.assert_array_equal, getattr(ours, name), getattr(one, name))
    rows, rows_of_one = (metrics_log.read(p / "metrics.jsonl") for p in (path, tmp_path))
    after = [row for row in rows if row["step"] > 15]
    # keep_best chose from an evaluation more, at step 14.
    assert after[:-1] == [row for row in rows_of_one if row["step"] > 15][: len(after) - 1]
    assert f"from    {short}, on from step 14" in printed
    assert outcome.summary["continued"] == {"run": str(short), "step": 14, "rows": 8}


def test_its_metrics_begin_with_those_of_the_run_before(short, longer):
    path, _, _ = longer
    before = (short / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    assert b'"test"' in before[-1]
    assert (path / "metrics.jsonl").read_bytes().startswith(b"".join(before[:-1]))
    rows = [(row["step"], row["split"]) for row in metrics_log.read(path / "metrics.jsonl")][len(before) - 1 :]
    assert rows == [
        *[(15, "train"), (15, "validation"), (18, "train"), (20, "validation"), (21, "train"), (24, "train")],
        *[(25, "train"), (25, "validation"), (25, "test")],
    ]


def test_the_first_row_is_the_mean_of_the_steps_since_the_seam(longer, short):
    """Step 15 alone: that of step 14 was told by the run before, though 15 is the third of its three."""
    path, _, _ = longer
    experiment = assemble(config(training__steps=25))
    state = jax.jit(experiment.step_function())(final_state(short, config()), experiment.train_batch(15))
    (row,) = [r for r in metrics_log.read(path / "metrics.jsonl") if (r["step"], r["split"]) == (15, "train")]
    assert row["loss"] == pytest.approx(float(state.loss_sum), rel=1e-5)


def test_the_schedule_is_that_of_the_new_length(short, tmp_path):
    longer = config(training__steps=28, optimizer={"learning_rate": 0.05, "clip_norm": 0.5, "schedule": "cosine"})
    longer = with_origin(longer, short)
    _, printed = train(tmp_path, longer)
    rates = {
        r["step"]: r["learning_rate"] for r in metrics_log.read(tmp_path / "metrics.jsonl") if r["split"] == "train"
    }
    expected = [0.05 * 0.5 * (1 + np.cos(np.pi * (step - 1) / 28)) for step in (15, 18, 28)]
    np.testing.assert_allclose([rates[15], rates[18], rates[28]], expected, rtol=1e-5)
    assert 'another from here on: optimizer.schedule: "constant" in' in printed


def with_origin(of, run):
    return of.model_copy(update={"training": of.training.model_copy(update={"continue_from": str(run)})})


def test_killed_and_interrupted_it_ends_with_the_same_bytes_and_needs_the_old_run_no_more(short, longer, tmp_path):
    path, reference, _ = longer
    origin = tmp_path / "origin"
    shutil.copytree(short, origin)
    of = config(training__steps=25, training__continue_from=str(origin))

    class Killed(Exception):
        pass

    def kill():
        raise Killed

    run = tmp_path / "run"
    for step, printed_after in ((15, None), (18, "another"), (23, "resuming after step 16")):
        with pytest.MonkeyPatch.context() as patch:
            at_step(patch, step, kill)
            with pytest.raises(Killed):
                train(run, of)
        assert printed_after is None or not (run / "summary.json").exists()
    assert saved_steps(run / "checkpoints") == [16, 20]
    shutil.rmtree(origin)
    with pytest.MonkeyPatch.context() as patch:
        at_step(patch, 24, lambda: signal.raise_signal(signal.SIGINT))
        outcome, printed = train(run, of)
    assert "resuming after step 20" in printed
    assert outcome.summary["continued"] == {"run": str(origin), "step": 14, "rows": 8}
    outcome, _ = train(run, of)
    assert (run / "metrics.jsonl").read_bytes() == (path / "metrics.jsonl").read_bytes()
    assert outcome.summary["test"] == reference.summary["test"]
    shutil.move(run / "continued.json", run / "elsewhere.json")
    (run / "summary.json").unlink()
    with pytest.raises(UserError, match=r"continued\.json: missing; restore it"):
        train(run, of)


def test_a_run_that_went_on_can_be_gone_on_with(longer, tmp_path):
    path, _, _ = longer
    outcome, _ = train(tmp_path, config(training__steps=27, training__continue_from=str(path)))
    assert outcome.summary["continued"]["step"] == 25
    rows = [(row["step"], row["split"]) for row in metrics_log.read(tmp_path / "metrics.jsonl")]
    assert rows[-5:] == [(25, "train"), (25, "validation"), (27, "train"), (27, "validation"), (27, "test")]
    assert (25, "test") not in rows


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"training__steps": 14}, r"training\.steps: expected more than the 14 of "),
        ({"training__steps": 9}, r"training\.steps: expected more than the 14 of .*, got 9"),
        ({"model__features": 7}, r"--continue: .*model\.features: 6 in .*, 7 now; set them as there$"),
        ({"model__cell": "lstm"}, r'model\.cell\.name: "gru" in .*, "lstm" now'),
        ({"optimizer": {"name": "sgd"}}, r'optimizer\.name: "adam" in .*; set them as there, or begin a new training'),
        ({"optimizer": {"learning_rate": 0.05}}, r"optimizer\.clip_norm: 0\.5 in .*, null now"),
        ({"seed": 3}, r"seed: 0 in .*, 3 now; .*model\.start="),
        ({"task__delay": 2}, r"task\.delay: 1 in .*, 2 now"),
        ({"model__start": "other"}, r"^model\.start: expected none beside --continue, .*, got other; leave one of"),
        ({"training": VALUES["training"] | {"steps": 20, "keep_best": False}}, r"training\.keep_best: true in"),
    ],
)
def test_what_cannot_be_gone_on_with(short, tmp_path, changes, said):
    of = with_origin(config(**{"training__steps": 20} | changes), short)
    with pytest.raises(UserError, match=said) as caught:
        continuation.check(of, RunDirectory(tmp_path / "run"))
    (line,) = caught.value.messages
    assert "\n" not in line


def test_origins_that_are_not_whole(short, tmp_path):
    of = config(training__steps=20, training__continue_from=str(tmp_path / "origin"))
    place = RunDirectory(tmp_path / "new")
    with pytest.raises(UserError, match=r"^--continue: .*: no such run directory"):
        continuation.check(of, place)
    shutil.copytree(short, tmp_path / "origin")
    origin = RunDirectory(tmp_path / "origin")
    summary = json.loads(origin.summary.read_text())
    for status, said in (("interrupted", "not finished; the command in"), ("diverged", "this run diverged")):
        origin.summary.write_text(json.dumps(summary | {"status": status}))
        with pytest.raises(UserError, match=rf"^--continue: .*: {said}"):
            continuation.check(of, place)
    origin.summary.write_text(json.dumps(summary))
    with pytest.raises(UserError, match=r"is the run itself; choose another directory"):
        continuation.check(of, origin)
    rows = origin.metrics.read_bytes()
    origin.metrics.write_bytes(b"\n".join(rows.split(b"\n")[1:]))
    with pytest.raises(UserError, match=r"^--continue: .*metrics\.jsonl:1: the train row of step 3 is another one"):
        continuation.check(of, place)
    origin.metrics.write_bytes(rows)
    shutil.rmtree(origin.checkpoints / "14")
    with pytest.raises(UserError, match=r"^--continue: .*checkpoints: no checkpoint of step 14, the last; put it back"):
        train(place.path, of)
    shutil.copytree(short / "checkpoints" / "14", origin.checkpoints / "14")
    file = max((f for f in (origin.checkpoints / "14").rglob("*") if f.is_file()), key=lambda f: f.stat().st_size)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"^--continue: .*14: a damaged checkpoint"):
        train(place.path, of)
    assert not place.config.exists()


def test_the_command(short, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(short, "old")
    (tmp_path / "tiny.yaml").write_text(json.dumps(VALUES | {"logging": {"plots": False, "tensorboard": False}}))
    assert cli.main(["train", "tiny.yaml", "training.steps=16", "--continue", "old/"]) == 0
    path = default_path(config(training__steps=16, logging={"plots": False, "tensorboard": False}), "tiny")
    (made,) = (tmp_path / "runs" / "tiny").iterdir()
    assert made.name != path.name
    assert "on from step 14" in capsys.readouterr().out
    assert configs.load(Config, made / "config.yaml").training.continue_from == "old"
    # The run's own config in place of CONFIG; nothing but the steps to add.
    for words in (["--continue", "old", "training.steps=16"], ["training.steps=16", "--continue", "old"]):
        assert cli.main(["train", *words, "logging.plots=false", "logging.tensorboard=false"]) == 0
    assert [one.name for one in (tmp_path / "runs" / "tiny").iterdir()] == [made.name]
    # Its config.yaml repeats it.
    assert cli.main(["train", str(made / "config.yaml"), "--run-dir", "again"]) == 0
    assert (tmp_path / "again" / "metrics.jsonl").read_bytes() == (made / "metrics.jsonl").read_bytes()
    capsys.readouterr()
    assert cli.main(["train", "--continue", "old"]) == 2
    assert capsys.readouterr().err == "training.steps: expected more than the 14 of old, got 14\n"
    assert cli.main(["train", "tiny.yaml", "training.steps=16", "--continue", "old", "--run-dir", "old"]) == 2
    assert "old is the run itself" in capsys.readouterr().err
    # What has begun needs the old run no more.
    shutil.rmtree("old")
    (made / "summary.json").unlink()
    command = ["train", "tiny.yaml", "training.steps=16", "--continue", "old"]
    assert cli.main([*command, "--run-dir", str(made)]) == 0
    assert "resuming after step 16" in capsys.readouterr().out
    assert cli.main([*command, "--run-dir", "new"]) == 2
    assert capsys.readouterr().err == "--continue: old: no such run directory\n"
    assert cli.main(["train", "--continue", "old", "training.steps=16"]) == 2
    assert capsys.readouterr().err.endswith("; a run DIR that went on from it: train DIR/config.yaml --run-dir DIR\n")
    assert not (tmp_path / "new").exists()


def test_configs_without_these_keys_have_the_hash_that_they_had():
    """Recorded before there were such keys: the directories of old runs are found again."""
    assert configs.fingerprint(config()) == "5fb6a951f2"
    assert "start" not in configs.to_yaml(config())
    assert "continue_from" not in configs.to_yaml(config())


def test_the_best_so_far_is_kept(longer):
    path, outcome, _ = longer
    rows = [row for row in metrics_log.read(path / "metrics.jsonl") if row["split"] == "validation"]
    best = max(rows, key=lambda row: row["accuracy"])
    assert outcome.summary["best_step"] == best["step"]
    step, origin, metrics, _ = evaluate_checkpoint(config(training__steps=25), RunDirectory(path), "test")
    assert (step, origin) == (best["step"], "best")
    assert metrics == pytest.approx(outcome.summary["test"])


def test_the_state_of_another_task_is_refused_by_its_data(short, tmp_path):
    experiment = assemble(config())
    facts = dict(experiment.task.facts) | {"sha256": "1" * 64}
    origin = tmp_path / "origin"
    shutil.copytree(short, origin)
    environment = json.loads((origin / "environment.json").read_text())
    environment["data"]["sha256"] = "2" * 64
    (origin / "environment.json").write_text(json.dumps(environment))
    with pytest.MonkeyPatch.context() as patch:
        other = dataclasses.replace(experiment.task, facts=facts)
        patch.setattr(training, "assemble", lambda of: dataclasses.replace(experiment, config=of, task=other))
        with pytest.raises(UserError, match="was started on other data"):
            train(tmp_path / "run", config(training__steps=20, training__continue_from=str(origin)))
