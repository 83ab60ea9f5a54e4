"""Comparisons: which runs they are made of, how far gradients reach against NumPy, and the command from end to end."""

import json
import re

import jax
import numpy as np
import pytest

from experiments import cli
from experiments.compare import gradient_flow
from experiments.compare.schema import CompareConfig
from experiments.compare.variants import variants
from experiments.config import configs
from experiments.runs.config import Config
from experiments.system.errors import UserError
from experiments.training.experiment import assemble, count_parameters
from tests.places import CONFIGS

TINY = """
task: {name: copy, length: 3, delay: 4}
model: {features: 12}
training: {steps: 4, batch_size: 4, log_every: 2, eval_every: 2}
checkpoint: {every: 2}
logging: {tensorboard: false, plots: false}
compare:
  cells: [gru, {name: lstm, forget_bias: 1.0}, rnn]
  seeds: [3, 5]
  gradient_flow: {steps: 6, rows: 2}
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    path = tmp_path_factory.mktemp("compare") / "compare_tiny.yaml"
    path.write_text(TINY)
    return path


def load(path, *overrides):
    return configs.load(CompareConfig, path, overrides)


def test_cells_are_as_wide_or_as_large_as_the_first(tiny):
    found = variants(load(tiny))
    assert list(found) == ["gru-width", "lstm-width", "rnn-width", "lstm-parameters", "rnn-parameters"]
    assert {config.seed for config in found.values()} == {3}
    wanted = count_parameters(jax.eval_shape(assemble(found["gru-width"]).initial_state).params)
    assert {found[name].model.features for name in ("gru-width", "lstm-width", "rnn-width")} == {12}
    assert found["lstm-width"].model.cell.forget_bias == 1.0
    for name in ("lstm-parameters", "rnn-parameters"):
        # No other width comes nearer: one unit more or less is further off.
        def distance(width, config=found[name]):
            values = config.model_dump(mode="json")
            values["model"]["features"] = width
            shapes = jax.eval_shape(assemble(configs.check(Config, values)).initial_state).params
            return abs(count_parameters(shapes) - wanted)

        width = found[name].model.features
        assert distance(width) <= min(distance(width - 1), distance(width + 1))


def test_gradients_reach_as_far_as_the_product_of_jacobians(tiny):
    """Of the RNN, h' = tanh(x W_i + b_i + h W_h + b_h), by hand in float64."""
    experiment = assemble(variants(load(tiny))["rnn-width"])
    params = experiment.initial_state().params
    inputs = gradient_flow.inputs_of(experiment, 2, 6)
    assert inputs.shape[:2] == (2, 7)
    leaves = {path[-1].key: np.float64(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(params["params"])}
    w_i, w_h, b = leaves["w_i"], leaves["w_h"], leaves["b_i"] + leaves["b_h"]
    logs = []
    for row in inputs:
        h, jacobians = np.zeros(12), []
        for token in row:
            h = np.tanh(w_i[token] + b + h @ w_h)
            jacobians.append((1 - h**2)[:, None] * w_h.T)
        product, norms = np.eye(12), []
        for jacobian in jacobians[:0:-1]:
            product = product @ jacobian
            norms.append(np.log10(np.linalg.norm(product, ord=2)))
        logs.append(norms)
    found = gradient_flow.log10_norms(experiment, params, inputs)
    np.testing.assert_allclose(found, np.mean(logs, axis=0), atol=1e-4)


def test_rows_that_are_too_short_are_named(tiny):
    experiment = assemble(variants(load(tiny))["rnn-width"])
    with pytest.raises(UserError, match=r"compare\.gradient_flow\.steps: 0 of the 2 rows .* more than 500 steps"):
        gradient_flow.inputs_of(experiment, 2, 500)


@pytest.fixture(scope="module")
def compared(tiny, tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "compared"
    overrides = ["compare.cells=[gru,rnn]", "compare.match=[width]"]
    arguments = ["compare", str(tiny), *overrides, "--run-dir", str(directory)]
    assert cli.main(arguments) == 0
    return directory, arguments


def test_compare_leaves_runs_a_table_and_plots(compared, capsys):
    directory, arguments = compared
    results = json.loads((directory / "comparison.json").read_text())
    assert list(results["variants"]) == ["gru-width", "rnn-width"]
    for name, one in results["variants"].items():
        tests = [json.loads((directory / name / seed / "summary.json").read_text())["test"] for seed in ("3", "5")]
        assert one["test"] == tests
        assert one["milliseconds"] > 0
        assert len(results["gradient_flow"][name]["after"]) == 6
        assert results["gradient_flow"][name]["after"] != results["gradient_flow"][name]["before"]
    assert {path.name for path in (directory / "plots").iterdir()} == {"learning_curves.png", "gradient_flow.png"}
    mean = np.mean([test["accuracy"] for test in results["variants"]["rnn-width"]["test"]])
    assert f"| {mean:.4g} ± " in (directory / "table.md").read_text()

    before = (directory / "rnn-width" / "5" / "metrics.jsonl").read_bytes()
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out.count("complete before") == 4
    assert (directory / "rnn-width" / "5" / "metrics.jsonl").read_bytes() == before


def test_plot_and_report_know_a_comparison(compared, capsys):
    directory, _ = compared
    assert cli.main(["plot", str(directory)]) == 0
    assert str(directory / "plots" / "gradient_flow.png") in capsys.readouterr().out
    assert cli.main(["report", str(directory), "--markdown"]) == 0
    assert "2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["compare.cells=[gru,gru]"], r"compare\.cells: expected each one once"),
        (["compare.cells=[gru]"], r"compare\.cells"),
        (["compare.seeds=[1,1]"], r"compare\.seeds: expected each one once"),
        (["compare.match=[size]"], r"compare\.match"),
        (["compare.seeds=[]"], r"compare\.seeds: expected a list of at least 1"),
        (["compare.cells=[gru,lstn]"], r'compare\.cells\.name: expected one of conv_gru, .*did you mean "lstm"'),
        (
            ["compare.cells=[gru,{name: lstm, forgetbias: 1}]"],
            r'compare\.cells\.forgetbias: unknown key.*"forget_bias"',
        ),
        (["compare.gradient_flow.steps=500"], r"compare\.gradient_flow\.steps: 0 of the 2 rows"),
        (["compare.cells=[gru,min_gru]", "model.features=99"], r"compare\.match: min_gru has fewer .* 792 units"),
        (["compare.gradient_flow.stepz=3"], r"compare\.gradient_flow\.stepz: unknown key.*steps"),
    ],
)
def test_a_mistake_is_one_line(tiny, overrides, line, capsys):
    assert cli.main(["compare", str(tiny), *overrides]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert re.search(line, lines[0]), lines


def test_a_directory_of_something_else_is_refused(compared, tiny, tmp_path, capsys):
    directory, _ = compared
    assert cli.main(["compare", str(tiny), "--run-dir", str(directory)]) == 2
    assert "holds a comparison of another config" in capsys.readouterr().err
    (tmp_path / "note.txt").write_text("mine")
    assert cli.main(["compare", str(tiny), "--run-dir", str(tmp_path)]) == 2
    assert "not a comparison" in capsys.readouterr().err
    assert cli.main(["compare", str(tiny), "model.bidirectional=true", "--run-dir", str(tmp_path / "new")]) == 2
    assert "model.bidirectional=false" in capsys.readouterr().err


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("compare_*.yaml")), ids=lambda path: path.stem)
def test_a_shipped_comparison_is_whole(path):
    """It opens with what it does and the command, and each of its cells can be run on its task."""
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert any(f"python -m experiments compare configs/{path.name}" in line for line in header)
    config = load(path, "compare.match=[width]", "model.features=8", "training.batch_size=2")
    assert [cell.name for cell in config.compare.cells] == ["gru", "lstm", "rnn", "min_gru"]
    found = variants(config)
    assert len(found) == 4
    experiment = assemble(found["gru-width"])
    state = jax.jit(experiment.step_function())(experiment.initial_state(), experiment.train_batch(1))
    assert int(state.step) == 1
    flow = config.compare.gradient_flow
    assert len(gradient_flow.inputs_of(experiment, flow.rows, flow.steps)) == flow.rows


@pytest.mark.parametrize(
    ("task", "settings", "what"),
    [
        ("{name: translation, dates: 200}", "attention: additive, features: 8", "task translation"),
        ("{name: video, side: 10, steps: 4}", "cell: {name: conv_gru}, features: 8", "task video"),
        ("{name: digits, steps: 8}", "members: 2, features: 8", r"model\.members > 1"),
    ],
)
def test_gradients_that_could_not_be_followed_are_refused_before_any_training(task, settings, what, tmp_path, capsys):
    path = tmp_path / "compare.yaml"
    cells = "[conv_gru, {name: gru}]" if "conv" in settings else "[gru, rnn]"
    path.write_text(
        TINY.replace("{name: copy, length: 3, delay: 4}", task)
        .replace("features: 12", settings)
        .replace("[gru, {name: lstm, forget_bias: 1.0}, rnn]", cells)
        .replace("seeds", "match: [width]\n  seeds")
    )
    assert cli.main(["compare", str(path), "--run-dir", str(tmp_path / "run")]) == 2
    assert re.search(rf"compare\.gradient_flow: .* got {what}; leave", capsys.readouterr().err)
    assert not (tmp_path / "run").exists()
