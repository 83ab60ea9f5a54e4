"""What the files of runs say, for those who compare runs. Reads files only, without JAX."""

import dataclasses
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.config import configs, directory_kinds
from experiments.runs import metrics_log
from experiments.runs.directory import RunDirectory, find_runs
from experiments.runs.metrics_log import Row
from experiments.system.errors import UserError

FOLD = "task.fold"
"""The setting of cross-validation: runs that differ in it, and in the seed, are runs of one config."""
_TRAINED_ON = "task.train_on_validation"
_WITHOUT_EFFECT = "logging."
"""Settings that change nothing of what a run reaches."""
OF_ANOTHER_RUN = ("model.start", "training.continue_from")
"""Settings that name a run that this one begins with; null for most."""


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
    def chosen_by(self) -> str | None:
        """The metric of the validation split that chose the step of the parameters; None if it was the last step."""
        if not self.complete or self.summary.get("parameters_from") != "best":
            return None
        return next(iter(self.summary.get("validation", {})), None)

    @property
    def validated(self) -> bool:
        """Whether its summary says what the parameters reach on the validation split."""
        return bool(self.summary.get("validation"))

    @property
    def group(self) -> str:
        """A text that is the same for runs that differ only in the seed, the fold and what they write down."""
        settings = {
            path: value
            for path, value in self.settings.items()
            if path != FOLD and not path.startswith(_WITHOUT_EFFECT)
        }
        return json.dumps(settings, sort_keys=True)


def values_of_seeds(runs: Sequence[Run], part: str, metric: str) -> list[float]:
    """The mean over its folds for each seed of complete runs; ``part``: "validation", "test" or "floor"."""
    by_seed: dict[int, list[float]] = {}
    for run in runs:
        if metric in run.summary.get(part, {}):
            by_seed.setdefault(run.summary["seed"], []).append(run.summary[part][metric])
    return [statistics.fmean(values) for values in by_seed.values()]


def mean_and_spread(values: list[float]) -> str:
    """The mean, with the standard deviation where there is one; "-" for nothing."""
    if not values:
        return "-"
    mean = f"{statistics.fmean(values):.4g}"
    return f"{mean} ± {statistics.stdev(values):.2g}" if len(values) > 1 else mean


def trained_on_validation(run: Run) -> bool:
    """Whether the rows of the validation split were trained on, so that its values say nothing."""
    return bool(run.settings.get(_TRAINED_ON))


def folds_of(runs: Sequence[Run]) -> list[int]:
    """Which folds there are, in order; none for a task without."""
    return sorted({run.settings[FOLD] for run in runs if run.settings.get(FOLD) is not None})


def read(directory: RunDirectory) -> Run:
    """Read a run, finished or not; UserError if its files are damaged."""
    config = directory.read_config()
    summary = directory.read_summary() or {}
    settings = {path: value for path, value in configs.settings(config).items() if path != "seed"}
    if settings.get(_TRAINED_ON):
        # Values of rows that were trained on say nothing of other rows, but somebody would choose by them.
        summary = {key: value for key, value in summary.items() if key != "validation"}
    if settings["training.continue_from"] is not None:
        # Each seed goes on from a run of its own.
        settings["training.continue_from"] = f"step {(directory.read_continued() or {}).get('step', '?')}"
    rows = metrics_log.read(directory.metrics) if directory.metrics.exists() else []
    name = summary.get("config") or directory.path.resolve().parent.name
    return Run(directory, name, settings, summary, rows)


def read_all(paths: list[Path]) -> tuple[list[Run], list[str]]:
    """All training runs at or below ``paths``, and a line for each that this version cannot read.

    Raises UserError where there is none, or none that can be read.
    """
    runs, lines = [], []
    for directory in find_runs(paths):
        if directory_kinds.kind_of(directory.path) in ("bench", "comparison"):
            continue
        try:
            runs.append(read(directory))
        except UserError as error:
            lines += error.messages
    if not runs:
        named = ", ".join(map(str, paths))
        raise UserError(lines or f"{named}: only benches and empty comparisons there; plot RUN draws these")
    return runs, [f"left out: {line}" for line in lines]
