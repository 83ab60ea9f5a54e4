"""What a task hands to the training loop: batches, and what to make of them."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict


class Batch(NamedTuple):
    """``B`` rows of data, as NumPy arrays."""

    inputs: np.ndarray
    """(B, T) int32 tokens, or (B, T, I) float32 vectors."""
    targets: np.ndarray
    """Classes (B,) or, at every step, (B, T), int32; or values (B, outputs), float32."""
    weights: np.ndarray
    """float32, the shape of the targets' leading axes; 0 = does not count (padding rows, steps not asked for)."""
    seq_lengths: np.ndarray | None = None
    """(B,) int32: row ``b`` is ``inputs[b, :seq_lengths[b]]``; None = every row is whole."""


class Tokens(NamedTuple):
    """Inputs are integers below ``vocabulary``."""

    vocabulary: int


class Vectors(NamedTuple):
    """Inputs are vectors of ``features`` numbers."""

    features: int


@dataclasses.dataclass(frozen=True)
class Task:
    """Data, loss and metrics of one task, loaded and ready."""

    name: str
    inputs: Tokens | Vectors
    outputs: int
    """Width of the read-out: the number of classes, or of regression targets."""
    per_step: bool
    """True: targets at every step; False: one a sequence."""
    loss: Literal["cross_entropy", "squared_error"]
    metrics: tuple[str, ...]
    """What to report, the deciding metric first; names of ``experiments.losses.BETTER``."""
    floor: Mapping[str, float]
    """Metric -> what an honest baseline without recurrence reaches on the test split."""
    floor_note: str
    """Which baseline that is."""
    train_batch: Callable[[int, int, int], Batch]
    """(seed, step, batch_size) -> Batch, a pure function."""
    split_batches: Callable[[str, int], Iterator[Batch]]
    """("validation" | "test", batch_size) -> batches of one shape, always the same; padding rows weigh 0."""
    class_names: tuple[str, ...] = ()
    alphabet: str = ""
    """Token ``i`` is the character ``alphabet[i]``."""
    facts: Mapping[str, object] = dataclasses.field(default_factory=dict)
    """What a run should record of the data: hashes, counts, versions."""


class TaskBlock(BaseModel):
    """What the config block of every task keeps to: immutable, known keys only, no silent conversion."""

    per_step: ClassVar[bool]
    """True: targets at every step; False: one a sequence. Here too, so that a config is checked without its data."""
    predicts_inputs: ClassVar[bool] = False
    """True: the targets are later inputs, so that a model reading backwards would read the answers."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


# The last word of the seed of a training batch, so that it never meets that of a held-out split.
_TRAIN, _HELD_OUT = 1, {"validation": 2, "test": 3}


def generated(rows: Callable[[np.random.Generator, int], Batch], counts: Mapping[str, int]) -> dict[str, Any]:
    """``train_batch`` and ``split_batches`` of a task whose rows are made up: ``rows(rng, count)``.

    ``counts``: how many rows the splits "validation" and "test" have.
    """

    def train_batch(seed: int, step: int, batch_size: int) -> Batch:
        return rows(np.random.default_rng((seed, step, _TRAIN)), batch_size)

    def split_batches(split: str, batch_size: int) -> Iterator[Batch]:
        return cut(rows(np.random.default_rng(_HELD_OUT[split]), counts[split]), batch_size)

    return {"train_batch": train_batch, "split_batches": split_batches}


def cut(rows: Batch, batch_size: int) -> Iterator[Batch]:
    """Cut ``rows`` into batches of one shape; the last one is filled up with copies of the first row that weigh 0.

    ``batch_size`` is an upper bound: fewer rows than that make one batch without filling.
    """
    count, lengths = len(rows.inputs), rows.seq_lengths
    batch_size = min(batch_size, count)
    for start in range(0, count, batch_size):
        picked = np.arange(start, start + batch_size)
        real = picked < count
        picked = np.where(real, picked, 0)
        filled = np.float32(real).reshape((-1,) + (1,) * (rows.weights.ndim - 1))
        yield Batch(
            inputs=rows.inputs[picked],
            targets=rows.targets[picked],
            weights=rows.weights[picked] * filled,
            seq_lengths=None if lengths is None else lengths[picked],
        )
