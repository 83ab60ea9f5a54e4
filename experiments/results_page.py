"""A page of results, written from runs alone: for each config what it reached, beside its floor, and the command."""

import shlex
import statistics
from collections.abc import Sequence
from pathlib import Path

from experiments import config as configs
from experiments.report import Run, mean_and_spread
from experiments.run_directory import write_whole

BAR = "\\|"
"""A bar within a cell."""
_LOOKS = ("logging.", "seed=")
"""Overrides that do not change what a run reaches, or that the row averages over."""


def write(runs: Sequence[Run], path: Path, command: str) -> Path:
    """Write the page; ``command`` is what wrote it. Runs that did not end are left out."""
    write_whole(path, markdown(runs, command))
    return path


def markdown(runs: Sequence[Run], command: str) -> str:
    """The page: one row for each config (and set of overrides) and metric, mean ± standard deviation over its seeds."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        if run.complete:
            groups.setdefault((run.name, run.fingerprint), []).append(run)
    lines = [
        ["config", "metric", "floor", "test", "seeds", "parameters", "minutes a run", "command"],
        ["---", "---", "---:", "---:", "---:", "---:", "---:", "---"],
    ]
    notes: dict[str, str] = {}
    for (name, _), members in sorted(groups.items()):
        summaries = [run.summary for run in members]
        floor = summaries[0].get("floor", {})
        minutes = statistics.fmean(sum(summary["seconds"].values()) for summary in summaries) / 60
        if summaries[0].get("floor_note"):
            notes[name] = summaries[0]["floor_note"]
        for number, metric in enumerate(summaries[0]["test"]):
            values = [summary["test"][metric] for summary in summaries if metric in summary["test"]]
            first = number == 0
            lines.append(
                [
                    name if first else "",
                    metric,
                    f"{floor[metric]:.4g}" if metric in floor else "-",
                    mean_and_spread(values),
                    str(len(values)) if first else "",
                    f"{summaries[0]['parameters']:,}" if first else "",
                    f"{minutes:.1f}" if first else "",
                    f"`{_command(members[0])}`" if first else "",
                ]
            )
    return "\n".join(
        [
            "# Results",
            "",
            f"Written by `{command}` from the runs themselves; nothing here is typed. Test split, mean ± standard",
            "deviation over seeds; floors are baselines without recurrence on the same split. Minutes are wall time of",
            "one run, compilation included, on a machine of two cores that was busy with other runs.",
            "",
            *(_row(line) for line in lines),
            "",
            "## Floors",
            "",
            *(f"- {name}: {note}" for name, note in notes.items()),
            "",
        ]
    )


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', BAR) for cell in cells)} |"


def _command(run: Run) -> str:
    """The command of the run, without what names a seed or a place."""
    words = shlex.split(run.directory.command.read_text(encoding="utf-8")) if run.directory.command.exists() else []
    kept: list[str] = []
    skip = False
    for word in words:
        if skip or word.startswith(("--run-dir=", *_LOOKS)):
            skip = False
        elif word == "--run-dir":
            skip = True
        else:
            kept.append(word)
    return shlex.join(kept) or f"(config {configs.fingerprint(run.directory.read_config())})"
