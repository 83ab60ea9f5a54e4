"""Clips of digits that move straight on and bounce off the edges of the frame."""

import numpy as np

from experiments.tasks.images.augmentation import ImageAugmentation, augment
from experiments.tasks.images.digits import Images

DIGIT_SIDE = 8
"""Height and width of a digit, in pixels."""


def draw_digits(
    rng: np.random.Generator, images: Images, count: int, digits: int, augmentation: ImageAugmentation
) -> tuple[np.ndarray, np.ndarray]:
    """The digits of ``count`` clips: images (count, digits, 8, 8), and what they show, int (count, digits).

    The digits of a clip are different ones; every set of them, and every image of a digit, is as likely as any other.
    """
    labels = rng.permuted(np.tile(np.arange(10), (count, 1)), axis=1)[:, :digits]
    by_label = np.argsort(images.labels, kind="stable")
    of_label = np.bincount(images.labels, minlength=10)
    place = np.floor(rng.random(labels.shape) * of_label[labels]).astype(int)
    picked = by_label[(np.cumsum(of_label) - of_label)[labels] + place]
    pixels = augment(images.pixels[picked.ravel()], augmentation, rng)
    return pixels.reshape(count, digits, DIGIT_SIDE, DIGIT_SIDE), labels


def draw_corners(
    rng: np.random.Generator, count: int, digits: int, steps: int, side: int, speed: tuple[float, float]
) -> np.ndarray:
    """The upper left corners of digits in each frame: (count, digits, steps, 2), row and column, in pixels.

    They lie in [0, side - 8] and start anywhere there. A digit moves straight on in any direction; each edge sends it
    back. ``speed``: lowest and highest pixels a frame.
    """
    room = side - DIGIT_SIDE
    start = rng.uniform(0, room, (count, digits, 1, 2))
    angle = rng.uniform(0, 2 * np.pi, (count, digits, 1))
    pace = rng.uniform(*speed, (count, digits, 1, 1))
    unbounded = start + pace * np.stack([np.sin(angle), np.cos(angle)], axis=-1) * np.arange(steps)[:, None]
    # A triangle wave goes to and fro between the edges.
    return room - np.abs(unbounded % (2 * room) - room)


def draw_frames(digits: np.ndarray, corners: np.ndarray, side: int) -> np.ndarray:
    """Frames (count, steps, side, side) float32 of ``digits`` (count, digits, 8, 8) at ``corners``.

    ``corners`` are those of `draw_corners`. Between pixels a digit is interpolated bilinearly; where digits overlap,
    the brighter one shows.
    """
    pixels, places = np.arange(side, dtype=np.float32), np.arange(DIGIT_SIDE, dtype=np.float32)
    corners, digits = (values.astype(np.float32) for values in (corners, digits))
    # How much row i of a digit adds to row p of the frame, and column i to column p: (..., 2, side, 8).
    distance = pixels[:, None] - (corners[..., None, None] + places)
    shares = np.maximum(1 - np.abs(distance), 0)
    films = shares[..., 0, :, :] @ digits[:, :, None] @ np.swapaxes(shares[..., 1, :, :], -1, -2)
    return films.max(axis=1)
