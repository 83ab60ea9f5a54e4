"""Beginning a training with the weights of another run."""

import json
import shutil

import jax
import numpy as np
import pytest

from experiments.compare.schema import CompareConfig
from experiments.config import configs
from experiments.runs.checkpoints import restore, saved_steps
from experiments.runs.config import Config
from experiments.runs.directory import RunDirectory
from experiments.runs.start_check import check
from experiments.system.errors import UserError
from experiments.training.experiment import assemble
from experiments.training.start_weights import begin
from tests.experiments.trained_runs import train


def config(text, steps=3, start=None, **model):
    return configs.check(
        Config,
        {
            "task": {"name": "chars", "window": 8, "path": str(text)},
            "model": {"features": 6, "input_features": 4, "start": None if start is None else str(start)} | model,
            "training": {"steps": steps, "batch_size": 4, "log_every": 1, "eval_every": 2, "keep_best": True},
        },
    )


def state_of(path, of):
    return restore(
        path / "checkpoints", saved_steps(path / "checkpoints")[-1], jax.eval_shape(assemble(of).initial_state)
    )


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """Three texts: two of one alphabet, and one of as many other letters."""
    folder = tmp_path_factory.mktemp("texts")
    rng = np.random.default_rng(0)
    for name, letters in (("one", "abcde"), ("two", "abcde"), ("other", "vwxyz"), ("more", "abcdef")):
        (folder / name).write_text("".join(rng.choice(list(letters), 600)))
    return folder


@pytest.fixture(scope="module")
def run(texts, tmp_path_factory):
    """A finished run on the first text, with its best parameters."""
    path = tmp_path_factory.mktemp("run")
    with jax.numpy_dtype_promotion("standard"):
        train(path, config(texts / "one"))
    return path


def parts_equal(one, other):
    """Which parts of two models' variables are equal."""
    return {
        part
        for part in one["params"]
        if all(
            np.array_equal(a, b)
            for a, b in zip(jax.tree.leaves(one["params"][part]), jax.tree.leaves(other["params"][part]), strict=True)
        )
    }


def test_all_is_taken_where_all_means_the_same(texts, run):
    best = state_of(run, config(texts / "one"))[0].best
    experiment = assemble(config(texts / "two", start=run))
    params = experiment.initial_state().params
    start = begin(experiment, params)
    assert (start.origin, start.step, start.anew) == ("best", int(best.step), {})
    assert set(start.taken) == {"input_layer", "recurrent", "output_layer"}
    assert parts_equal(start.params, best.params) == {"input_layer", "recurrent", "output_layer"}
    assert parts_equal(start.params, params) == set()


def test_read_out_and_tokens_begin_anew_for_another_alphabet_of_the_same_size(texts, run):
    best = state_of(run, config(texts / "one"))[0].best
    experiment = assemble(config(texts / "other", start=run))
    params = experiment.initial_state().params
    start = begin(experiment, params)
    assert start.taken == ["recurrent"]
    assert start.anew == {
        "input_layer": "which are of another alphabet",
        "output_layer": "which is of other classes",
    }
    assert parts_equal(start.params, best.params) == {"recurrent"}
    assert parts_equal(start.params, params) == {"input_layer", "output_layer"}


def test_parts_of_other_shapes_begin_anew(texts, run):
    start = begin(experiment := assemble(config(texts / "more", start=run)), experiment.initial_state().params)
    assert start.taken == ["recurrent"]
    assert start.anew == {
        "input_layer": "whose embedding is (5, 4) there and (6, 4) here",
        "output_layer": "whose bias is (5,) there and (6,) here",
    }


def test_it_is_said_recorded_and_repeated_by_its_config(texts, run, tmp_path):
    of = config(texts / "other", start=run)
    outcome, printed = train(tmp_path / "run", of)
    step = outcome.summary["start"]["step"]
    assert f"start   best parameters at step {step} of {run}; taken: recurrent\n" in printed
    assert "start   not taken: output_layer, which is of other classes\n" in printed
    expected = {
        "run": str(run),
        "step": step,
        "parameters_from": "best",
        "taken": ["recurrent"],
        "anew": {"input_layer": "which are of another alphabet", "output_layer": "which is of other classes"},
    }
    assert outcome.summary["start"] == expected
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["start"] == expected
    again = configs.load(Config, tmp_path / "run" / "config.yaml")
    assert again == of
    train(tmp_path / "again", again)
    assert (tmp_path / "again" / "metrics.jsonl").read_bytes() == (tmp_path / "run" / "metrics.jsonl").read_bytes()
    without = config(texts / "other")
    train(tmp_path / "without", without)
    assert (tmp_path / "without" / "metrics.jsonl").read_bytes() != (tmp_path / "run" / "metrics.jsonl").read_bytes()


def test_a_run_that_began_so_needs_the_other_no_more_once_it_has_a_checkpoint(texts, run, tmp_path):
    shutil.copytree(run, tmp_path / "start")
    of = config(texts / "two", start=tmp_path / "start")
    train(tmp_path / "run", of)
    shutil.rmtree(tmp_path / "start")
    (tmp_path / "run" / "summary.json").unlink()
    outcome, printed = train(tmp_path / "run", of)
    assert "resuming after step 3" in printed
    assert outcome.summary["start"]["taken"] == ["input_layer", "output_layer", "recurrent"]


def test_names_of_classes_are_unknown_without_the_data(texts, run, tmp_path):
    shutil.copytree(run, tmp_path / "start")
    there = RunDirectory(tmp_path / "start")
    there.config.write_text(there.config.read_text().replace(str(texts / "one"), str(tmp_path / "gone")))
    experiment = assemble(config(texts / "two", start=there))
    start = begin(experiment, experiment.initial_state().params)
    assert start.taken == ["recurrent"]
    assert start.anew["output_layer"] == "since the data of that run is missing, which names its classes"


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"features": 8}, "its layers are others: model.features=[6] there, model.features=[8] here; set the same"),
        ({"features": [6, 6]}, "model.features=[6] there, model.features=[6, 6] here"),
        ({"cell": "lstm"}, "its layers are others: model.cell.name=gru there, model.cell.name=lstm here; set the same"),
        (
            {"cell": {"name": "gru", "update_gate": "write"}},
            "model.cell.update_gate=keep there, model.cell.update_gate=w",
        ),
        ({"input_features": 5}, "model.input_features=4 there, model.input_features=5 here"),
    ],
)
def test_layers_that_differ_are_told_in_one_line(texts, run, model, said):
    with pytest.raises(UserError) as caught:
        check(config(texts / "one", start=run, **model))
    (line,) = caught.value.messages
    assert line.startswith(f"model.start: {run}: ")
    assert said in line


def test_tokens_that_enter_one_hot_must_be_the_same(texts, tmp_path):
    train(tmp_path / "run", config(texts / "one", input_features=None))
    for text, said in (
        ("other", "read tokens one-hot, which are of another alphabet"),
        ("more", "w_i is (5, 18) there"),
    ):
        experiment = assemble(config(texts / text, start=tmp_path / "run", input_features=None))
        with pytest.raises(UserError) as caught:
            begin(experiment, experiment.initial_state().params)
        (line,) = caught.value.messages
        assert line.startswith(f"model.start: {tmp_path / 'run'}: its recurrent layers")
        assert said in line


def test_runs_that_cannot_be_begun_with(texts, run, tmp_path):
    for path, said in (
        (tmp_path / "nowhere", "no such run directory"),
        (texts, "not a run directory: it has no config"),
    ):
        with pytest.raises(UserError, match=rf"^model\.start: .*{said}"):
            check(config(texts / "one", start=path))
    shutil.copytree(run, tmp_path / "start")
    (tmp_path / "start" / "summary.json").unlink()
    with pytest.raises(UserError, match=r"^model\.start: .*not finished; the command in"):
        check(config(texts / "one", start=tmp_path / "start"))
    with pytest.raises(UserError, match=r"^model\.start: expected a run directory or null, got an empty text"):
        config(texts / "one", start="")
    values = config(texts / "one", start=run).model_dump(mode="json") | {"compare": {"cells": ["gru", "rnn"]}}
    with pytest.raises(UserError, match=r"model\.start: a comparison begins every cell afresh"):
        configs.check(CompareConfig, values)
