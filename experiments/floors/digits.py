"""digits: logistic regression on all pixels, fitted to the training images."""

from collections.abc import Iterator

import numpy as np

from experiments.floors.measured import Measured, written
from experiments.tasks.digits import DigitsConfig, Images, build, find_file, read

CONFIG = DigitsConfig(name="digits")
STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""C of scikit-learn, the inverse of the penalty: the first of those that the validation images like best."""


def measure() -> Iterator[Measured]:
    """Accuracy of the test images."""
    task = build(CONFIG)
    images = read(find_file())

    from sklearn.linear_model import LogisticRegression

    def score(model: LogisticRegression, split: str) -> float:
        return float(model.score(_pixels(images[split]), images[split].labels))

    models = [LogisticRegression(C=c, max_iter=1000) for c in STRENGTHS]
    for model in models:
        model.fit(_pixels(images["train"]), images["train"].labels)
    best = max(models, key=lambda model: score(model, "validation"))
    yield Measured("digits", "accuracy", score(best, "test"), written(task.floor["accuracy"]))


def _pixels(images: Images) -> np.ndarray:
    return images.pixels.reshape(len(images.pixels), -1)
