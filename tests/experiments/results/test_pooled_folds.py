"""Folds pooled from run directories written by hand: whose risks are averaged, what is refused, what the tables say."""

import json

import numpy as np
import pytest

from experiments import pooled_folds
from experiments.config import configs
from experiments.results.pooled_folds import Pooled, differences, pool
from experiments.results.run_records import read
from experiments.runs.config import Config
from experiments.runs.directory import RunDirectory, find_runs
from experiments.system.errors import UserError
from experiments.tasks import risk_scores

EVENTS = {1: 1, 2: 0, 3: 1, 4: 0, 5: 0}
FOLDS = {number: [number] for number in EVENTS}


def write(folder, *, name="patients", seed=0, fold=1, risks, missing="mean", floor=0.0, looks=""):
    path = folder / f"{name}-{seed}-{fold}"
    path.mkdir(parents=True)
    source = folder / "source.yaml"
    source.write_text(f"task: {{name: patients, fold: {fold}, missing: {missing}}}\nseed: {seed}\n{looks}")
    directory = RunDirectory(path)
    directory.begin(configs.load(Config, source), "command")
    numbers = FOLDS[fold]
    cases = {"number": numbers, "event": [EVENTS[number] for number in numbers]}
    cases |= {"risk": [risks[number] for number in numbers], "logistic": [number / 10 + floor for number in numbers]}
    directory.pictures.write_text(json.dumps({"reliability": {"kind": "reliability", "cases": cases}}))
    summary = {"status": "complete", "config": name, "seed": seed, "test": {}, "seconds": {}, "steps": 1}
    directory.summary.write_text(json.dumps(summary))
    return directory


def runs_of(folder):
    return [read(directory) for directory in find_runs([folder])]


def test_risks_are_means_over_seeds_of_all_folds(tmp_path):
    for seed, shift in ((0, 0.0), (1, 0.2)):
        for fold in FOLDS:
            write(tmp_path, seed=seed, fold=fold, risks={number: 0.1 * number + shift for number in EVENTS})
    pooled = pool(runs_of(tmp_path))
    assert pooled.events.tolist() == [1, 0, 1, 0, 0]
    np.testing.assert_allclose(pooled.risks["patients"], 0.1 * np.arange(1, 6) + 0.1)
    np.testing.assert_allclose(pooled.risks["logistic"], 0.1 * np.arange(1, 6))


def test_configs_of_one_name_are_told_apart(tmp_path):
    risks = dict.fromkeys(EVENTS, 0.5)
    for fold in FOLDS:
        write(tmp_path / "a", fold=fold, risks=risks)
        write(tmp_path / "b", fold=fold, risks=risks, missing="mean_and_mask")
    assert set(pool(runs_of(tmp_path)).risks) == {"patients (1)", "patients (2)", "logistic"}


def test_what_runs_write_down_makes_no_other_config(tmp_path):
    for fold in FOLDS:
        looks = "logging: {tensorboard: false}\n" if fold == 1 else ""
        write(tmp_path, fold=fold, risks=dict.fromkeys(EVENTS, 0.5), looks=looks)
    assert list(pool(runs_of(tmp_path)).risks) == ["patients", "logistic"]


def test_floors_that_differ_are_kept_apart(tmp_path):
    for name, floor in (("one", 0.0), ("two", 0.2), ("three", 1e-6)):
        write_all(tmp_path / name, name=name, floor=floor)
    risks = pool([run for name in ("one", "two", "three") for run in runs_of(tmp_path / name)]).risks
    assert list(risks) == ["one", "two", "three", "logistic of one, three", "logistic of two"]
    np.testing.assert_allclose(risks["logistic of one, three"], 0.1 * np.arange(1, 6))
    np.testing.assert_allclose(risks["logistic of two"], 0.1 * np.arange(1, 6) + 0.2)


def write_all(folder, **options):
    for fold in FOLDS:
        write(folder, fold=fold, risks=dict.fromkeys(EVENTS, 0.5), **options)


def test_what_does_not_add_up_is_refused(tmp_path):
    risks = dict.fromkeys(EVENTS, 0.5)
    write(tmp_path / "one", fold=2, risks=risks)
    with pytest.raises(UserError, match=r"patients: seed 0 lacks task\.fold 1, 3, 4, 5 of 1 to 5"):
        pool(runs_of(tmp_path / "one"))
    write_all(tmp_path / "two")
    write(tmp_path / "two", fold=1, seed=1, risks=risks)
    with pytest.raises(UserError, match=r"patients: seed 1 lacks task\.fold 2, 3, 4, 5 of 1 to 5"):
        pool(runs_of(tmp_path / "two"))
    write_all(tmp_path / "three")
    write(tmp_path / "three" / "again", fold=1, risks=risks)
    with pytest.raises(UserError, match=r"seed 0 of fold 1 is there twice"):
        pool(runs_of(tmp_path / "three"))
    write_all(tmp_path / "four")
    pictures = tmp_path / "four" / "patients-0-3" / "pictures.json"
    for text in ("{}", '{"reliability": {"kind": "reliability"}}', '{"reliability": {"cases": {"number": [3]}}}', None):
        pictures.unlink() if text is None else pictures.write_text(text)
        with pytest.raises(UserError, match=r"patients-0-3/pictures\.json: expected the risks .* another --run-dir"):
            pool(runs_of(tmp_path / "four"))
    with pytest.raises(UserError, match=r"RUN: expected complete runs of the task patients"):
        pool([])


@pytest.mark.parametrize("config", ["task: {name: copy}\ncompare:\n  cells: [gru, rnn]\n", "contenders: [gru]\n"])
def test_a_comparison_or_a_bench_beside_the_runs_is_passed_over(config, tmp_path, capsys):
    write_all(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.yaml").write_text(config)
    (tmp_path / "other" / "command.txt").write_text("command")
    assert pooled_folds.main([str(tmp_path)]) == 0
    assert "5 patients" in capsys.readouterr().out


def test_a_difference_covers_what_other_patients_would_give():
    """The interval of one sample is as wide as the spread of the difference over fresh samples."""

    def sample(seed):
        rng = np.random.default_rng(seed)
        events = np.repeat([1, 0], [60, 120])
        good, poor = (1 / (1 + np.exp(-(events * gain + rng.normal(size=180)))) for gain in (2.0, 1.0))
        return Pooled(events, {"good": good, "poor": poor})

    def difference(pooled):
        return np.subtract(*(risk_scores.auroc(risks, pooled.events) for risks in pooled.risks.values()))

    spread = np.std([difference(sample(seed)) for seed in range(300)])
    value, low, high = differences(sample(0), "good", "poor")["auroc"]
    assert value == pytest.approx(difference(sample(0)))
    assert low < value < high
    assert (high - low) / (2 * 1.96) == pytest.approx(spread, rel=0.25)
    assert differences(sample(0), "good", "good")["brier"] == (0, 0, 0)


def test_the_command_prints_both_tables(tmp_path, capsys):
    for fold in FOLDS:
        write(tmp_path, fold=fold, risks={1: 0.9, 2: 0.1, 3: 0.8, 4: 0.7, 5: 0.2})
    assert pooled_folds.main([str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "5 patients, 2 with the event" in out
    assert "1.0000" in out
    assert "patients - logistic" in out
    assert pooled_folds.main([str(tmp_path / "none")]) == 2
    assert "none: no such directory" in capsys.readouterr().err
    with pytest.raises(SystemExit, match=r"^0$"):
        pooled_folds.main(["--help"])
    assert "usage: python -m experiments.pooled_folds" in capsys.readouterr().out
