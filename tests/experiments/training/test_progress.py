import io

import pytest
from rich.console import Console

from experiments.training import progress
from experiments.training.progress import ProgressLine


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets."""
    seconds = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: seconds[0])
    return seconds


def test_plain_lines_are_sparse(clock):
    console = Console(file=io.StringIO(), width=200)
    with ProgressLine(console, first_step=100, steps=400) as line:
        for step in range(101, 181):
            clock[0] += 0.25
            line.step(step)
            if step % 20 == 0:
                line.row({"step": step, "split": "train", "loss": 1.23456})
        line.row({"step": 180, "split": "validation", "accuracy": 0.5})
    # 20 steps take 5 s: every second training row comes 10 s after the line before it.
    assert console.file.getvalue().splitlines() == [
        "step 140/400  train       loss 1.235  (4 steps/s)",
        "step 180/400  train       loss 1.235  (4 steps/s)",
        "step 180/400  validation  accuracy 0.5  (train loss 1.235)  (4 steps/s)",
    ]


def test_a_terminal_gets_one_line_and_validation_rows_above_it():
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    with ProgressLine(console, first_step=0, steps=40) as line:
        line.row({"step": 10, "split": "train", "loss": 0.25})
        line.row({"step": 10, "split": "validation", "accuracy": 0.5})
    text = console.file.getvalue()
    assert "step 10/40  validation  accuracy 0.5  (train loss 0.25)" in text
    assert "train       loss" not in text
    assert "nan" not in text
