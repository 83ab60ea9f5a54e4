"""The folds of the patients task pooled: every patient was tested once, so all of them are compared at once."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.results.run_records import Run
from experiments.system.errors import UserError
from experiments.tasks import risk_scores
from experiments.tasks.health.patients import FOLDS

DRAWS = 2000
_FLOOR_TOLERANCE = 1e-5
"""Floors that differ by no more are the same: they come from different machines, and are rounded."""


class Pooled(NamedTuple):
    """The patients of all folds, in the order of their numbers."""

    events: np.ndarray
    """(patients,) 0 or 1."""
    risks: dict[str, np.ndarray]
    """(patients,) of each line: the configs, then the floors that their runs name."""


def pool(runs: Sequence[Run]) -> Pooled:
    """Put the folds together; UserError where runs do not add up to every patient once a seed."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        if run.complete and run.settings["task.name"] == "patients":
            groups.setdefault((run.name, run.group), []).append(run)
    if not groups:
        raise UserError("RUN: expected complete runs of the task patients, found none there; train some first")
    names = [name for name, _ in groups]
    for name, members in zip(names, groups.values(), strict=True):
        _check_whole(name, members)
    lines: dict[str, dict[int, float]] = {}
    floors: dict[str, list[tuple[list[str], dict[int, float]]]] = {}
    events: dict[int, int] = {}
    for number, (name, members) in enumerate(zip(names, groups.values(), strict=True)):
        label = name if names.count(name) == 1 else f"{name} ({names[:number].count(name) + 1})"
        found = _of_group(members, events)
        lines[label] = found.pop("risk")
        for floor, risks in found.items():
            _add_floor(floors.setdefault(floor, []), label, risks)
    for floor, different in floors.items():
        for owners, risks in different:
            lines[floor if len(different) == 1 else f"{floor} of {', '.join(owners)}"] = risks
    patients = sorted(events)
    for name, risks in lines.items():
        if sorted(risks) != patients:
            raise UserError(f"{name}: tests {len(risks)} of {len(patients)} patients; train it on every task.fold")
    return Pooled(
        np.array([events[patient] for patient in patients]),
        {name: np.array([risks[patient] for patient in patients]) for name, risks in lines.items()},
    )


def differences(pooled: Pooled, one: str, other: str) -> Mapping[str, tuple[float, float, float]]:
    """By metric: the score of ``one`` minus that of ``other``, and the ends of its 95 % interval."""
    rng = np.random.default_rng(0)
    with_event, without = np.flatnonzero(pooled.events == 1), np.flatnonzero(pooled.events == 0)
    draws = [np.concatenate([rng.choice(rows, len(rows)) for rows in (with_event, without)]) for _ in range(DRAWS)]
    found = {}
    for metric, score in {"auroc": risk_scores.auroc, "brier": risk_scores.brier}.items():

        def difference(rows: np.ndarray, score=score) -> float:
            events = pooled.events[rows]
            return score(pooled.risks[one][rows], events) - score(pooled.risks[other][rows], events)

        low, high = np.quantile([difference(rows) for rows in draws], [0.025, 0.975])
        found[metric] = (difference(np.arange(len(pooled.events))), float(low), float(high))
    return found


def _check_whole(name: str, members: Sequence[Run]) -> None:
    """UserError unless every fold of every seed is there, so that every patient counts once a seed."""
    found: dict[int, set[int]] = {}
    for run in members:
        found.setdefault(run.summary["seed"], set()).add(run.settings["task.fold"])
    for seed, folds in sorted(found.items()):
        if missing := sorted(set(range(1, FOLDS + 1)) - folds):
            raise UserError(
                f"{name}: seed {seed} lacks task.fold {', '.join(map(str, missing))} of 1 to {FOLDS}; train "
                f"configs/{name}.yaml with seed={seed} and each of them, or leave this seed out"
            )


def _cases(run: Run) -> dict[str, Any]:
    """What a run wrote down of each patient of its test split."""
    cases = run.directory.read_pictures().get("reliability", {}).get("cases", {})
    if not {"number", "event", "risk"} <= cases.keys():
        raise UserError(
            f"{run.directory.pictures}: expected the risks of the patients tested, found none; repeat the command in "
            f"{run.directory.command} with another --run-dir, and name that instead"
        )
    return cases


def _of_group(members: Sequence[Run], events: dict[int, int]) -> dict[str, dict[int, float]]:
    """Mean risks from the runs of one config, by name ("risk", and floors) and patient; adds outcomes to ``events``."""
    found: dict[str, dict[int, list[float]]] = {}
    seen: set[tuple[int, int]] = set()
    for run in members:
        cell = (run.summary["seed"], run.settings["task.fold"])
        if cell in seen:
            raise UserError(f"{run.directory}: seed {cell[0]} of fold {cell[1]} is there twice; name it once")
        seen.add(cell)
        cases = _cases(run)
        events |= dict(zip(cases["number"], cases["event"], strict=True))
        for name, risks in cases.items():
            if name not in ("number", "event"):
                line = found.setdefault(name, {})
                for number, risk in zip(cases["number"], risks, strict=True):
                    line.setdefault(number, []).append(risk)
    return {name: {number: float(np.mean(risks)) for number, risks in line.items()} for name, line in found.items()}


def _add_floor(different: list[tuple[list[str], dict[int, float]]], label: str, risks: dict[int, float]) -> None:
    """Add a config's floor to ``different``, or, if the same floor is there, the config to the floor's owners."""
    for owners, known in different:
        if known.keys() == risks.keys() and all(
            abs(known[number] - risk) <= _FLOOR_TOLERANCE for number, risk in risks.items()
        ):
            owners.append(label)
            return
    different.append(([label], risks))


def tables(pooled: Pooled) -> list[list[list[str]]]:
    """The scores of each line, and the differences between lines; the first row of each table is its headings."""
    scores = [["line", "AUROC", "95 % interval", "Brier"]]
    for name, risks in pooled.risks.items():
        low, high = risk_scores.interval(risks, pooled.events)
        area, brier = risk_scores.auroc(risks, pooled.events), risk_scores.brier(risks, pooled.events)
        scores.append([name, f"{area:.4f}", f"{low:.4f} to {high:.4f}", f"{brier:.4f}"])
    compared = [["difference", "AUROC", "95 % interval", "Brier", "95 % interval"]]
    for one, other in itertools.combinations(pooled.risks, 2):
        cells = [
            text
            for value, low, high in differences(pooled, one, other).values()
            for text in (f"{value:+.4f}", f"{low:+.4f} to {high:+.4f}")
        ]
        compared.append([f"{one} - {other}", *cells])
    return [scores, compared]
