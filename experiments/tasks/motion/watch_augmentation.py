"""Cuts a window out of a longer piece of a smart-watch recording and changes it, anew at each step."""

from typing import Annotated

import numpy as np
from pydantic import Field

from experiments.config.block import Block

# The mirror image of a movement, left hand for right, reverses the acceleration along x. Rates of turn are axial
# vectors: their mirror images keep the one about x and reverse the other two.
MIRROR = np.array([-1, 1, 1, 1, -1, -1])


class WatchAugmentation(Block):
    """Changes made to each training window, drawn afresh at every step, uniform between minus and plus their bounds."""

    shift: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Seconds by which the window begins later; at most what the piece leaves on both sides."""
    tempo: Annotated[float, Field(ge=0, le=0.4)] = 0.0
    """The part by which the window is longer before it is resampled to its steps: a slower or faster person."""
    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0
    """Degrees, about an axis of any direction: the watch sits on the wrist in another way."""
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The part by which values are larger, drawn separately for accelerations and rates of turn."""
    mirror: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """The probability that the other arm makes the movement."""
    noise: Annotated[float, Field(ge=0)] = 0.0
    """Not uniform: the standard deviation of normal noise in each number, in units of the recordings."""


def augment(
    pieces: np.ndarray, window: int, steps: int, rate: float, augmentation: WatchAugmentation, rng: np.random.Generator
) -> np.ndarray:
    """Windows of ``window`` samples, as (B, steps, 6), out of the middles of pieces (B, samples, 6).

    ``rate``: samples a second. Features: acceleration along x, y, z, rate of turn about x, y, z; not standardised.
    """
    count, samples, _ = pieces.shape

    def draw(bound: float, *shape: int) -> np.ndarray:
        return rng.uniform(-bound, bound, (count, *shape))

    length = window * (1 + draw(augmentation.tempo))
    shift = np.clip(draw(augmentation.shift) * rate, (length - samples) / 2, (samples - length) / 2)
    windows = resample(pieces, (samples - length) / 2 + shift, length, steps)
    if augmentation.rotation:
        turns = rotations(rng.standard_normal((count, 3)), np.deg2rad(draw(augmentation.rotation)))
        arrows = windows.reshape(count, steps, 2, 3)
        windows = np.einsum("bij,btsj->btsi", turns, arrows).reshape(windows.shape)
    windows = windows * np.repeat(1 + draw(augmentation.scale, 1, 2), 3, axis=-1)
    if augmentation.mirror:
        windows = np.where(rng.random((count, 1, 1)) < augmentation.mirror, windows * MIRROR, windows)
    if augmentation.noise:
        windows = windows + augmentation.noise * rng.standard_normal(windows.shape)
    return windows


def resample(pieces: np.ndarray, start: np.ndarray, length: np.ndarray, steps: int) -> np.ndarray:
    """Cut pieces (B, samples, I), ``length`` (B,) samples from ``start`` (B,) on, into ``steps`` equal parts.

    A step is the value in the middle of its part, linear between samples; sample ``i`` covers the time from i to i + 1.
    """
    middles = (np.arange(steps) + 0.5) / steps
    places = start[:, None] + middles * length[:, None] - 0.5
    places = np.clip(places, 0, pieces.shape[1] - 1)
    before = np.minimum(places.astype(int), pieces.shape[1] - 2)
    part = (places - before)[:, :, None]
    rows = np.arange(len(pieces))[:, None]
    return (1 - part) * pieces[rows, before] + part * pieces[rows, before + 1]


def rotations(axes: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Matrices (B, 3, 3) that turn by ``angles`` (B,), in radians, about ``axes`` (B, 3) of any length.

    Rodrigues' formula: R = 1 + sin(a) K + (1 - cos(a)) K², K v = axis x v.
    """
    x, y, z = (axes / np.linalg.norm(axes, axis=1, keepdims=True)).T
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(-1, 3, 3)
    sine, cosine = np.sin(angles)[:, None, None], np.cos(angles)[:, None, None]
    return np.eye(3) + sine * cross + (1 - cosine) * cross @ cross
