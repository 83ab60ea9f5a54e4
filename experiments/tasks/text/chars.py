"""The chars task: a language model of single characters, by default on Python's own language reference.

The text is the help topics of the standard library (``pydoc_data.topics``), so nothing needs to be downloaded; it
differs a little between Python versions. Some topics repeat passages of others word for word: ``facts`` says how much
of the test part stands in the training part.
"""

import hashlib
import importlib.util
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from experiments.system.errors import UserError
from experiments.tasks.inputs import Tokens
from experiments.tasks.packages import DataSet
from experiments.tasks.registry import register
from experiments.tasks.task import Batch, Task, TaskBlock, batches_of
from experiments.tasks.text import text_file

_TRAIN = 1
_STREAM = 4096
"""Characters of one stream in evaluation; many, so that few of them lack context."""
_LOGITS_AT_ONCE = 2**23
"""An evaluation batch of more than one stream has at most so many logits, which bounds its memory: 34 MB."""
_REPEAT = 64
"""Length of the passages that ``facts`` looks up in the training part."""


class CharsConfig(TaskBlock):
    """Training rows are ``window`` characters from random places of the first 80 % of the text."""

    per_step: ClassVar[bool] = True
    predicts_inputs: ClassVar[bool] = True
    name: Literal["chars"]
    window: Annotated[int, Field(gt=0)] = 128
    path: str | None = None
    """A UTF-8 text file to learn instead (relative to where the command runs); None: Python's help topics."""


def check_data(config: CharsConfig) -> None:
    """Raise UserError if the text is not there; nothing is loaded."""
    if config.path is not None:
        if not Path(config.path).is_file():
            raise UserError(f"task.path: expected a text file, found none at {Path(config.path).absolute()}")
    elif not all(importlib.util.find_spec(module) for module in ("pydoc_data", "pydoc_data.topics")):
        raise UserError(
            "task.name: chars reads the standard library's pydoc_data.topics, which this Python was built without; "
            "use a complete Python, or set task.path to a text file of your own"
        )


def build(config: CharsConfig) -> Task:
    """Load the text: inputs (B, T) are characters, the target at each step is the character after it."""
    text = _read(config)
    alphabet = "".join(sorted(set(text)))
    tokens = np.searchsorted(_code_points(alphabet), _code_points(text)).astype(np.int32)
    first_validation, first_test = len(tokens) * 8 // 10, len(tokens) * 9 // 10
    _check_length(config, len(tokens), first_validation)
    train = tokens[:first_validation]
    # Each held-out part comes with the one character before it: the input from which its first character is predicted.
    held_out = {"validation": tokens[first_validation - 1 : first_test], "test": tokens[first_test - 1 :]}

    def train_batch(seed: int, step: int, batch_size: int) -> Batch:
        starts = np.random.default_rng((seed, step, _TRAIN)).integers(len(train) - config.window, size=(batch_size, 1))
        rows = train[starts + np.arange(config.window + 1)]
        return Batch(rows[:, :-1], rows[:, 1:], np.ones((batch_size, config.window), np.float32))

    def split_batches(split: str, batch_size: int) -> Iterator[Batch]:
        rows = _streams(held_out[split])
        return batches_of(rows, min(batch_size, max(1, _LOGITS_AT_ONCE // (rows.inputs.shape[1] * len(alphabet)))))

    return Task(
        name="chars",
        inputs=Tokens(len(alphabet)),
        outputs=len(alphabet),
        per_step=config.per_step,
        loss="cross_entropy",
        metrics=("bits_per_char", "accuracy"),
        floor=_order_1_floor(train, held_out["test"], len(alphabet)),
        floor_note="order-1 statistics: each character from the one before it, counted on the training part",
        train_batch=train_batch,
        split_batches=split_batches,
        alphabet=alphabet,
        facts={
            "source": config.path or "pydoc_data.topics",
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
            "python": platform.python_version(),
            "characters": len(text),
            "symbols": len(alphabet),
            "train_characters": first_validation,
            "validation_characters": first_test - first_validation,
            "test_characters": len(text) - first_test,
            f"test_passages_of_{_REPEAT}_in_train": _repeated(text[:first_validation], text[first_test:]),
        },
    )


def _read(config: CharsConfig) -> str:
    check_data(config)
    if config.path is None:
        from pydoc_data.topics import topics  # half a megabyte of text, loaded only to learn it

        return "\n".join(topics[title] for title in sorted(topics))
    return text_file.read(config.path)


def _check_length(config: CharsConfig, characters: int, train_characters: int) -> None:
    if train_characters <= config.window or characters < 10:
        raise UserError(
            f"task.window: {config.window} characters do not fit in the training part of the text, "
            f"{train_characters} of {characters} characters; use a smaller window or a longer text"
        )


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)


def _streams(tokens: np.ndarray) -> Batch:
    """A batch of parallel rows of at most ``_STREAM`` steps, which predict each of ``tokens`` but the first once."""
    count = len(tokens) - 1
    rows = -(-count // _STREAM)
    length = -(-count // rows)
    places = np.arange(rows * length).reshape(rows, length)
    real = places < count
    places = np.where(real, places, 0)
    return Batch(tokens[places], tokens[places + 1], real.astype(np.float32))


def _order_1_floor(train: np.ndarray, held_out: np.ndarray, vocabulary: int) -> dict[str, float]:
    """Bits per character and accuracy of P(next | this), smoothed with one count of the order-0 distribution."""
    order_0 = np.bincount(train, minlength=vocabulary) + 1.0
    order_0 /= order_0.sum()
    # Only the pairs that occur are kept: a table of all of them would not fit in memory for a large alphabet.
    pairs, counts = np.unique(train[:-1].astype(np.int64) * vocabulary + train[1:], return_counts=True)
    this, following = held_out[:-1].astype(np.int64), held_out[1:]
    sought = this * vocabulary + following
    place = np.minimum(np.searchsorted(pairs, sought), len(pairs) - 1)
    count = np.where(pairs[place] == sought, counts[place], 0)
    followed = np.bincount(train[:-1], minlength=vocabulary)
    bits = -np.log2((count + order_0[following]) / (followed[this] + 1))
    likeliest = np.full(vocabulary, order_0.argmax())
    rising = pairs[np.argsort(counts, kind="stable")]
    likeliest[rising // vocabulary] = rising % vocabulary
    return {"bits_per_char": float(bits.mean()), "accuracy": float((likeliest[this] == following).mean())}


def _repeated(train: str, test: str) -> float:
    """Share of the test part's passages of ``_REPEAT`` characters that stand word for word in the training part."""
    seen = {hash(train[start : start + _REPEAT]) for start in range(len(train) - _REPEAT + 1)}
    starts = range(len(test) - _REPEAT + 1)
    return sum(hash(test[start : start + _REPEAT]) in seen for start in starts) / max(1, len(starts))


DATA = DataSet("Python language reference", "", "pydoc_data/topics.py", "PSF-2.0")
register(CharsConfig, check_data=check_data, build=build, data=[DATA])
