"""digits_mnist: logistic regression on all pixels of an image."""

from collections.abc import Iterator
from typing import Any

from experiments.floors import logistic_regression
from experiments.floors.measured_floor import MeasuredFloor, constant_as_text
from experiments.tasks.images.digits_mnist import DigitsMnistConfig, build

CONFIG = DigitsMnistConfig(name="digits_mnist")
STRENGTHS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""C of scikit-learn, the inverse of the penalty."""


def measure() -> Iterator[MeasuredFloor]:
    """Accuracy on the test images."""
    task = build(CONFIG)
    rows: Any = task.facts["train_rows"]
    found = logistic_regression.accuracy(task, rows, STRENGTHS)
    yield MeasuredFloor("digits_mnist", "accuracy", found, constant_as_text(task.floor["accuracy"]))
