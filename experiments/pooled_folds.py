"""The folds of the patients task pooled: every patient was tested once, so all of them are compared at once.

    python -m experiments.pooled_folds RUN...

RUN are run directories, or directories of them. Runs that differ only in seed and fold are one line: a patient's risk
is the mean, over the seeds, of the risks that the runs in whose test split the patient lies gave. A floor that several
configs share is one line, too. AUROC comes with its 95 % interval (DeLong et al. 1988). Differences between two lines
have an interval from a paired bootstrap: patients, those with the event and those without apart, are drawn 2000 times
with replacement, the same ones for both lines. It tells how much depends on which patients there were, not how much on
seeds or on how the folds were drawn.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.system.entry import start


def main(arguments: Sequence[str] | None = None) -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.pooled_folds", description="Pool the folds of the task patients."
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run directories, or directories of them")
    paths = parser.parse_args(arguments).runs

    from experiments.system import process

    return process.guarded(lambda: _show(paths))


def _show(paths: list[Path]) -> int:
    from rich.table import Table

    from experiments.results.pooled_folds import pool, tables
    from experiments.results.run_records import read_all
    from experiments.system import terminal

    runs, left_out = read_all(paths)
    for line in left_out:
        print(line, file=sys.stderr)
    pooled = pool(runs)
    console = terminal.console()
    console.print(f"{len(pooled.events)} patients, {int(pooled.events.sum())} with the event\n")
    for headings, *rows in tables(pooled):
        table = Table(*headings, box=None, header_style="bold")
        for row in rows:
            table.add_row(*row)
        console.print(table, "")
    return 0


if __name__ == "__main__":
    start(main, "python -m experiments.pooled_folds")
