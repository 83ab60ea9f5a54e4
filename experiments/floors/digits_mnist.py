"""digits_mnist: logistic regression on all pixels, its strength chosen on the validation images."""

from collections.abc import Iterator

from experiments.floors.measured import Measured, written
from experiments.tasks.digits_mnist import ROWS, DigitsMnistConfig, build

CONFIG = DigitsMnistConfig(name="digits_mnist")
STRENGTHS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""C of scikit-learn: the inverse of the penalty."""


def measure() -> Iterator[Measured]:
    """Accuracy on the test images."""
    task = build(CONFIG)
    batches = {
        "train": task.train_batch(0, 0, ROWS["train"]),
        **{split: next(task.split_batches(split, ROWS[split])) for split in ("validation", "test")},
    }
    pixels = {split: batch.inputs.reshape(len(batch.inputs), -1) for split, batch in batches.items()}

    from sklearn.linear_model import LogisticRegression

    def score(fitted: LogisticRegression, split: str) -> float:
        return float(fitted.score(pixels[split], batches[split].targets))

    fits = [
        LogisticRegression(C=strength, max_iter=1000).fit(pixels["train"], batches["train"].targets)
        for strength in STRENGTHS
    ]
    best = max(fits, key=lambda fitted: score(fitted, "validation"))
    yield Measured("digits_mnist", "accuracy", score(best, "test"), written(task.floor["accuracy"]))
