"""Writes and reads metrics.jsonl, one row a line; TensorBoard gets the same numbers as events.

A row is ``{"step": ..., "split": "train" | "validation" | "test", metric: number, ...}``. It holds no time and no path,
so the same config gives the same bytes. Nothing here imports JAX.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from experiments.config.schema import TrainingConfig
from experiments.runs.event_file import EventFile
from experiments.system.errors import UserError
from experiments.system.whole_files import naming_errors

Row = dict[str, Any]


class InheritedRows(NamedTuple):
    """What a run has of the one that it goes on from: so many rows up to a step, which stand first in the file."""

    step: int = 0
    rows: int = 0


NONE_INHERITED = InheritedRows()


class MetricsLog:
    """Appends rows to metrics.jsonl, and to TensorBoard where a directory is given; a context manager."""

    def __init__(self, path: Path, tensorboard: Path | None, resumed_at: int = 0):
        """``resumed_at``: a step; TensorBoard forgets what an earlier process wrote of later steps."""
        self._path = path
        self._events = None if tensorboard is None else EventFile(tensorboard, resumed_at)
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 (closed by __exit__)

    def write(self, step: int, split: str, values: Mapping[str, float]) -> Row:
        """Write one row and return it; numbers are rounded to eight digits, which is what a float32 can tell."""
        row: Row = {"step": step, "split": split} | {name: rounded(value) for name, value in values.items()}
        with naming_errors(self._path):
            self._file.write(json.dumps(row, allow_nan=False) + "\n")
            self._file.flush()
        if self._events is not None:
            self._events.write(step, {f"{split}/{name}": row[name] for name in values})
        return row

    def sync(self) -> None:
        """Put all rows on the disk; a checkpoint of the same step counts on them, so it comes after."""
        with naming_errors(self._path):
            os.fsync(self._file.fileno())
        if self._events is not None:
            self._events.flush()

    def __enter__(self) -> "MetricsLog":
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close both files."""
        # On a full disk, closing tries to write the rest, and fails again.
        try:
            with naming_errors(self._path):
                self._file.close()
        finally:
            if self._events is not None:
                self._events.close()


def rounded(value: float) -> float:
    """``value`` in eight digits."""
    return float(f"{value:.8g}")


def logs_at(training: TrainingConfig, step: int) -> bool:
    """Whether a row of the split "train" is written after ``step``."""
    return step % training.log_every == 0 or step == training.steps


def evaluates_at(training: TrainingConfig, step: int) -> bool:
    """Whether a row of the split "validation" is written after ``step``."""
    return step % training.eval_every == 0 or step == training.steps


def cut_back(path: Path, training: TrainingConfig, step: int, before: InheritedRows = NONE_INHERITED) -> int:
    """Drop the rows that a checkpoint at ``step`` does not know of, and return how many there were.

    Raises UserError if a row from before that checkpoint is missing or damaged.
    """
    lines, known = _lines(path), known_rows(path, training, step, before)
    if len(lines) > known:
        os.truncate(path, sum(len(line) for line in lines[:known]))
    return len(lines) - known


def known_rows(path: Path, training: TrainingConfig, step: int, before: InheritedRows = NONE_INHERITED) -> int:
    """How many rows a checkpoint at ``step`` knows of; UserError if one of them is missing or damaged."""
    expected = [
        (at, split)
        for at in range(before.step + 1, step + 1)
        for split, due in (("train", logs_at(training, at)), ("validation", evaluates_at(training, at)))
        if due
    ]
    lines = _lines(path)
    for number, (at, split) in enumerate(expected, start=before.rows):
        row = _parse(lines[number]) if number < len(lines) else None
        if row is None or (row.get("step"), row.get("split")) != (at, split):
            state = "is missing" if number >= len(lines) else "is damaged" if row is None else "is another one"
            raise UserError(
                f"{path}:{number + 1}: the {split} row of step {at} {state}, though there is a checkpoint of step "
                f"{step}; restore the file, or train again in another --run-dir"
            )
    return before.rows + len(expected)


def _lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True) if path.exists() else []


def read(path: Path) -> list[Row]:
    """All rows; a last line without its end, as a killed or running run leaves it, does not count.

    Raises UserError, with the line, for a file that is not there or is damaged elsewhere.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file: the run has not logged anything yet")
    rows = []
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), start=1):
        row = _parse(line)
        if row is not None:
            rows.append(row)
        elif line.endswith(b"\n"):
            raise UserError(f"{path}:{number}: damaged: not a row of metrics")
    return rows


def _parse(line: bytes) -> Row | None:
    try:
        row = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    return row if isinstance(row, dict) and "step" in row and "split" in row else None
