"""The page of results, from runs written by hand."""

import json
import statistics

import pytest

from experiments import cli
from experiments.results.comparison_directory import find_comparisons
from experiments.results.goals import GOALS
from experiments.training.losses import BETTER
from tests.experiments.results.written_runs import write_run
from tests.places import CONFIGS


def test_a_row_for_each_config_with_its_seeds_floor_and_command(tmp_path, capsys):
    for seed, accuracy in ((0, 0.5), (1, 0.75)):
        run = write_run(tmp_path / "runs" / str(seed), seed=seed, test=accuracy, seconds=59.0)
        run.command.write_text(
            f"python -m experiments train configs/copying.yaml task.delay=9 seed={seed} --run-dir runs/{seed}\n"
        )
    other = write_run(tmp_path / "runs" / "wide", settings=["model.features=64"], name="a|b", test=0.25)
    other.command.unlink()
    write_run(tmp_path / "runs" / "unfinished")
    page = tmp_path / "page.md"
    assert cli.main(["report", str(tmp_path / "runs"), "--page", str(page)]) == 0
    assert str(page) in capsys.readouterr().out
    rows = [line for line in page.read_text().splitlines() if line.startswith("| ")][1:]
    spread = statistics.stdev([0.5, 0.75])
    assert rows[1:] == [
        rows[1],
        f"| copying | accuracy | 0.125 | 0.625 ± {spread:.2g} | beats the floor | 2 seeds | 1,234 | 1.0 "
        "| `python -m experiments train configs/copying.yaml task.delay=9` |",
    ]
    assert rows[1].startswith("| a\\|b | accuracy | 0.125 | 0.25 | beats the floor | 1 seed | 1,234 | 0.1 | `(config ")
    assert "- copying: chance" in page.read_text()


def test_floors_that_differ_between_runs_of_a_config_are_all_told(tmp_path):
    """Over folds and overrides, and the same ones once."""
    for place, (note, seed, options) in enumerate(
        [("ten", 0, "task.fold=1"), ("ten", 1, "task.fold=1"), ("two", 0, "task.fold=2"), ("six", 0, "task.delay=9")]
    ):
        run = write_run(tmp_path / "runs" / str(place), seed=seed, test=0.5, floor_note=note)
        run.command.write_text(f"train copying.yaml {options} seed={seed} --run-dir runs/{place}\n")
    write_run(tmp_path / "runs" / "other", name="other", test=0.5, floor_note="chance")
    assert page_of(tmp_path).partition("## Floors\n\n")[2].splitlines() == [
        "- copying (`train copying.yaml task.fold=1`, seed 0, 1): ten",
        "- copying (`train copying.yaml task.fold=2`, seed 0): two",
        "- copying (`train copying.yaml task.delay=9`, seed 0): six",
        "- other: chance",
    ]


def test_there_is_no_mean_of_floors_that_are_not_one(tmp_path):
    for seed, note in enumerate(["copying the last frame", "always the mean frame"]):
        write_run(tmp_path / "runs" / str(seed), seed=seed, test=0.5, floor_note=note)
    assert "| they differ | 0.5 ± 0 |  | 2 seeds |" in page_of(tmp_path)


@pytest.mark.parametrize(
    ("tests", "verdict"),
    [
        ((0.12, 0.16), "level with the floor"),
        ((0.1, 0.13), "level with the floor"),
        ((0.14, 0.15), "beats the floor"),
        ((0.11, 0.115), "**does not beat the floor**"),
    ],
)
def test_a_floor_within_the_spread_is_not_beaten(tests, verdict, tmp_path):
    for seed, test in enumerate(tests):
        write_run(tmp_path / "runs" / str(seed), seed=seed, test=test)
    assert f"| {verdict} | 2 seeds |" in page_of(tmp_path)


def page_of(folder):
    page = folder / "page.md"
    assert cli.main(["report", str(folder / "runs"), "--page", str(page)]) == 0
    return page.read_text()


@pytest.mark.parametrize(
    ("name", "reached", "verdict"),
    [
        ("speech_vowels", 0.98, "≥ 0.98: reached"),
        ("speech_vowels", 0.9799, "≥ 0.98: **missed**"),
        ("digits_mnist_pixels", 0.9, "≥ 0.9: reached"),
        ("copying", 0.125, "**does not beat the floor**"),
    ],
)
def test_goals_and_floors_that_are_missed_are_said_to_be(name, reached, verdict, tmp_path):
    write_run(tmp_path / "runs" / "0", name=name, test=reached)
    assert f"| {verdict} | 1 seed |" in page_of(tmp_path)


@pytest.mark.parametrize(("error", "verdict"), [(0.05, "≤ 0.06: reached"), (0.07, "≤ 0.06: **missed**")])
def test_a_goal_may_be_a_share_of_the_floor(error, verdict, tmp_path):
    run = write_run(tmp_path / "runs" / "0", name="video", test=0.0)
    summary = json.loads(run.summary.read_text())
    run.summary.write_text(json.dumps(summary | {"test": {"mse": error}, "floor": {"mse": 0.12}}))
    assert f"| video | mse | 0.12 | {error} | {verdict} |" in page_of(tmp_path)


def test_folds_of_patients_that_are_not_whole_are_said_to_be(tmp_path):
    write_run(tmp_path / "runs" / "0", task="{name: patients, fold: 2, missing: mean}", name="patients", test=0.5)
    text = page_of(tmp_path)
    assert "| see the pooled folds |" in text
    assert "## patients, folds pooled" in text


def test_every_goal_is_that_of_a_config_and_of_a_metric():
    configs = {path.stem for path in CONFIGS.glob("*.yaml")}
    assert set(GOALS) <= configs
    assert {goal.metric for goal in GOALS.values()} <= set(BETTER)


def test_a_seed_counts_with_the_mean_over_its_folds(tmp_path):
    for seed, fold, accuracy in ((0, 1, 0.5), (0, 2, 0.75), (1, 1, 0.25), (1, 2, 0.75)):
        task = f"{{name: activity, fold: {fold}}}"
        run = write_run(tmp_path / "runs" / f"{seed}{fold}", task=task, seed=seed, test=accuracy, seconds=59.0)
        run.command.write_text(f"python -m experiments train configs/copying.yaml task.fold={fold} seed={seed}\n")
    spread = statistics.stdev([0.625, 0.5])
    assert (
        f"| copying | accuracy | 0.125 | 0.5625 ± {spread:.2g} | beats the floor | 2 seeds of 2 folds | 1,234 | 1.0 "
        "| `python -m experiments train configs/copying.yaml task.fold=F` |"
    ) in page_of(tmp_path)


def test_the_runs_of_a_comparison_stand_in_its_table_alone(tmp_path):
    folder = tmp_path / "runs" / "compared"
    write_run(folder / "gru-width" / "0", name="compare_copy", test=0.5)
    write_run(tmp_path / "runs" / "alone", test=0.5)
    (folder / "config.yaml").write_text("compare:\n  cells: [gru, rnn]\n")
    assert [one.path for one in find_comparisons([tmp_path / "runs"])] == [folder]
    assert "compare_copy" not in page_of(tmp_path)
    variant = {"cell": "gru", "widths": [8], "parameters": 9, "test": [{"accuracy": 0.5}], "floor": {}, "diverged": 0}
    results = {
        "config": "compare_copy",
        "command": "python -m experiments compare configs/compare_copy.yaml --run-dir /somewhere",
        "metric": "accuracy",
        "variants": {"gru-width": variant | {"milliseconds": 1.0, "mebibytes": 2.0}},
    }
    (folder / "comparison.json").write_text(json.dumps(results))
    text = page_of(tmp_path)
    assert "## compare_copy\n" in text
    assert "| gru, equal width | 8 | 9 | 0.5 | 1 | 2 |" in text
    assert text.count("| copying |") == 1
    assert "`python -m experiments compare configs/compare_copy.yaml`" in text


def test_the_validation_split_and_the_metric_that_chose(tmp_path):
    run = write_run(tmp_path / "runs" / "0", test=0.5, parameters_from="best")
    summary = json.loads(run.summary.read_text())
    run.summary.write_text(json.dumps(summary | {"validation": {"accuracy": 0.625}}))
    text = page_of(tmp_path)
    assert "| config | metric | floor | validation | test | goal |" in text
    assert "| copying | accuracy | 0.125 | 0.625, chose | 0.5 | beats the floor | 1 seed |" in text
    assert "Choose between configs by the validation split" in text
    write_run(tmp_path / "runs" / "1", name="older", test=0.5)
    assert "| older | accuracy | 0.125 | - | 0.5 | beats the floor | 1 seed |" in page_of(tmp_path)
