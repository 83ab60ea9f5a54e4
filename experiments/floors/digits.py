"""digits: logistic regression on all pixels of an image."""

from collections.abc import Iterator
from typing import Any

from experiments.floors import logistic_regression
from experiments.floors.measured_floor import MeasuredFloor, constant_as_text
from experiments.tasks.images.digits import DigitsConfig, build

CONFIG = DigitsConfig(name="digits")
STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0)
"""C of scikit-learn, the inverse of the penalty."""


def measure() -> Iterator[MeasuredFloor]:
    """Accuracy on the test images."""
    task = build(CONFIG)
    rows: Any = task.facts["train_rows"]
    found = logistic_regression.accuracy(task, rows, STRENGTHS)
    yield MeasuredFloor("digits", "accuracy", found, constant_as_text(task.floor["accuracy"]))
