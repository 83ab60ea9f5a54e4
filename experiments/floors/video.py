"""video: which digits a clip shows, by ridge regression on its features; the validation clips choose the penalty."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from experiments.floors.measured_floor import MeasuredFloor, constant_as_text, in_note
from experiments.tasks.task import Task
from experiments.tasks.video.video import VideoConfig, build

CONFIG = VideoConfig(name="video", target="digits", steps=8)
PENALTIES = (10, 100, 1000)
_CLIPS, _BATCHES = 500, 6
"""Training clips of a batch, and batches: the clips of the first training steps of seed 0."""
_SIDE = 24
"""Frames are padded to this before the Fourier transform."""


def measure() -> Iterator[MeasuredFloor]:
    """By power spectrum, the shares of clips and of digits named right; by pixels, as in the note, that of clips."""
    task = build(CONFIG)
    found = scores(task, spectrum)
    for metric in ("exact_match", "digit_accuracy"):
        yield MeasuredFloor("video", metric, found[metric], constant_as_text(task.floor[metric]))
    constant = in_note(task.floor_note, "deviation of each pixel it names ")
    yield MeasuredFloor("video", "exact_match, by pixels", scores(task, pixels)["exact_match"], constant)


def spectrum(clips: np.ndarray) -> np.ndarray:
    """The logarithm of the frames' mean power spectrum: (B, T, side, side) -> (B, features)."""
    power = np.abs(np.fft.rfft2(clips, s=(_SIDE, _SIDE))) ** 2
    return np.log(power.mean(axis=1).reshape(len(clips), -1) + 1e-3)


def pixels(clips: np.ndarray) -> np.ndarray:
    """Mean and standard deviation of each pixel: (B, T, side, side) -> (B, 2 side²)."""
    each = clips.reshape(*clips.shape[:2], -1)
    return np.concatenate([each.mean(axis=1), each.std(axis=1)], axis=1)


def scores(task: Task, features: Callable[[np.ndarray], np.ndarray]) -> dict[str, float]:
    """The task's own metrics on the test clips, with the penalty that is best on the validation clips."""
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    batches = [task.train_batch(0, step, _CLIPS) for step in range(_BATCHES)]
    train = features(np.concatenate([batch.inputs for batch in batches])[..., 0])
    shown = np.concatenate([batch.targets for batch in batches])
    fits = [make_pipeline(StandardScaler(), Ridge(penalty)).fit(train, shown) for penalty in PENALTIES]

    def score(fitted: Any, split: str) -> dict[str, float]:
        (batch,) = task.split_batches(split, max(CONFIG.validation_rows, CONFIG.test_rows))
        assess: Any = task.assess
        return assess([(batch, fitted.predict(features(batch.inputs[..., 0])))]).metrics

    return score(max(fits, key=lambda fitted: score(fitted, "validation")["exact_match"]), "test")
