"""The speech_vowels task: which of nine men spoke two Japanese vowels; 12 cepstra a step, rows of unequal length."""

from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from experiments.tasks import ridge
from experiments.tasks.inputs import Vectors
from experiments.tasks.packages import DataSet, find, sha256
from experiments.tasks.registry import register
from experiments.tasks.speech.recordings import RaggedAugmentation, augment, pad
from experiments.tasks.task import Batch, Task, TaskBlock, pick, stored

SPEAKERS = 9
VALIDATION_ROWS_OF_EACH = 5
"""So many last rows of each speaker validate, of 30 in the training part."""
STEPS = 29
"""The length of the longest row."""


class SpeechVowelsConfig(TaskBlock):
    """``train_on_validation``: train on the 45 validation rows too, once the settings are chosen.

    Validation figures then say nothing, yet training.keep_best would choose by them.
    """

    per_step: ClassVar[bool] = False
    name: Literal["speech_vowels"]
    train_on_validation: bool = False
    augmentation: RaggedAugmentation = RaggedAugmentation()


def check_data(config: SpeechVowelsConfig) -> None:
    """Raise UserError if the data files are not installed; nothing is loaded."""
    _files()


def build(config: SpeechVowelsConfig) -> Task:
    """Load the rows: inputs (B, 29, 12), standardised with the statistics of the training rows; one class of nine."""
    files = _files()
    (rows, classes), (test_rows, test_classes) = (_read(file) for file in files)
    held_out = _last_of_each(classes)
    train = np.arange(len(rows)) if config.train_on_validation else np.flatnonzero(~held_out)
    frames = np.concatenate([rows[row] for row in train])
    mean, scale = frames.mean(axis=0), frames.std(axis=0)

    def batch(rows: list[np.ndarray], classes: np.ndarray) -> Batch:
        inputs, lengths = pad([(row - mean) / scale for row in rows], STEPS)
        return Batch(inputs, classes, np.ones(len(classes), np.float32), lengths)

    official, test = batch(rows, classes), batch(test_rows, test_classes)
    splits = {"train": pick(official, train), "validation": pick(official, np.flatnonzero(held_out)), "test": test}

    return Task(
        name=config.name,
        inputs=Vectors(official.inputs.shape[2]),
        outputs=SPEAKERS,
        per_step=config.per_step,
        loss="cross_entropy",
        metrics=("accuracy", "nll"),
        floor={
            "accuracy": ridge.accuracy(
                ridge.summaries(official.inputs, official.seq_lengths),
                classes,
                ridge.summaries(test.inputs, test.seq_lengths),
                test_classes,
            )
        },
        floor_note=(
            "ridge regression on mean, sd, first, middle and last frame, penalty 1, trained on all 270 rows; a penalty "
            "of 30, which ten-fold cross-validation on them likes best (0.980 right against 0.976), gives 0.9865"
        ),
        **stored(splits, lambda rows, rng: augment(rows, config.augmentation, rng)),
        class_names=tuple(str(speaker + 1) for speaker in range(SPEAKERS)),
        facts={"sha256": sha256(*files)} | {f"{name}_rows": len(rows.targets) for name, rows in splits.items()},
    )


def _files() -> tuple[Path, Path]:
    folder = find("aeon", "datasets/data/JapaneseVowels", task="speech_vowels")
    # Beside them lie files with `_eq_` in their names, in which every row has been resampled to one length.
    return folder / "JapaneseVowels_TRAIN.ts", folder / "JapaneseVowels_TEST.ts"


def _read(file: Path) -> tuple[list[np.ndarray], np.ndarray]:
    """Rows (length, 12), float64, and their classes (B,), int32, counted from 0.

    A line is one row. Colons separate its fields: the values of each feature over time, with commas, and the class.
    """
    lines = [line for line in file.read_text().splitlines() if line and line[0] not in "#@"]
    fields = [line.split(":") for line in lines]
    rows = [np.array([values.split(",") for values in row[:-1]], np.float64).T for row in fields]
    return rows, np.array([int(row[-1]) - 1 for row in fields], np.int32)


def _last_of_each(classes: np.ndarray) -> np.ndarray:
    """Which rows are the last of their speaker: (B,), bool."""
    held_out = np.zeros(len(classes), bool)
    for speaker in range(SPEAKERS):
        held_out[np.flatnonzero(classes == speaker)[-VALIDATION_ROWS_OF_EACH:]] = True
    return held_out


DATA = DataSet("Japanese vowels", "aeon", "datasets/data/JapaneseVowels", "CC BY 4.0")
register(SpeechVowelsConfig, check_data=check_data, build=build, data=[DATA])
