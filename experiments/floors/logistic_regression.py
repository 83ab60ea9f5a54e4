"""Logistic regression on all numbers of a row at once, with the penalty that is best on the validation split."""

from collections.abc import Sequence

import numpy as np

from experiments.tasks.task import Task


def accuracy(task: Task, rows: int, strengths: Sequence[float]) -> float:
    """The share of test rows whose class it names, after a fit to all ``rows`` training rows of ``task``.

    ``strengths``: scikit-learn's C, the inverse of the penalty; the first that is best on the validation rows is taken.
    """
    from sklearn.linear_model import LogisticRegression

    batches = {
        "train": task.train_batch(0, 0, rows),
        **{split: next(task.split_batches(split, rows)) for split in ("validation", "test")},
    }
    features = {split: np.reshape(batch.inputs, (len(batch.inputs), -1)) for split, batch in batches.items()}

    def score(fitted: LogisticRegression, split: str) -> float:
        return float(fitted.score(features[split], batches[split].targets))

    # With the default tolerance a fit stops so early that the order of the rows decides about an image or two.
    fits = [LogisticRegression(C=c, tol=1e-6, max_iter=10_000) for c in strengths]
    for fitted in fits:
        fitted.fit(features["train"].astype(np.float64), batches["train"].targets)
    return score(max(fits, key=lambda fitted: score(fitted, "validation")), "test")
