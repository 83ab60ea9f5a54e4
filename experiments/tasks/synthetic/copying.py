"""The copy task: repeat a string of symbols after a long blank stretch (Arjovsky et al. 2016)."""

import functools
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from experiments.tasks.inputs import Tokens
from experiments.tasks.registry import register
from experiments.tasks.task import Batch, Task, TaskBlock, generated


class CopyConfig(TaskBlock):
    """``length`` symbols, ``delay`` blanks, a go marker, then ``length`` steps in which to repeat the symbols."""

    per_step: ClassVar[bool] = True
    name: Literal["copy"]
    length: Annotated[int, Field(gt=0)] = 10
    symbols: Annotated[int, Field(ge=2)] = 8
    delay: Annotated[int, Field(ge=0)] = 50
    validation_rows: Annotated[int, Field(gt=0)] = 500
    test_rows: Annotated[int, Field(gt=0)] = 2000


def check_data(config: CopyConfig) -> None:
    """Nothing to check: the data is made up."""


def build(config: CopyConfig) -> Task:
    """Build the task.

    A row has ``T = 2 * length + delay + 1`` steps. Tokens below ``symbols`` are symbols, then come the blank and the go
    marker. The targets are the symbols, at the last ``length`` steps; no other step counts.
    """

    return Task(
        name="copy",
        inputs=Tokens(config.symbols + 2),
        outputs=config.symbols,
        per_step=config.per_step,
        loss="cross_entropy",
        metrics=("accuracy", "nll_per_step"),
        floor={"accuracy": 1 / config.symbols, "nll_per_step": float(np.log(config.symbols))},
        floor_note="chance: no memory of the symbols, every one equally likely",
        **generated(functools.partial(_rows, config), {"validation": config.validation_rows, "test": config.test_rows}),
        facts={
            "steps": 2 * config.length + config.delay + 1,
            "bits_to_remember": config.length * float(np.log2(config.symbols)),
        },
    )


def _rows(config: CopyConfig, rng: np.random.Generator, count: int) -> Batch:
    symbols = rng.integers(config.symbols, size=(count, config.length), dtype=np.int32)
    blank, go = config.symbols, config.symbols + 1
    steps = 2 * config.length + config.delay + 1
    inputs = np.full((count, steps), blank, np.int32)
    inputs[:, : config.length] = symbols
    inputs[:, config.length + config.delay] = go
    targets = np.zeros((count, steps), np.int32)
    targets[:, -config.length :] = symbols
    weights = np.zeros((count, steps), np.float32)
    weights[:, -config.length :] = 1
    return Batch(inputs, targets, weights)


register(CopyConfig, check_data=check_data, build=build)
