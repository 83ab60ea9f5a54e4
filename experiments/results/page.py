"""Writes a page of results from runs alone: what each config reached, beside its floor, and its command."""

import shlex
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.config import configs
from experiments.results import comparison_pages, pooled_folds
from experiments.results.comparison_directory import CompareDirectory
from experiments.results.goals import GOALS
from experiments.results.run_records import FOLD, Run, folds_of, mean_and_spread, values_of_seeds
from experiments.system.errors import UserError
from experiments.system.whole_files import write_whole
from experiments.training.losses import BETTER

_OF_VALIDATION = (
    "Choose between configs by the validation split; the test split is for the one chosen. Where a value of it says",
    "that it chose, the parameters are those of the step that was best in it.",
)
BAR = "\\|"
"""A bar within a cell."""
_WITHOUT_EFFECT = ("logging.", "seed=")
"""Overrides that do not change what a run reaches, or that the row averages over."""


def write(runs: Sequence[Run], comparisons: Sequence[CompareDirectory], path: Path, command: str) -> Path:
    """Write the page; ``command`` is what wrote it.

    Runs and comparisons that did not end are left out, and so are the runs that a comparison is made of.
    """
    parts = [comparison.path.resolve() for comparison in comparisons]
    alone = [run for run in runs if not any(run.directory.path.resolve().is_relative_to(part) for part in parts)]
    ended = [comparison.read_results() for comparison in comparisons if comparison.results.exists()]
    write_whole(path, markdown(alone, ended, command))
    return path


def markdown(runs: Sequence[Run], comparisons: Sequence[Mapping[str, Any]], command: str) -> str:
    """The page: a row for each config (and set of overrides) and metric, then the table of each comparison.

    A value is the mean over seeds ± their standard deviation; where there are folds, a seed counts with their mean.
    """
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        if run.complete:
            groups.setdefault((run.name, run.group), []).append(run)
    # Runs of older code say nothing of the validation split.
    validated = any(run.validated for members in groups.values() for run in members)
    lines = [
        ["config", "metric", "floor", "validation", "test", "goal", "runs", "parameters", "minutes a run", "command"],
        ["---", "---", "---:", "---:", "---:", "---", "---", "---:", "---:", "---"],
    ]
    for (name, _), members in sorted(groups.items()):
        lines += _lines(name, members)
    if not validated:
        lines = [[*line[:3], *line[4:]] for line in lines]
    return "\n".join(
        [
            "# Results",
            "",
            f"Written by `{command}` from what the runs wrote down. Test split, mean ±",
            "standard deviation over seeds; where a command has a fold F, a seed counts with its mean over folds.",
            "Floors are baselines without recurrence on the same split; what is within one standard deviation of its",
            "floor is level with it. Minutes are wall time of one run, compilation included, on one or two cores of a",
            "machine that was busy with other runs: an upper bound.",
            *(_OF_VALIDATION if validated else ()),
            "",
            *(_row(line) for line in lines),
            "",
            *_patients(runs),
            *_comparisons(comparisons),
            "## Floors",
            "",
            *_floors([run for _, members in sorted(groups.items()) for run in members]),
            "",
        ]
    )


def _lines(name: str, members: Sequence[Run]) -> list[list[str]]:
    """The rows of one config, one a metric; ``members`` differ in seeds and folds."""
    summaries = [run.summary for run in members]
    seconds = statistics.fmean(sum(summary["seconds"].values()) for summary in summaries)
    lines = []
    # Means over the folds of patients say less than all patients at once, with intervals.
    alone = members[0].settings["task.name"] != "patients"
    # Runs of older code may have been held to another floor, and the mean of two floors is neither.
    notes = {(run.settings.get(FOLD), run.summary.get("floor_note")) for run in members}
    one_floor = len(notes) == len({fold for fold, _ in notes})
    for number, metric in enumerate(summaries[0]["test"]):
        values = values_of_seeds(members, "test", metric)
        floors = values_of_seeds(members, "floor", metric)
        validation = mean_and_spread(values_of_seeds(members, "validation", metric))
        floor = statistics.fmean(floors) if floors and one_floor else None
        shown = "-" if not floors else f"{floor:.4g}" if one_floor else "they differ"
        first = number == 0
        lines.append(
            [
                name if first else "",
                metric,
                shown,
                f"{validation}, chose" if metric == members[0].chosen_by else validation,
                mean_and_spread(values),
                _verdict(name, metric, values, floor) if alone else "see the pooled folds",
                _count(members) if first else "",
                f"{summaries[0]['parameters']:,}" if first else "",
                f"{seconds / 60:.1f}" if first else "",
                f"`{_command(members)}`" if first else "",
            ]
        )
    return lines


def _floors(runs: Sequence[Run]) -> list[str]:
    """The floor of each config; if its runs have different floors (folds, overrides), the runs of each as well."""
    notes: dict[str, dict[str, list[Run]]] = {}
    for run in runs:
        if note := run.summary.get("floor_note"):
            notes.setdefault(run.name, {}).setdefault(note, []).append(run)
    lines = []
    for name, there in notes.items():
        for note, members in there.items():
            seeds = ", ".join(str(seed) for seed in sorted({run.summary["seed"] for run in members}))
            whose = f" (`{_command(members)}`, seed {seeds})" if len(there) > 1 else ""
            lines.append(f"- {name}{whose}: {note}")
    return lines


def _verdict(name: str, metric: str, values: list[float], floor: float | None) -> str:
    """Whether the goal of a config is reached; without one, whether its floor is beaten, by more than the spread."""
    value, higher = statistics.fmean(values), BETTER[metric] == "higher"
    goal = GOALS.get(name)
    if goal and goal.metric == metric and not (goal.of_floor and floor is None):
        wanted = goal.value * floor if goal.of_floor and floor is not None else goal.value
        reached = value >= wanted if higher else value <= wanted
        return f"{'≥' if higher else '≤'} {wanted:.4g}: {'reached' if reached else '**missed**'}"
    if floor is None:
        return ""
    if len(values) > 1 and abs(value - floor) <= statistics.stdev(values):
        return "level with the floor"
    return "beats the floor" if (value > floor if higher else value < floor) else "**does not beat the floor**"


def _count(members: Sequence[Run]) -> str:
    """How many seeds, and folds if several; a missing or repeated run shows beside their product, "5 of 2 x 3"."""
    seeds, folds = len({run.summary["seed"] for run in members}), folds_of(members)
    text = f"{seeds} seed{'s' * (seeds > 1)}"
    if len(folds) < 2:
        return text
    whole = len(members) == seeds * len(folds)
    return f"{text} of {len(folds)} folds" if whole else f"{len(members)} of {seeds} x {len(folds)} folds"


def _patients(runs: Sequence[Run]) -> list[str]:
    """The folds of the patients task pooled, if there are such runs."""
    if not any(run.complete and run.settings["task.name"] == "patients" for run in runs):
        return []
    try:
        pooled = pooled_folds.pool(runs)
    except UserError as error:
        return ["## patients, folds pooled", "", *map(str, error.messages), ""]
    return [
        "## patients, folds pooled",
        "",
        f"{len(pooled.events)} patients, each tested once a seed, {int(pooled.events.sum())} with the event. Intervals",
        "of AUROC after DeLong et al. 1988, those of differences by a paired bootstrap over patients.",
        "",
        *(
            line
            for headings, *rows in pooled_folds.tables(pooled)
            for line in (_row(headings), _row(["---", *["---:"] * (len(headings) - 1)]), *map(_row, rows), "")
        ),
    ]


def _comparisons(comparisons: Sequence[Mapping[str, Any]]) -> list[str]:
    """A section for each comparison, with headings below that of the page."""
    return [
        line
        for results in sorted(comparisons, key=lambda one: one["config"])
        for line in (
            f"## {results['config']}",
            "",
            comparison_pages.markdown(
                {**results, "command": shlex.join(_without_place(shlex.split(results["command"])))}
            ),
        )
    ]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', BAR) for cell in cells)} |"


def _without_place(words: Sequence[str]) -> list[str]:
    """The words of a command without those that choose the seed, the directory, or what is written down."""
    kept: list[str] = []
    skip = False
    for word in words:
        if skip or word.startswith(("--run-dir=", *_WITHOUT_EFFECT)):
            skip = False
        elif word == "--run-dir":
            skip = True
        else:
            kept.append(word)
    return kept


def _command(members: Sequence[Run]) -> str:
    """The command of the runs, without what names a seed or a place; F stands for the fold if there are several."""
    run = members[0]
    file = run.directory.command
    words = shlex.split(file.read_text(encoding="utf-8", errors="surrogateescape")) if file.exists() else []
    kept = _without_place(words)
    if kept and len(folds_of(members)) > 1:
        kept = [*(word for word in kept if not word.startswith(f"{FOLD}=")), f"{FOLD}=F"]
    return shlex.join(kept) or f"(config {configs.fingerprint(run.directory.read_config())})"
