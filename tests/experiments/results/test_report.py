import io
import json

import numpy as np
import pytest
from matplotlib.image import imread
from rich.console import Console

from experiments import cli
from experiments.results import report, run_records
from experiments.system.errors import UserError
from tests.experiments.results.written_runs import write_run


@pytest.fixture
def runs(tmp_path):
    """Three seeds of a GRU, one LSTM, and one GRU that was killed."""
    directories = [
        write_run(tmp_path / "a", seed=0, test=0.5, seconds=1.0),
        write_run(tmp_path / "b", seed=1, test=0.75, seconds=2.0),
        write_run(tmp_path / "c", seed=2, test=1.0, seconds=6.0),
        write_run(tmp_path / "d", seed=0, test=0.25, settings=["model.cell=lstm", "model.features=8"]),
        write_run(tmp_path / "copying" / "e", seed=3),
    ]
    return [run_records.read(directory) for directory in directories]


def test_markdown_gives_mean_and_deviation_over_seeds_and_what_configs_differ_in(runs):
    # By hand: mean and sample standard deviation of 0.5, 0.75, 1.0; mean of 1, 2, 6 seconds.
    assert report.markdown(runs).splitlines() == [
        "| config | differs in | runs | accuracy | parameters | seconds |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
        "| copying | cell=gru, features=128 | 3 of 4 | 0.75 ± 0.25 | 1,234 | 3 |",
        "| copying | cell=lstm, features=8 | 1 | 0.25 | 1,234 | 2 |",
        "| floor of copy |  |  | 0.125 |  |  |",
        "",
        "test split; mean ± standard deviation over seeds",
        "floor of copy: chance",
        f"not counted: {runs[-1].directory} (running or killed, step 20)",
    ]


def test_the_terminal_gets_the_same_numbers(runs):
    console = Console(file=io.StringIO(), width=120)
    console.print(report.table(runs))
    text = console.file.getvalue()
    for cell in ("cell=lstm, features=8", "0.75 ± 0.25", "3 of 4", "floor of copy: chance"):
        assert cell in text


def test_no_run_is_complete(runs):
    assert "no run is complete yet" in report.markdown(runs[-1:])


def test_draws_a_picture_and_nothing_without_rows(runs, tmp_path):
    path = report.draw(runs, tmp_path / "comparison.png")
    pixels = imread(path)[..., :3]
    assert pixels.shape[0] > 400
    for colour in ((0x1F, 0x77, 0xB4), (0xFF, 0x7F, 0x0E)):
        assert (np.abs(pixels - np.array(colour) / 255).max(axis=-1) < 0.3).sum() > 100
    with pytest.raises(UserError, match="no such directory"):
        report.draw(runs, tmp_path / "nowhere" / "comparison.png")
    empty = run_records.read(write_run(tmp_path / "empty", validation=()))
    with pytest.raises(UserError, match="nothing to draw"):
        report.draw([empty], tmp_path / "comparison.png")


def test_draws_a_run_whose_floor_is_of_another_metric(tmp_path):
    run = write_run(tmp_path / "runs" / "0", test=0.5)
    summary = json.loads(run.summary.read_text())
    run.summary.write_text(json.dumps(summary | {"floor": {"exact_match": 0.1}}))
    assert cli.main(["report", str(tmp_path / "runs"), "--plot", str(tmp_path / "curves.png")]) == 0
    assert (tmp_path / "curves.png").stat().st_size > 1000


@pytest.fixture
def validated(tmp_path):
    """Two seeds whose best step was chosen, one run of a wider model without, and one of older code."""
    chosen = {"parameters_from": "best", "best_step": 10}
    values = [{"accuracy": 0.5, "nll_per_step": 0.6}, {"accuracy": 0.7, "nll_per_step": 0.4}]
    directories = [write_run(tmp_path / str(seed), seed=seed, test=0.25 * seed, **chosen) for seed in range(2)]
    for directory, validation in zip(directories, values, strict=True):
        summary = json.loads(directory.summary.read_text())
        directory.summary.write_text(json.dumps(summary | {"validation": validation}))
    directories.append(write_run(tmp_path / "older", name="older", test=1.0, settings=["model.features=8"]))
    return directories


def test_the_validation_split_stands_beside_the_test_split(validated):
    # By hand: mean and sample standard deviation of 0.5, 0.7 and of 0.6, 0.4; of 0, 0.25.
    assert report.markdown([run_records.read(directory) for directory in validated]).splitlines() == [
        "| config | differs in | runs | validation accuracy | test accuracy | validation nll_per_step | parameters "
        "| seconds |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| copying | - | 2 | 0.6 ± 0.14 | 0.125 ± 0.18 | 0.5 ± 0.14 | 1,234 | 2 |",
        "| older | - | 1 | - | 1 | - | 1,234 | 2 |",
        "| floor of copy |  |  |  | 0.125 |  |  |  |",
        "",
        "mean ± standard deviation over seeds; choose between configs by the validation split: "
        "the test split is for the one chosen",
        "parameters of the step with the best validation accuracy: copying",
        "floor of copy: chance",
    ]


def test_a_narrow_terminal_gets_what_decides(validated):
    runs = [run_records.read(directory) for directory in validated]
    texts = {}
    for width in (80, 160):
        console = Console(file=io.StringIO(), width=width)
        console.print(report.table(runs, width))
        texts[width] = console.file.getvalue()
    assert "0.6 ± 0.14" in texts[80]
    assert "0.5 ± 0.14" not in texts[80]
    assert "0.5 ± 0.14" in texts[160]


def test_a_validation_split_that_was_trained_on_is_not_shown(tmp_path):
    run = write_run(tmp_path / "a", task="{name: activity, train_on_validation: true}", test=0.5)
    summary = json.loads(run.summary.read_text())
    run.summary.write_text(json.dumps(summary | {"validation": {"accuracy": 0.99}}))
    text = report.markdown([run_records.read(run)])
    assert "0.99" not in text
    assert "no validation values: copying was trained on these rows as well (task.train_on_validation)" in text


def test_runs_that_went_on_are_told_from_those_that_did_not_and_their_seeds_are_one(tmp_path):
    directories = [write_run(tmp_path / "one", test=0.25)]
    for seed in range(2):
        run = write_run(tmp_path / str(seed), seed=seed, test=0.5, settings=[f"training.continue_from=old/{seed}"])
        run.continued.write_text(json.dumps({"run": f"old/{seed}", "step": 10, "rows": 2}))
        directories.append(run)
    lines = report.markdown([run_records.read(directory) for directory in directories]).splitlines()
    assert lines[2].startswith("| copying | - | 1 | 0.25 |")
    assert lines[3].startswith("| copying | continue_from=step 10 | 2 | 0.5 ± 0 |")
