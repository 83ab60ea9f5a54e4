"""Scores of next-frame forecasts: those of simple baselines, and those of a model on a test split."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from experiments.tasks.task import Assessment, Batch

_REACH = 2
"""The linear baseline sees the pixels at most so far away, in rows and in columns."""
_CLIPS_SHOWN = 2
_CLIPS_AT_ONCE = 25
"""The linear baseline is scored on so many clips at once, so that they stay in the processor's cache."""


def copying_errors(films: np.ndarray, given: int) -> dict[str, float]:
    """Mean squared errors on films (B, T, side, side) of copying the last frame as the next one ("mse"), and of copying
    the frame numbered ``given`` as all that follow ("rollout_mse").
    """
    last, held = films[:, :-1], films[:, given - 1 : given]
    return {
        "mse": round(float(((films[:, 1:] - last) ** 2).mean()), 5),
        "rollout_mse": round(float(((films[:, given:] - held) ** 2).mean()), 5),
    }


def constant_errors(frame: np.ndarray, films: np.ndarray, given: int) -> dict[str, float]:
    """The errors of `copying_errors`, of always saying ``frame`` (side, side) instead."""
    errors = {"mse": films[:, 1:] - frame, "rollout_mse": films[:, given:] - frame}
    return {metric: round(float((error**2).mean()), 5) for metric, error in errors.items()}


def linear_error(train: np.ndarray, test: np.ndarray) -> float:
    """Mean squared error on films ``test`` of the linear regression fitted to ``train``, both (B, T, side, side).

    A pixel of the next frame is predicted from the 5x5 pixels around its place in this frame and in the one before; the
    first frame stands for the one before it.
    """
    x, y = _neighbourhoods(train)
    weights = np.linalg.lstsq(x.T @ x, x.T @ y, rcond=None)[0]
    total = 0.0
    for first in range(0, len(test), _CLIPS_AT_ONCE):
        films = test[first : first + _CLIPS_AT_ONCE]
        total += float(((_predicted(weights, films) - films[:, 1:]) ** 2).sum(dtype=np.float64))
    return total / test[:, 1:].size


def _padded(films: np.ndarray) -> np.ndarray:
    """Films with a black border, and with the first frame twice."""
    edge = (_REACH, _REACH)
    padded = np.pad(films, ((0, 0), (1, 0), edge, edge), mode="constant")
    padded[:, 0] = padded[:, 1]
    return padded


def _predicted(weights: np.ndarray, films: np.ndarray) -> np.ndarray:
    """The frames that the regression predicts; sums of shifted frames take less time than `_neighbourhoods`."""
    height, width = films.shape[2:]
    padded, reach = _padded(films), 2 * _REACH + 1
    told = np.full_like(films[:, 1:], weights[-1])
    for place, (here, before) in enumerate(zip(*weights[:-1].reshape(2, -1), strict=True)):
        row, column = divmod(place, reach)
        shifted = padded[:, :, row : row + height, column : column + width]
        told += here * shifted[:, 1:-1] + before * shifted[:, :-2]
    return told


def _neighbourhoods(films: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For every pixel to predict: the pixels around its place, with a one for the intercept, and the pixel itself."""
    padded, width = _padded(films), 2 * _REACH + 1
    around = np.lib.stride_tricks.sliding_window_view(padded, (width, width), axis=(2, 3))
    here, before = (part.reshape(-1, width**2) for part in (around[:, 1:-1], around[:, :-2]))
    return np.concatenate([here, before, np.ones((len(here), 1), films.dtype)], axis=1), films[:, 1:].ravel()


def assess(pairs: Iterable[tuple[Batch, Any]], scale: float, given: int) -> Assessment:
    """The error of forecasts that are fed their own frames, by how far ahead, and pictures of the first clips.

    ``pairs``: batches with the `Forecast` of each; ``scale``: what one unit of a pixel is where white is 1.
    """
    errors, count, pictures = np.zeros((2, 0)), 0, {}
    for batch, (next_frames, own_frames) in pairs:
        real = batch.weights.any(axis=1)
        true = batch.targets[real][:, given - 1 :] * scale
        own = np.asarray(own_frames)[real] * scale
        held = batch.inputs[real].reshape(*batch.inputs[real].shape[:2], -1)[:, given - 1 : given] * scale
        sums = np.stack([((frames - true) ** 2).mean(axis=-1).sum(axis=0, dtype=np.float64) for frames in (own, held)])
        if not count:
            side = batch.inputs.shape[2]
            ahead = np.asarray(next_frames)[real][:, given - 1 :] * scale
            pictures["frames"] = _frames(true, ahead, own, side)
            errors = np.zeros_like(sums)
        errors, count = errors + sums, count + real.sum()
    own_error, held_error = errors / count
    names = {"fed its own frames": own_error, "copying the last frame given": held_error}
    # A given frame has error 0; with it in front, the place of a point is how far ahead it is.
    lines = {name: [0.0, *(round(float(error), 5) for error in line)] for name, line in names.items()}
    panel = {"title": f"after {given} frames", "lines": lines}
    pictures["horizon"] = {"kind": "lines", "x": "frames ahead", "y": "MSE per pixel", "panels": [panel]}
    return Assessment({"rollout_mse": float(own_error.mean())}, pictures)


def _frames(true: np.ndarray, ahead: np.ndarray, own: np.ndarray, side: int) -> dict[str, Any]:
    kinds = {"true": true, "one ahead": ahead, "fed its own": own}
    rows = {
        f"{name} ({clip + 1})": to_picture(frames[clip].reshape(-1, side, side))
        for clip in range(min(_CLIPS_SHOWN, len(true)))
        for name, frames in kinds.items()
    }
    return {"kind": "frames", "rows": rows}


def to_picture(frames: np.ndarray) -> list[Any]:
    """Frames as `experiments.results.pictures` wants them."""
    return np.clip(frames, 0, 1).astype(float).round(3).tolist()
