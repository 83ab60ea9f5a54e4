"""Floors measured again: what the command says and returns, the alignment against brute force, the real figures."""

import importlib.util
import itertools
import types

import numpy as np
import pytest

from experiments.floors import cli, measured_floor, pronunciation
from experiments.floors.measured_floor import MeasuredFloor
from experiments.floors.pronunciation import Rows
from experiments.tasks.synthetic.adding import AddingConfig


def run_with(monkeypatch, *figures):
    made = types.SimpleNamespace(
        CONFIG=AddingConfig(name="adding"), measure=lambda: iter(figures), NOTE="as in the note"
    )
    monkeypatch.setattr(cli, "FLOORS", {"made": made})
    return cli.main(["made"])


def test_a_constant_that_is_the_value_rounded_agrees(monkeypatch, capsys):
    figures = MeasuredFloor("made", "accuracy", 0.8555556, "0.856"), MeasuredFloor("made", "nll", 0.42196, "0.422")
    assert run_with(monkeypatch, *figures) == 0
    heading, first, second, note = capsys.readouterr().out.splitlines()
    assert heading.split() == ["task", "metric", "measured", "in", "the", "task"]
    assert first.split() == ["made", "accuracy", "0.85556", "0.856"]
    assert second.split() == ["made", "nll", "0.42196", "0.422"]
    assert note == "made: as in the note"


@pytest.mark.parametrize(("value", "constant"), [(0.8561, "0.857"), (0.1466, "0.1467"), (0.9004, "0.9000"), (0.5, "")])
def test_one_that_is_not_or_is_gone_gives_1(value, constant, monkeypatch, capsys):
    assert (
        run_with(monkeypatch, MeasuredFloor("made", "nll", 0.4, "0.400"), MeasuredFloor("made", "mae", value, constant))
        == 1
    )
    _, first, second, _ = capsys.readouterr().out.splitlines()
    assert "differs" not in first
    assert second.split() == ["made", "mae", f"{value:.5f}", constant or "-", "differs"]


def test_constants_are_read_with_their_decimals():
    assert [measured_floor.constant_as_text(value) for value in (0.9, 0.81, 0.856, 0.1466, 1.0)] == [
        "0.900",
        "0.810",
        "0.856",
        "0.1466",
        "1.000",
    ]
    note = "it has 0.455 wrong (0.426 without)"
    assert measured_floor.in_note(note, "has ") == "0.455"
    assert measured_floor.in_note(note, "wrong (", " without") == "0.426"
    assert measured_floor.in_note(note, "reaches ") == ""


def test_an_unknown_name_is_told_with_those_there_are(monkeypatch, capsys):
    monkeypatch.setattr(cli.digits, "measure", lambda: pytest.fail("measured before all names were looked at"))
    assert cli.main(["digits", "adding"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == (
        "NAME: expected one of digits, digits_mnist, pronunciation, sentiment, video, got 'adding'\n"
    )


@pytest.mark.parametrize("name", cli.FLOORS)
def test_missing_data_is_told_as_by_the_task(name, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert cli.main([name]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert line.startswith(f"task.name: {name} reads ")
    assert "which is not installed; run: pip install" in line


# Every number of phones that two letters or more may stand for, with signs that repeat.
LETTERS = ["ab", "aab", "ba", "abba", "bbb", "a"]
PHONES = [[1], [2, 1, 1], [2, 2, 1, 1], [1, 2], [1, 1, 2, 1, 2, 2], []]


def made_rows():
    letters, phones = np.zeros((6, 4), np.int32), np.zeros((6, 7), np.int32)
    for row, (word, said) in enumerate(zip(LETTERS, PHONES, strict=True)):
        letters[row, : len(word)] = ["ab".index(letter) for letter in word]
        phones[row, : len(said)] = said
    return Rows(letters, np.array([len(word) for word in LETTERS]), phones, np.array([len(said) for said in PHONES]))


def splits(phones, letters):
    """Every way to cut phones into as many runs of none to two, the last letters having fewest first."""
    for counts in itertools.product(range(3), repeat=letters):
        if sum(counts) == len(phones):
            ends = np.cumsum(counts)
            runs = [phones[end - count : end] for end, count in zip(ends, counts, strict=True)]
            yield counts[::-1], [[0, 0, *run][-2:] for run in runs]


@pytest.mark.parametrize("chunk", [2, 1024])
def test_letters_are_aligned_as_by_brute_force(chunk, monkeypatch):
    monkeypatch.setattr(pronunciation, "_CHUNK", chunk)
    rows = made_rows()
    # Whole numbers, few of them: many ways cost the same.
    for seed in range(20):
        costs = np.random.default_rng(seed).integers(1, 5, (2, 3, 3)).astype(float)
        found = pronunciation.align(rows, costs)
        for row, (word, said) in enumerate(zip(LETTERS, PHONES, strict=True)):
            letters = rows.letters[row]
            _, _, best = min(
                (sum(costs[letters[step], a, b] for step, (a, b) in enumerate(runs)), order, runs)
                for order, runs in splits(said, len(word))
            )
            assert found[row, : len(word)].tolist() == best
            assert not found[row, len(word) :].any()


def test_tables_have_what_each_window_commonly_stands_for():
    """Letters that stand for a phone each: rows of equal lengths alone, so that the first counts align all of them."""
    words = ["ab", "ab", "ba", "bb"]
    letters = np.array([["ab".index(letter) for letter in word] for word in words])
    # Token 1 + letter, but for the last of bb, which is 3.
    phones = np.array([[1, 2, 0], [1, 2, 0], [2, 1, 0], [2, 3, 0]])
    rows = Rows(letters, np.full(4, 2), phones, np.full(4, 2))
    alone, near, _ = pronunciation.fit(rows, 4)
    assert alone == {0: (0, 1), 1: (0, 2)}
    keys = pronunciation.windows(rows, 1)
    assert len(np.unique(keys)) == len(near) == 6
    assert [[near[key] for key in row] for row in keys.tolist()] == [
        [(0, b) for b in row[:2]] for row in phones.tolist()
    ]


def test_the_floor_of_digits_for_real():
    (found,) = cli.digits.measure()
    assert found.constant == "0.911"
    # An image more or less: other releases of scikit-learn stop elsewhere.
    assert np.isclose(found.value, 328 / 360, atol=1.5 / 360)


@pytest.mark.slow
@pytest.mark.parametrize("name", cli.FLOORS)
def test_every_constant_is_what_is_measured(name, capsys):
    assert cli.main([name]) == 0, capsys.readouterr().out
