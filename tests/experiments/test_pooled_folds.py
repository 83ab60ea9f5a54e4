"""Folds pooled from run directories written by hand: whose risks are averaged, what is refused, what the tables say."""

import json

import numpy as np
import pytest

from experiments import config as configs
from experiments import pooled_folds
from experiments.errors import UserError
from experiments.pooled_folds import Pooled, differences, pool
from experiments.report import read
from experiments.run_directory import RunDirectory, find_runs
from experiments.tasks import risk_scores

EVENTS = {1: 1, 2: 0, 3: 1, 4: 0, 5: 0}
FOLDS = {1: [1, 2], 2: [3, 4, 5]}


def write(folder, *, name="patients", seed=0, fold=1, risks, missing="mean"):
    path = folder / f"{name}-{seed}-{fold}"
    path.mkdir(parents=True)
    source = folder / "source.yaml"
    source.write_text(f"task: {{name: patients, fold: {fold}, missing: {missing}}}\nseed: {seed}\n")
    directory = RunDirectory(path)
    directory.create(configs.load(source), "command")
    numbers = FOLDS[fold]
    cases = {"number": numbers, "event": [EVENTS[number] for number in numbers]}
    cases |= {"risk": [risks[number] for number in numbers], "logistic": [number / 10 for number in numbers]}
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


def test_what_does_not_add_up_is_refused(tmp_path):
    risks = dict.fromkeys(EVENTS, 0.5)
    write(tmp_path / "one", fold=2, risks=risks, name="other")
    write(tmp_path / "one", fold=1, risks=risks)
    with pytest.raises(UserError, match=r"other: tests 3 of 5 patients; train it on every task\.fold"):
        pool(runs_of(tmp_path))
    write(tmp_path / "two", fold=1, risks=risks)
    with pytest.raises(UserError, match=r"seed 0 of fold 1 is there twice"):
        pool(runs_of(tmp_path))
    with pytest.raises(UserError, match=r"RUN: expected complete runs of the task patients"):
        pool([])


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
