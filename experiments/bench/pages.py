"""Writes the table and the plots of a bench, from its results alone. Nothing here imports JAX."""

from pathlib import Path

from experiments.bench import plots, tables
from experiments.bench.directory import BenchDirectory
from experiments.bench.results import Results
from experiments.system.whole_files import write_whole


def write(measured: Results, directory: BenchDirectory) -> list[Path]:
    """Write table.md and the plots, over those that are there; returns all paths."""
    write_whole(directory.table, tables.markdown(measured))
    return [directory.table, *plots.draw(measured, directory.plots)]


def missing(measured: Results, directory: BenchDirectory) -> list[Path]:
    """The files of `write` that are not there, as after a full disk."""
    table = [] if directory.table.is_file() else [directory.table]
    return [*table, *plots.missing(measured, directory.plots)]
