"""The adding task: the sum of the two marked numbers of a long sequence (Hochreiter & Schmidhuber 1997)."""

import functools
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from experiments.tasks.inputs import Vectors
from experiments.tasks.registry import register
from experiments.tasks.task import Batch, Task, TaskBlock, generated


class AddingConfig(TaskBlock):
    """``length`` steps of (a number uniform in [0, 1), a marker); one step of each half is marked."""

    per_step: ClassVar[bool] = False
    name: Literal["adding"]
    length: Annotated[int, Field(ge=2)] = 200
    validation_rows: Annotated[int, Field(gt=0)] = 500
    test_rows: Annotated[int, Field(gt=0)] = 2000


def check_data(config: AddingConfig) -> None:
    """Nothing to check: the data is made up."""


def build(config: AddingConfig) -> Task:
    """Build the task: inputs (B, length, 2) are number and marker, targets (B, 1) the sum of the marked numbers."""

    return Task(
        name="adding",
        inputs=Vectors(2),
        outputs=1,
        per_step=config.per_step,
        loss="squared_error",
        metrics=("mse", "mae"),
        # The sum of two independent uniform numbers: variance 2/12, mean distance from its mean 1/3.
        floor={"mse": 1 / 6, "mae": 1 / 3},
        floor_note="no memory: the answer is always 1, the mean of the sum",
        **generated(functools.partial(_rows, config), {"validation": config.validation_rows, "test": config.test_rows}),
        facts={"steps": config.length},
    )


def _rows(config: AddingConfig, rng: np.random.Generator, count: int) -> Batch:
    numbers = rng.random((count, config.length), dtype=np.float32)
    half = config.length // 2
    marked = np.stack([rng.integers(half, size=count), rng.integers(half, config.length, size=count)], axis=1)
    markers = np.zeros_like(numbers)
    np.put_along_axis(markers, marked, 1, axis=1)
    targets = np.take_along_axis(numbers, marked, axis=1).sum(axis=1, keepdims=True)
    return Batch(np.stack([numbers, markers], axis=-1), targets, np.ones(count, np.float32))


register(AddingConfig, check_data=check_data, build=build)
