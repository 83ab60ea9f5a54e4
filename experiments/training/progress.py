"""Shows how far a run has come: one live line on a terminal, now and then a plain line elsewhere."""

import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_SECONDS_BETWEEN_UPDATES = 0.1
_SECONDS_BETWEEN_PLAIN_LINES = 10.0


class ProgressLine:
    """Shows step, loss, steps a second and the time left; a context manager.

    On a terminal it is a line that moves, and the rows of the validation split stay above it. Elsewhere it prints the
    validation rows, and a training row if nothing was printed for ten seconds.
    """

    def __init__(self, console: Console, first_step: int, steps: int):
        """``first_step``: how many of ``steps`` an earlier process has done."""
        self._console, self._first, self._steps = console, first_step, steps
        self._started = self._updated = self._printed = time.monotonic()
        self._step, self._loss = first_step, float("nan")
        self._live: Progress | None = None
        if console.is_terminal:
            self._live = Progress(
                TextColumn("step"),
                MofNCompleteColumn(),
                BarColumn(bar_width=None),
                TextColumn("loss {task.fields[loss]}  {task.fields[speed]} steps/s  left"),
                TimeRemainingColumn(),
                console=console,
                transient=True,
            )

    def step(self, step: int) -> None:
        """Say that ``step`` steps are done; costs next to nothing."""
        self._step = step
        now = time.monotonic()
        if self._live is not None and now - self._updated >= _SECONDS_BETWEEN_UPDATES:
            self._updated = now
            self._live.update(self._bar, completed=step, speed=self._speed(), loss=_number(self._loss))

    def row(self, row: Mapping[str, Any]) -> None:
        """Say that a row of metrics was written."""
        if row["split"] == "train":
            self._loss = row["loss"]
            if self._live is not None or time.monotonic() - self._printed < _SECONDS_BETWEEN_PLAIN_LINES:
                return
        self.print(self._line(row))

    def print(self, text: str) -> None:
        """Print a line (above the moving one)."""
        self._printed = time.monotonic()
        self._console.print(text, soft_wrap=True, markup=False, highlight=False)

    def _line(self, row: Mapping[str, Any]) -> str:
        width = len(str(self._steps))
        values = "  ".join(f"{name} {_number(value)}" for name, value in row.items() if name not in ("step", "split"))
        speed = "" if self._live is not None else f"  ({self._speed()} steps/s)"
        loss = f"  (train loss {_number(self._loss)})" if row["split"] != "train" and self._loss == self._loss else ""
        return f"step {row['step']:>{width}}/{self._steps}  {row['split']:<10}  {values}{loss}{speed}"

    def _speed(self) -> str:
        elapsed = time.monotonic() - self._started
        return _number((self._step - self._first) / elapsed if elapsed > 0 else 0.0, digits=3)

    def __enter__(self) -> "ProgressLine":
        """Start the clock, and the moving line."""
        self._started = self._updated = self._printed = time.monotonic()
        if self._live is not None:
            self._live.start()
            self._bar = self._live.add_task("", total=self._steps, completed=self._first, loss="-", speed="-")
        return self

    def __exit__(self, *_: object) -> None:
        """Take the moving line away."""
        if self._live is not None:
            self._live.stop()


def _number(value: float, digits: int = 4) -> str:
    """A number in as many digits as are enough to read: 0.01234, 2.345, 12350; "-" for what is not known yet."""
    if value != value:
        return "-"
    text = f"{value:.{digits}g}"
    return f"{value:.0f}" if "e+" in text else text
