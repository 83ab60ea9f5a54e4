import io
import json

import numpy as np
import pytest
from matplotlib.image import imread
from rich.console import Console

from experiments import cli, report
from experiments.errors import UserError
from tests.experiments.runs import write_run


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
    return [report.read(directory) for directory in directories]


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
    empty = report.read(write_run(tmp_path / "empty", validation=()))
    with pytest.raises(UserError, match="nothing to draw"):
        report.draw([empty], tmp_path / "comparison.png")


def test_draws_a_run_whose_floor_is_of_another_metric(tmp_path):
    run = write_run(tmp_path / "runs" / "0", test=0.5)
    summary = json.loads(run.summary.read_text())
    run.summary.write_text(json.dumps(summary | {"floor": {"exact_match": 0.1}}))
    assert cli.main(["report", str(tmp_path / "runs"), "--plot", str(tmp_path / "curves.png")]) == 0
    assert (tmp_path / "curves.png").stat().st_size > 1000
