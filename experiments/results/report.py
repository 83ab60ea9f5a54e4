"""Compares runs: a line for each config, mean and standard deviation over its seeds. Reads files only, without JAX."""

import dataclasses
import statistics
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Group
from rich.table import Table

from experiments.results.figures import draw_mean_and_range, new_figure, save
from experiments.results.plots import label, wants_log_scale
from experiments.results.run_records import (
    FOLD,
    OF_ANOTHER_RUN,
    Run,
    folds_of,
    mean_and_spread,
    trained_on_validation,
    values_of_seeds,
)
from experiments.runs.metrics_log import Row
from experiments.system.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDE = 120
"""A terminal of so many characters has room for all columns."""


class _Column(NamedTuple):
    """A column of the comparison: one metric on one split."""

    heading: str
    split: str
    metric: str


@dataclasses.dataclass(frozen=True)
class RunGroup:
    """Runs of one config, with different seeds and folds; the first is as good as any to ask for the config."""

    runs: list[Run]
    distinction: str
    """The settings in which its config differs from others of the same name, e.g. ``cell=lstm, features=64``."""

    @property
    def label(self) -> str:
        """Its name in a plot."""
        return f"{self.runs[0].name} ({self.distinction})" if self.distinction else self.runs[0].name


def table(runs: Sequence[Run], width: int = _WIDE) -> Group:
    """The comparison for a terminal; a narrow one gets validation values of the deciding metrics only."""
    columns = _columns(runs)
    if width < _WIDE:
        deciding = {next(iter(run.summary["validation"])) for run in runs if run.complete and run.validated}
        columns = [column for column in columns if column.split == "test" or column.metric in deciding]
    headings, lines, notes = _cells(runs, columns)
    result = Table(box=None, header_style="bold", pad_edge=False)
    for column, heading in enumerate(headings):
        if column < 2:
            result.add_column(heading, overflow="fold")
        else:
            # The split above the metric, so that a terminal has room for both splits.
            result.add_column(heading.replace(" ", "\n", 1), justify="right", no_wrap=True)
    for line in lines:
        result.add_row(*line)
    return Group(result, "", *notes)


def markdown(runs: Sequence[Run]) -> str:
    """The comparison as a Markdown table, its notes below."""
    headings, lines, notes = _cells(runs, _columns(runs))
    marks = ["---" if column < 2 else "---:" for column in range(len(headings))]
    cells = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join([*(f"| {' | '.join(line)} |" for line in (headings, marks, *cells)), "", *notes])


def draw(runs: Sequence[Run], path: Path) -> Path:
    """Draw the validation curve of each config into a PNG: the mean over seeds, and the range between them.

    One panel for each pair of task and first metric. Raises UserError if there is nothing to draw, or no such folder.
    """
    panels_of: dict[tuple[str, str], list[RunGroup]] = {}
    for group in _settings(runs):
        metric = _first_metric(group)
        if metric:
            panels_of.setdefault((group.runs[0].settings["task.name"], metric), []).append(group)
    if not panels_of:
        raise UserError("report: none of these runs has a validation row yet: nothing to draw")
    if not path.parent.is_dir():
        raise UserError(f"--plot {path}: no such directory: {path.parent}")
    # The legend stands below the curves, and the figure grows with it.
    lines = max(len(groups) for groups in panels_of.values()) + 1
    figure, panels = new_figure(len(panels_of), width=6.0, height=4.0 + 0.25 * lines)
    for panel, ((task, metric), groups) in zip(panels, panels_of.items(), strict=True):
        _draw_panel(panel, metric, groups)
        panel.set_title(task, fontsize="medium")
    return save(figure, path)


def _draw_panel(panel: "Axes", metric: str, groups: list[RunGroup]) -> None:
    drawn: list[float] = []
    for number, group in enumerate(groups):
        curves = [{row["step"]: row[metric] for row in _validation(run)} for run in group.runs if _validation(run)]
        count = f", {len(curves)} runs" if len(curves) > 1 else ""
        drawn += draw_mean_and_range(panel, curves, f"C{number}", textwrap.shorten(group.label + count, 80))
    floors = {
        run.summary["floor"][metric] for group in groups for run in group.runs if metric in run.summary.get("floor", {})
    }
    for floor in floors:
        panel.axhline(floor, color="black", linestyle="--", linewidth=1, label=f"floor {floor:.4g}")
    if wants_log_scale(drawn):
        panel.set_yscale("log")
    panel.set_xlabel("step")
    panel.set_ylabel(f"validation {label(metric)}")
    panel.legend(frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.15))


def _cells(runs: Sequence[Run], columns: Sequence[_Column]) -> tuple[list[str], list[list[str]], list[str]]:
    """Headings, lines and notes of the comparison."""
    groups = _settings(runs)
    headings = ["config", "differs in", "runs", *(column.heading for column in columns), "parameters", "seconds"]
    lines = []
    for group in groups:
        complete = [run for run in group.runs if run.complete]
        seconds = [run.summary["seconds"]["run"] for run in complete]
        lines.append(
            [
                group.runs[0].name,
                group.distinction or "-",
                f"{len(complete)} of {len(group.runs)}" if len(complete) < len(group.runs) else str(len(complete)),
                *(mean_and_spread(values_of_seeds(complete, column.split, column.metric)) for column in columns),
                f"{complete[0].summary['parameters']:,}" if complete else "-",
                f"{statistics.fmean(seconds):.3g}" if seconds else "-",
            ]
        )
    notes = [*_split_notes(columns), *_chosen_notes(runs)]
    if any(len(folds_of(group.runs)) > 1 for group in groups):
        notes.append("a seed counts with its mean over folds")
    for task, note, floor in _floors(runs):
        values = [f"{floor[metric]:.4g}" if metric in floor else "-" for _, _, metric in columns]
        values = [value if column.split == "test" else "" for value, column in zip(values, columns, strict=True)]
        lines.append([f"floor of {task}", "", "", *values, "", ""])
        notes.append(f"floor of {task}: {note}")
    return headings, lines, notes + _unfinished_notes(runs)


def _columns(runs: Sequence[Run]) -> list[_Column]:
    """Each metric on both splits, side by side; runs of older code have test values alone."""
    complete = [run for run in runs if run.complete]
    found = {
        split: {name for run in complete for name in run.summary.get(split, {})} for split in ("validation", "test")
    }
    metrics = list(
        dict.fromkeys(
            name for split in ("test", "validation") for run in complete for name in run.summary.get(split, {})
        )
    )
    if not found["validation"]:
        return [_Column(metric, "test", metric) for metric in metrics]
    return [
        _Column(f"{split} {metric}", split, metric) for metric in metrics for split in found if metric in found[split]
    ]


def _split_notes(columns: Sequence[_Column]) -> list[str]:
    spread = "mean ± standard deviation over seeds"
    if any(column.split == "validation" for column in columns):
        return [f"{spread}; choose between configs by the validation split: the test split is for the one chosen"]
    return [f"test split; {spread}{'' if columns else ': no run is complete yet'}"]


def _chosen_notes(runs: Sequence[Run]) -> list[str]:
    """Notes on the metric of the validation split that chose a step, and on configs that were trained on that split."""
    chosen: dict[str, list[str]] = {}
    for run in runs:
        if metric := run.chosen_by:
            chosen.setdefault(metric, []).append(run.name)
    return [
        f"parameters of the step with the best validation {metric}: {', '.join(dict.fromkeys(names))}"
        for metric, names in chosen.items()
    ] + [
        f"no validation values: {name} was trained on these rows as well (task.train_on_validation)"
        for name in dict.fromkeys(run.name for run in runs if run.complete and trained_on_validation(run))
    ]


def _floors(runs: Sequence[Run]) -> list[tuple[str, str, dict[str, float]]]:
    """Task, note and values of each baseline without recurrence that a complete run names."""
    floors = {}
    for run in runs:
        if run.complete and run.summary.get("floor"):
            task, note, floor = run.settings["task.name"], run.summary["floor_note"], run.summary["floor"]
            floors[(task, note, *floor.items())] = (task, note, floor)
    return list(floors.values())


def _unfinished_notes(runs: Sequence[Run]) -> list[str]:
    notes = []
    for run in runs:
        if not run.complete:
            last = max((row["step"] for row in run.rows), default=0)
            status = run.summary.get("status", "running or killed")
            notes.append(f"not counted: {run.directory} ({status}, step {run.summary.get('steps', last)})")
    return notes


def _settings(runs: Sequence[Run]) -> list[RunGroup]:
    by_group: dict[str, list[Run]] = {}
    for run in runs:
        by_group.setdefault(run.group, []).append(run)
    by_name: dict[str, list[list[Run]]] = {}
    for members in by_group.values():
        by_name.setdefault(members[0].name, []).append(members)
    settings = []
    for groups in by_name.values():
        names = _distinguishing([members[0].settings for members in groups])
        settings += [RunGroup(members, _distinction(members[0].settings, names)) for members in groups]
    return sorted(settings, key=lambda setting: setting.label)


def _distinguishing(settings: list[dict[str, Any]]) -> dict[str, str]:
    """The paths whose values differ, each with the shortest name that tells it from the others."""
    paths = [path for path in dict.fromkeys(path for flat in settings for path in flat) if path != FOLD]
    differing = [
        path for path in paths if path != FOLD and len({repr(flat[path]) for flat in settings if path in flat}) > 1
    ]
    short = [path.removesuffix(".name").rpartition(".")[2] for path in differing]
    return {path: name if short.count(name) == 1 else path for path, name in zip(differing, short, strict=True)}


def _distinction(settings: dict[str, Any], names: dict[str, str]) -> str:
    shown = (path for path in names if path in settings and not (path in OF_ANOTHER_RUN and settings[path] is None))
    return ", ".join(f"{names[path]}={settings[path]}" for path in shown)


def _first_metric(group: RunGroup) -> str | None:
    rows = [row for run in group.runs for row in _validation(run)]
    return next((name for name in rows[0] if name not in ("step", "split")), None) if rows else None


def _validation(run: Run) -> list[Row]:
    return [row for row in run.rows if row["split"] == "validation"]
