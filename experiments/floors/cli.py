"""The floors that tasks hold as constants, measured again on the tasks' own splits: ``python -m experiments.floors``.

    python -m experiments.floors [NAME ...]

NAME are tasks, all of them if none is named. CPU time on one core:

    digits            2 s  logistic regression on all pixels
    digits_mnist     45 s  logistic regression on all pixels
    pronunciation    30 s  a table from letters in their context to phones, which are aligned first
    sentiment        20 s  logistic regression on tf-idf of words, pairs and triples
    video             3 s  ridge regression on the power spectrum of the frames, and on statistics of each pixel

Exit codes: 0 every constant is the measured value, rounded; 1 one is not; 2 a mistake of the user's.
"""

import argparse
from collections.abc import Sequence

from rich.table import Table

from experiments import tasks
from experiments.floors import digits, digits_mnist, pronunciation, sentiment, video
from experiments.floors.measured_floor import MeasuredFloor
from experiments.system import process, terminal
from experiments.system.errors import UserError
from experiments.tasks import packages

FLOORS = {
    "digits": digits,
    "digits_mnist": digits_mnist,
    "pronunciation": pronunciation,
    "sentiment": sentiment,
    "video": video,
}
"""Name -> the module that measures it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; exit codes beyond those above: see `process`."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.floors", description="Measure the floors that tasks hold as constants again."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(FLOORS)}; default: all of them")
    names = parser.parse_args(arguments).names or list(FLOORS)
    return process.guarded(lambda: _measure(names))


def _measure(names: Sequence[str]) -> int:
    for name in names:
        if name not in FLOORS:
            raise UserError(f"NAME: expected one of {', '.join(FLOORS)}, got {name!r}")
        tasks.check_data(FLOORS[name].CONFIG)
        packages.check_scikit_learn(name)
    found = [measured for name in names for measured in FLOORS[name].measure()]
    console = terminal.console()
    console.print(table(found))
    for name in names:
        if note := getattr(FLOORS[name], "NOTE", None):
            terminal.say(console, f"{name}: {note}")
    return 0 if all(measured.agrees for measured in found) else 1


def table(found: Sequence[MeasuredFloor]) -> Table:
    """What was measured beside what the tasks say, a row for each figure."""
    rows = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("task", "metric", "measured", "in the task", ""):
        rows.add_column(heading, justify="right" if heading in ("measured", "in the task") else "left")
    for measured in found:
        said = measured.constant or "-"
        rows.add_row(
            measured.task, measured.metric, f"{measured.value:.5f}", said, "" if measured.agrees else "differs"
        )
    return rows
