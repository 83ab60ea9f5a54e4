"""The activity task: which of seven shoulder exercises somebody does, from four seconds of a smart watch's sensors."""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from experiments.system.errors import UserError
from experiments.tasks import ridge
from experiments.tasks.inputs import Vectors
from experiments.tasks.motion.watch_augmentation import WatchAugmentation, augment, resample
from experiments.tasks.packages import INSTALL, DataSet, find
from experiments.tasks.registry import register
from experiments.tasks.task import Batch, Task, TaskBlock, stored

# The file is a pickled dict, and unpickling runs what a file tells it to, so only bytes that were looked at are loaded.
SHA256 = "eb122f23cdf06ef6bd6c6c5312958ec5cf9d038e2e6d457b8081662c75a42537"
RATE = 50
"""Samples a second."""
WINDOW, HOP = 200, 100
"""Samples of a window, and from the beginning of one window to that of the next."""
PIECE = 300
"""Samples of the piece that a training window is cut from: the window and a second more on each side."""
PEOPLE = 10


class ActivityConfig(TaskBlock):
    """``fold``: the person, 1 to 10, whose windows are the test split; those of the next person validate, others train.

    ``steps``: those of a window; 200 = as recorded, fewer = read off at as many places, halfway between samples.

    ``train_on_validation``: train on the validation person too, once the settings are chosen. Validation figures then
    say nothing, yet training.keep_best would choose by them.
    """

    per_step: ClassVar[bool] = False
    name: Literal["activity"]
    fold: Annotated[int, Field(ge=1, le=PEOPLE)] = 1
    steps: Literal[50, 100, 200] = 100
    train_on_validation: bool = False
    augmentation: WatchAugmentation = WatchAugmentation()


def check_data(config: ActivityConfig) -> None:
    """Raise UserError if the data file is not installed; nothing is loaded."""
    _file()


def build(config: ActivityConfig) -> Task:
    """Load the windows: inputs (B, steps, 6), standardised with statistics of the training people; seven classes."""
    data = _load(_file())
    people = {"test": config.fold, "validation": config.fold % PEOPLE + 1}
    held_out = [people["test"]] if config.train_on_validation else list(people.values())
    trains = ~np.isin(data["subject"], held_out)
    recordings = [row for row, chosen in zip(data["X"], trains, strict=True) if chosen]
    samples = np.concatenate(recordings)
    mean, scale = samples.mean(axis=0), samples.std(axis=0)

    def batch(windows: np.ndarray, classes: np.ndarray) -> Batch:
        return Batch(np.float32((windows - mean) / scale), classes, np.ones(len(classes), np.float32))

    def windows_of(person: int) -> Batch:
        chosen = np.flatnonzero(data["subject"] == person)
        windows, classes = _windows([data["X"][row] for row in chosen], data["y"][chosen], WINDOW)
        return batch(_middles(windows, config.steps), classes)

    def augmented(rows: Batch, rng: np.random.Generator) -> Batch:
        return batch(augment(rows.inputs, WINDOW, config.steps, RATE, config.augmentation, rng), rows.targets)

    pieces, classes = _windows(recordings, data["y"][trains], PIECE)
    splits = {name: windows_of(person) for name, person in people.items()}
    train = Batch(pieces, classes, np.ones(len(classes), np.float32))

    return Task(
        name=config.name,
        inputs=Vectors(6),
        outputs=len(data["y_labels"]),
        per_step=config.per_step,
        loss="cross_entropy",
        metrics=("accuracy", "nll"),
        floor={
            "accuracy": ridge.accuracy(
                ridge.summaries(batch(_middles(pieces, config.steps), classes).inputs),
                classes,
                ridge.summaries(splits["test"].inputs),
                splits["test"].targets,
            )
        },
        floor_note="ridge regression on mean, sd, first, middle and last step, same people",
        **stored(splits | {"train": train}, augmented),
        class_names=tuple(data["y_labels"]),
        facts={"sha256": SHA256, "train_rows": len(classes)}
        | {f"{name}_rows": len(rows.targets) for name, rows in splits.items()},
    )


def _file() -> Path:
    return find("seglearn", "data/watch_dataset.npy", task="activity")


def _load(file: Path) -> dict[str, Any]:
    """The data: "X" are arrays (samples, 6), "y" and "subject" the class and person of each, "y_labels" class names."""
    raw = file.read_bytes()
    found = hashlib.sha256(raw).hexdigest()
    if found != SHA256:
        raise UserError(
            f"task.name: activity unpickles {file} only if its sha256 is {SHA256}, it is {found}; run: {INSTALL}"
        )
    return np.load(io.BytesIO(raw), allow_pickle=True).item()


def _windows(recordings: Sequence[np.ndarray], classes: np.ndarray, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Pieces (B, samples, 6) of recordings (length, 6), each with a window in its middle; the classes of the windows.

    The pieces of a recording's first and last windows would reach over its ends; they begin and end there instead.
    """
    pieces, labels = [], []
    for recording, label in zip(recordings, classes, strict=True):
        for start in range(0, len(recording) - WINDOW + 1, HOP):
            first = np.clip(start - (samples - WINDOW) // 2, 0, len(recording) - samples)
            pieces.append(recording[first : first + samples])
            labels.append(label)
    return np.stack(pieces), np.array(labels, np.int32)


def _middles(pieces: np.ndarray, steps: int) -> np.ndarray:
    """The windows in the middle of pieces, as (B, steps, 6)."""
    count, samples, _ = pieces.shape
    return resample(pieces, np.full(count, (samples - WINDOW) / 2), np.full(count, WINDOW), steps)


DATA = DataSet("smart-watch exercises", "seglearn", "data/watch_dataset.npy", "BSD-3-Clause")
register(ActivityConfig, check_data=check_data, build=build, data=[DATA])
