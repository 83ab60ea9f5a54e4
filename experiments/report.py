"""Runs compared: a line for each config, mean and standard deviation over its seeds. Reads files only, without JAX."""

import dataclasses
import json
import statistics
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table

from experiments import config as configs
from experiments import metrics_log, run_kinds
from experiments.errors import UserError
from experiments.figures import new_figure, save
from experiments.metrics_log import Row
from experiments.plots import label, wants_log_scale
from experiments.run_directory import RunDirectory, find_runs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FOLD = "task.fold"
"""The setting of cross-validation: runs that differ in it, and in the seed, are runs of one config."""
_LOOKS = "logging."
"""Settings that change nothing of what a run reaches."""


@dataclasses.dataclass(frozen=True)
class Run:
    """What the files of one run say."""

    directory: RunDirectory
    name: str
    """The stem of the config file."""
    settings: dict[str, Any]
    """The config as dotted paths, without the seed."""
    summary: dict[str, Any]
    """Empty while the run has no end."""
    rows: list[Row]

    @property
    def complete(self) -> bool:
        """Whether it came to its end, so that it has test metrics."""
        return self.summary.get("status") == "complete"

    @property
    def group(self) -> str:
        """The same for runs that differ in nothing but the seed, the fold and what they write down."""
        settings = {
            path: value for path, value in self.settings.items() if path != FOLD and not path.startswith(_LOOKS)
        }
        return json.dumps(settings, sort_keys=True)


@dataclasses.dataclass(frozen=True)
class Setting:
    """Runs of one config, with different seeds and folds; the first is as good as any to ask for the config."""

    runs: list[Run]
    distinction: str
    """The settings in which its config differs from others of the same name, e.g. ``cell=lstm, features=64``."""

    @property
    def label(self) -> str:
        """How to call it in a plot."""
        return f"{self.runs[0].name} ({self.distinction})" if self.distinction else self.runs[0].name

    def values(self, metric: str) -> list[float]:
        """The test values of a metric, one a seed."""
        return values_of_seeds([run for run in self.runs if run.complete], "test", metric)


def values_of_seeds(runs: Sequence[Run], part: str, metric: str) -> list[float]:
    """Of each seed of complete runs the mean over its folds; ``part``: "test" or "floor"."""
    by_seed: dict[int, list[float]] = {}
    for run in runs:
        if metric in run.summary.get(part, {}):
            by_seed.setdefault(run.summary["seed"], []).append(run.summary[part][metric])
    return [statistics.fmean(values) for values in by_seed.values()]


def folds_of(runs: Sequence[Run]) -> list[int]:
    """Which folds there are, in order; none for a task without."""
    return sorted({run.settings[FOLD] for run in runs if run.settings.get(FOLD) is not None})


def read(directory: RunDirectory) -> Run:
    """Read a run, finished or not; UserError if its files are damaged."""
    config = directory.read_config()
    summary = directory.read_summary() or {}
    settings = configs.flatten(config.model_dump(mode="json", exclude={"seed"}))
    rows = metrics_log.read(directory.metrics) if directory.metrics.exists() else []
    name = summary.get("config") or directory.path.resolve().parent.name
    return Run(directory, name, settings, summary, rows)


def read_all(paths: list[Path]) -> tuple[list[Run], list[str]]:
    """All training runs at or below ``paths``, and a line for each that this version cannot read.

    Raises UserError where there is none, or none that can be read.
    """
    runs, lines = [], []
    for directory in find_runs(paths):
        if run_kinds.kind_of(directory.path) in ("bench", "comparison"):
            continue
        try:
            runs.append(read(directory))
        except UserError as error:
            lines += error.messages
    if not runs:
        named = ", ".join(map(str, paths))
        raise UserError(lines or f"{named}: only benches and empty comparisons there; plot RUN draws these")
    return runs, [f"left out: {line}" for line in lines]


def table(runs: Sequence[Run]) -> Group:
    """The comparison for a terminal."""
    headings, lines, notes = _cells(runs)
    result = Table(box=None, header_style="bold", pad_edge=False)
    for column, heading in enumerate(headings):
        if column < 2:
            result.add_column(heading, overflow="fold")
        else:
            result.add_column(heading, justify="right", no_wrap=True)
    for line in lines:
        result.add_row(*line)
    return Group(result, "", *notes)


def markdown(runs: Sequence[Run]) -> str:
    """The comparison as a Markdown table, its notes below."""
    headings, lines, notes = _cells(runs)
    marks = ["---" if column < 2 else "---:" for column in range(len(headings))]
    cells = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join([*(f"| {' | '.join(line)} |" for line in (headings, marks, *cells)), "", *notes])


def draw(runs: Sequence[Run], path: Path) -> Path:
    """Draw the validation curve of each config into a PNG: the mean over seeds, and the range between them.

    One panel for each pair of task and first metric. Raises UserError if there is nothing to draw, or no such folder.
    """
    panels_of: dict[tuple[str, str], list[Setting]] = {}
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


def _draw_panel(panel: "Axes", metric: str, groups: list[Setting]) -> None:
    drawn: list[float] = []
    for number, group in enumerate(groups):
        curves = [{row["step"]: row[metric] for row in _validation(run)} for run in group.runs if _validation(run)]
        steps = sorted(set.intersection(*(set(curve) for curve in curves)))
        values = [[curve[step] for curve in curves] for step in steps]
        means = [statistics.fmean(step) for step in values]
        drawn += means
        count = f", {len(curves)} runs" if len(curves) > 1 else ""
        panel.plot(steps, means, color=f"C{number}", marker=".", label=textwrap.shorten(group.label + count, 80))
        if len(curves) > 1:
            lowest, highest = [min(step) for step in values], [max(step) for step in values]
            panel.fill_between(steps, lowest, highest, color=f"C{number}", alpha=0.2, linewidth=0)
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


def _cells(runs: Sequence[Run]) -> tuple[list[str], list[list[str]], list[str]]:
    """Headings, lines and notes of the comparison."""
    groups = _settings(runs)
    metrics = list(dict.fromkeys(name for run in runs if run.complete for name in run.summary["test"]))
    headings = ["config", "differs in", "runs", *metrics, "parameters", "seconds"]
    lines = []
    for group in groups:
        complete = [run for run in group.runs if run.complete]
        seconds = [run.summary["seconds"]["run"] for run in complete]
        lines.append(
            [
                group.runs[0].name,
                group.distinction or "-",
                f"{len(complete)} of {len(group.runs)}" if len(complete) < len(group.runs) else str(len(complete)),
                *(mean_and_spread(group.values(metric)) for metric in metrics),
                f"{complete[0].summary['parameters']:,}" if complete else "-",
                f"{statistics.fmean(seconds):.3g}" if seconds else "-",
            ]
        )
    notes = [f"test split; mean ± standard deviation over seeds{'' if metrics else ': no run is complete yet'}"]
    if any(len(folds_of(group.runs)) > 1 for group in groups):
        notes.append("a seed counts with its mean over folds")
    for task, note, floor in _floors(runs):
        values = [f"{floor[metric]:.4g}" if metric in floor else "-" for metric in metrics]
        lines.append([f"floor of {task}", "", "", *values, "", ""])
        notes.append(f"floor of {task}: {note}")
    return headings, lines, notes + _unfinished_notes(runs)


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


def mean_and_spread(values: list[float]) -> str:
    """The mean, with the standard deviation where there is one; "-" for nothing."""
    if not values:
        return "-"
    mean = f"{statistics.fmean(values):.4g}"
    return f"{mean} ± {statistics.stdev(values):.2g}" if len(values) > 1 else mean


def _settings(runs: Sequence[Run]) -> list[Setting]:
    by_group: dict[str, list[Run]] = {}
    for run in runs:
        by_group.setdefault(run.group, []).append(run)
    by_name: dict[str, list[list[Run]]] = {}
    for members in by_group.values():
        by_name.setdefault(members[0].name, []).append(members)
    settings = []
    for groups in by_name.values():
        names = _distinguishing([members[0].settings for members in groups])
        settings += [Setting(members, _distinction(members[0].settings, names)) for members in groups]
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
    return ", ".join(f"{name}={settings[path]}" for path, name in names.items() if path in settings)


def _first_metric(group: Setting) -> str | None:
    rows = [row for run in group.runs for row in _validation(run)]
    return next((name for name in rows[0] if name not in ("step", "split")), None) if rows else None


def _validation(run: Run) -> list[Row]:
    return [row for row in run.rows if row["split"] == "validation"]
