"""sentiment: logistic regression on tf-idf of words, pairs and triples, fitted to training and validation texts."""

from collections.abc import Iterator

import numpy as np

from experiments.floors.measured_floor import MeasuredFloor, constant_as_text
from experiments.tasks.text import reviews, tf_idf
from experiments.tasks.text.sentiment import SentimentConfig, build

CONFIG = SentimentConfig(name="sentiment", regression=False)
STRENGTH = 30.0
"""C of scikit-learn: the inverse of the penalty."""
LONGEST = 3
NOTE = f"C = {STRENGTH:g} is that of the task's note, not chosen again"


def measure() -> Iterator[MeasuredFloor]:
    """Accuracy and the mean negative log-likelihood of the test texts."""
    task = build(CONFIG)
    parts, _ = reviews.read(CONFIG.path)
    train, test = parts["train"] + parts["validation"], parts["test"]
    fitted, others = tf_idf.weights(
        *([reviews.words(row.text) for row in part] for part in (train, test)), longest=LONGEST
    )

    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss

    # With the default tolerance the fit stops some way before the optimum, and two texts fewer are right.
    model = LogisticRegression(C=STRENGTH, tol=1e-6, max_iter=10_000)
    model.fit(fitted.astype(np.float64), [row.label for row in train])
    labels = [row.label for row in test]
    found = {"accuracy": model.score(others, labels), "nll": log_loss(labels, model.predict_proba(others))}
    for metric, constant in task.floor.items():
        yield MeasuredFloor("sentiment", metric, float(found[metric]), constant_as_text(constant))
