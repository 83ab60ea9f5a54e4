"""The digits task: 8x8 images of handwritten digits (from scikit-learn), read pixel by pixel or row by row."""

import gzip
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import numpy as np

from experiments.tasks.images.augmentation import ImageAugmentation, in_pieces
from experiments.tasks.inputs import Vectors
from experiments.tasks.packages import DataSet, find, sha256
from experiments.tasks.registry import register
from experiments.tasks.task import Task, TaskBlock

TEST_ROWS = 360
"""The last rows of the file; the rows before them are the training part."""
VALIDATION_ROWS = 180
"""The last rows of the training part, held out of training to validate on."""

DIGITS_OF_8_BY_8 = DataSet("digits of 8 x 8", "sklearn", "datasets/data/digits.csv.gz", "CC BY 4.0")


class DigitsConfig(TaskBlock):
    """``steps``: 64 = one pixel a step, 8 = one row of eight pixels a step."""

    per_step: ClassVar[bool] = False
    name: Literal["digits"]
    steps: Literal[8, 64] = 64
    augmentation: ImageAugmentation = ImageAugmentation()


class Images(NamedTuple):
    """Digits, and what they show."""

    pixels: np.ndarray
    """(B, 8, 8) float32 in [0, 1], 0 = blank."""
    labels: np.ndarray
    """(B,) int32, 0 to 9."""


def check_data(config: DigitsConfig) -> None:
    """Raise UserError if the data file is not installed; nothing is loaded."""
    find_file()


def read(file: Path) -> dict[str, Images]:
    """The images of each split, in the order of the file; no image is in two splits."""
    table = np.loadtxt(gzip.decompress(file.read_bytes()).decode().splitlines(), delimiter=",", dtype=np.float32)
    images = Images(table[:, :64].reshape(-1, 8, 8) / 16, table[:, 64].astype(np.int32))
    test = len(table) - TEST_ROWS
    ends = {"train": test - VALIDATION_ROWS, "validation": test, "test": len(table)}
    starts = (0, *ends.values())
    return {
        split: Images(*(field[start:end] for field in images))
        for start, (split, end) in zip(starts, ends.items(), strict=False)
    }


def build(config: DigitsConfig) -> Task:
    """Load the images: inputs (B, steps, 64 / steps) in [0, 1], one class of ten a row."""
    file = find_file()
    splits = read(file)
    return Task(
        name="digits",
        inputs=Vectors(64 // config.steps),
        outputs=10,
        per_step=config.per_step,
        loss="cross_entropy",
        metrics=("accuracy", "nll"),
        floor={"accuracy": 0.911},
        floor_note=(
            "logistic regression on all 64 pixels at once, same split (scikit-learn, C = 30 of 1 to 100 on the "
            "validation images)"
        ),
        **in_pieces(splits, config.steps, config.augmentation),
        class_names=tuple("0123456789"),
        facts={
            "sha256": sha256(file),
            **{f"{split}_rows": len(images.labels) for split, images in splits.items()},
        },
    )


def find_file(task: str = "digits") -> Path:
    """The data file; UserError, which says how to get it, if it is missing. ``task``: the task to name in the error."""
    return find("sklearn", "datasets/data/digits.csv.gz", task=task)


register(DigitsConfig, check_data=check_data, build=build, data=[DIGITS_OF_8_BY_8])
