"""Prints what the commands say on the terminal: lines, metrics beside their floors, the results of a run."""

import shutil
import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

_NARROWEST = 40
"""How many columns a terminal must have for tables to be fitted to it."""


class _Terminal(Console):
    def on_broken_pipe(self) -> None:
        """Raise the error, which `experiments/system/process.py` handles; rich would end the process."""
        raise BrokenPipeError


def console() -> Console:
    """The console that commands print to: as wide as the terminal, if a table has room there."""
    # A file or a pipe has no width of its own, and rich would fold tables at 80 columns. On a narrow terminal it would
    # cut numbers down to nothing: so lines are printed whole there, as into a file, and the terminal folds them.
    if sys.stdout.isatty() and shutil.get_terminal_size().columns >= _NARROWEST:
        return _Terminal(highlight=False)
    return _Terminal(highlight=False, width=200, force_terminal=False)


def say(console: Console, text: str) -> None:
    """Print ``text`` as it is, however long its lines are."""
    console.print(text, soft_wrap=True, markup=False)


def show_results(console: Console, summary: Mapping[str, Any]) -> None:
    """Print what the summary of a complete run says: test metrics, their floor, the time, a sample if there is one."""
    show_metrics(console, "test", summary.get("test", {}), summary.get("floor", {}))
    if summary.get("floor_note"):
        say(console, f"floor   {summary['floor_note']}")
    if summary.get("parameters_from") == "best":
        say(console, f"from    the parameters of step {summary.get('best_step')}, the best on the validation split")
    seconds = summary.get("seconds", {})
    say(console, f"time    {seconds.get('run')} s of training and evaluation, {seconds.get('compile')} s to compile")
    if "sample" in summary:
        say(console, f"\na sample of what it writes:\n\n{summary['sample']}\n")


def show_metrics(console: Console, split: str, metrics: Mapping[str, float], floor: Mapping[str, float]) -> None:
    """Print a table of the metrics of a split, beside the floor if there is one; "-": the floor lacks this metric."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in (split, "value", *(["floor"] if floor else [])):
        table.add_column(heading, justify="left" if heading == split else "right")
    for name, value in metrics.items():
        known = [f"{floor[name]:.4g}" if name in floor else "-"] if floor else []
        table.add_row(name, f"{value:.4g}", *known)
    console.print(table)
