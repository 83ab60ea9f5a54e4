"""What a task hands to the training loop: batches, and what to make of them."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from experiments.config.block import Block
from experiments.tasks.inputs import Frames, MeasuredFeatures, Sentences, Tokens, Vectors


class Batch(NamedTuple):
    """``B`` rows of data, as NumPy arrays."""

    inputs: Any
    """(B, T) int32 tokens, (B, T, I) float32 vectors, or what the task's `inputs` say; axis 0 of every array is B."""
    targets: np.ndarray
    """Classes, int32 (B,), or values, float32 (B, outputs); at every step, (B, T) or (B, T, outputs)."""
    weights: np.ndarray
    """float32 (B,) or, at every step, (B, T); 0 = does not count (padding rows, steps not asked for)."""
    seq_lengths: np.ndarray | None = None
    """(B,) int32: row ``b`` is ``inputs[b, :seq_lengths[b]]``; None = every row is whole."""


class Quantiles(NamedTuple):
    """The pinball loss of quantiles at rising levels between 0 and 1; 0.5 is among them, and is the forecast.

    Targets are (..., values) and outputs (..., values * levels), the levels of a value side by side.
    """

    levels: tuple[float, ...]


class Assessment(NamedTuple):
    """What is computed from a whole test split, since it is no sum over batches."""

    metrics: dict[str, float]
    """By their names in ``experiments.training.losses.BETTER``."""
    pictures: Mapping[str, Any] = MappingProxyType({})
    """File stem -> what ``experiments.results.pictures`` draws: JSON, with its ``kind``."""


@dataclasses.dataclass(frozen=True)
class Task:
    """Data, loss and metrics of one task, loaded and ready."""

    name: str
    inputs: Tokens | Vectors | Sentences | Frames | MeasuredFeatures
    outputs: int
    """Width of the read-out: the number of classes, or of regression targets."""
    per_step: bool
    """True: targets at every step; False: one a sequence."""
    loss: Literal["cross_entropy", "squared_error", "bernoulli"] | Quantiles
    metrics: tuple[str, ...]
    """Those that are sums over a split, the deciding one first; names in ``experiments.training.losses.BETTER``."""
    floor: Mapping[str, float]
    """Metric -> what an honest baseline without recurrence reaches on the test split."""
    floor_note: str
    """Which baseline reaches the floor."""
    train_batch: Callable[[int, int, int], Batch]
    """(seed, step, batch_size) -> Batch, a pure function."""
    split_batches: Callable[[str, int], Iterator[Batch]]
    """("validation" | "test", batch_size) -> the same batches at every call, of one shape; padding rows weigh 0."""
    scale: float = 1.0
    """One unit of the targets, in the unit that errors are reported in."""
    predict: str = "__call__"
    """The method of the model whose outputs `assess` gets."""
    assess: Callable[[Iterable[tuple[Batch, Any]]], Assessment] | None = None
    """(pairs of a test batch and the model's outputs for it, NumPy arrays) -> Assessment; padding rows weigh 0."""
    class_names: tuple[str, ...] = ()
    alphabet: str = ""
    """Token ``i`` is the character ``alphabet[i]``."""
    facts: Mapping[str, object] = dataclasses.field(default_factory=dict)
    """What a run should record of the data: hashes, counts, versions."""


class TaskBlock(Block):
    """The base of every task's config block: what checks need to know of a task without its data."""

    name: str
    """A Literal in each task: the task's name in a config."""
    per_step: ClassVar[bool]
    """True: targets at every step; False: one a sequence."""
    predicts_inputs: ClassVar[bool] = False
    """True: the targets are later inputs, so that a model reading backwards would read the answers."""
    translates: ClassVar[bool] = False
    """True: inputs are `Sentences`, and the model is an encoder-decoder."""
    frame_shape: ClassVar[tuple[int, int] | None] = None
    """Height and width in pixels if inputs are `Frames`, else None."""

    @property
    def token_width(self) -> int | None:
        """The width of the initial token vectors, which the model's input layer must have; None: any width."""
        return None

    @property
    def measured(self) -> bool:
        """True: inputs are `Measurements`, which only the cell gru_d reads."""
        return False


# The seed of a training batch ends with _TRAIN, so that it never equals the seed of a held-out split.
_TRAIN, _HELD_OUT = 1, {"validation": 2, "test": 3}
# With stored rows the seed of a pass's order ends with _ORDER, and that of a batch's changes with _CHANGE.
_ORDER, _CHANGE = 1, 2


def generated(rows: Callable[[np.random.Generator, int], Batch], counts: Mapping[str, int]) -> dict[str, Any]:
    """``train_batch`` and ``split_batches`` of a task whose rows are made up by ``rows(rng, count)``.

    ``counts``: how many rows the splits "validation" and "test" have.
    """

    def train_batch(seed: int, step: int, batch_size: int) -> Batch:
        return rows(np.random.default_rng((seed, step, _TRAIN)), batch_size)

    def split_batches(split: str, batch_size: int) -> Iterator[Batch]:
        return batches_of(rows(np.random.default_rng(_HELD_OUT[split]), counts[split]), batch_size)

    return {"train_batch": train_batch, "split_batches": split_batches}


def stored(
    splits: Mapping[str, Batch], change: Callable[[Batch, np.random.Generator], Batch] | None = None
) -> dict[str, Any]:
    """``train_batch`` and ``split_batches`` of a task whose rows lie in memory, by split.

    Each pass over the rows of "train" has its own order. ``change(batch, rng)`` returns a training batch as changed for
    one step; it draws anew at each step.
    """

    def train_batch(seed: int, step: int, batch_size: int) -> Batch:
        picked = rows_of_step(seed, step, batch_size, len(splits["train"].targets))
        batch = pick(splits["train"], picked)
        return batch if change is None else change(batch, np.random.default_rng((seed, step, _CHANGE)))

    def split_batches(split: str, batch_size: int) -> Iterator[Batch]:
        return batches_of(splits[split], batch_size)

    return {"train_batch": train_batch, "split_batches": split_batches}


def rows_of_step(seed: int, step: int, batch_size: int, count: int) -> np.ndarray:
    """The indices (batch_size,) of one step's rows; every pass over the ``count`` rows has its own order."""
    start, stop = step * batch_size, (step + 1) * batch_size
    epochs = range(start // count, (stop - 1) // count + 1)
    orders = [np.random.default_rng((seed, epoch, _ORDER)).permutation(count) for epoch in epochs]
    return np.concatenate(orders)[start - epochs[0] * count :][:batch_size]


def pick(rows: Batch, picked: np.ndarray) -> Batch:
    """The rows with the indices ``picked``, in their order."""
    return Batch(*(_map_arrays(lambda leaf: leaf[picked], field) for field in rows))


def _map_arrays(function: Callable[[np.ndarray], np.ndarray], field: Any) -> Any:
    """A field of a batch, with ``function`` applied to each of its arrays."""
    if field is None:
        return None
    if isinstance(field, tuple):
        return type(field)(*(_map_arrays(function, part) for part in field))
    return function(field)


def batches_of(rows: Batch, batch_size: int) -> Iterator[Batch]:
    """Cut ``rows`` into batches of one shape; the last one is filled up with copies of the first row that weigh 0.

    ``batch_size`` is an upper bound: fewer rows than that make one batch without filling.
    """
    count = len(rows.targets)
    batch_size = min(batch_size, count)
    for start in range(0, count, batch_size):
        picked = np.arange(start, start + batch_size)
        real = picked < count
        picked = np.where(real, picked, 0)
        filled = np.float32(real).reshape((-1,) + (1,) * (rows.weights.ndim - 1))
        batch = pick(rows, picked)
        yield batch._replace(weights=batch.weights * filled)
