"""Square images of one channel: training images are changed a little, anew at each step; all are read in pieces."""

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from experiments.config.block import Block
from experiments.tasks.task import Batch, stored


class ImageAugmentation(Block):
    """Changes made to each training image, drawn afresh at every step, uniform between minus and plus their bounds."""

    shift: Annotated[float, Field(ge=0, le=8)] = 0.0
    """Pixels, down and to the right; what is uncovered is blank."""
    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0
    """Degrees, about the middle of the image."""
    stretch: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The part by which the height of the image grows and, drawn separately, its width."""
    shear: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The slant of the image to the right, as a part of its height."""
    ink: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The part by which the brightness of the image grows."""
    noise: Annotated[float, Field(ge=0)] = 0.0
    """Not uniform: the standard deviation of normal noise in each pixel; pixels lie in [0, 1]."""


def in_pieces(
    splits: Mapping[str, tuple[np.ndarray, np.ndarray]], steps: int, augmentation: ImageAugmentation
) -> dict[str, Any]:
    """``train_batch`` and ``split_batches`` of a task that reads images (B, side, side) row by row in ``steps`` pieces.

    ``splits``: images and their labels (B,), int32. Training images alone are augmented.
    """

    def batch(images: np.ndarray, labels: np.ndarray) -> Batch:
        inputs = np.ascontiguousarray(images.reshape(len(images), steps, -1))
        return Batch(inputs, labels, np.ones(len(labels), np.float32))

    def augmented(rows: Batch, rng: np.random.Generator) -> Batch:
        images = rows.inputs.reshape(-1, *splits["train"][0].shape[1:])
        return batch(augment(images, augmentation, rng), rows.targets)

    return stored({split: batch(*there) for split, there in splits.items()}, augmented)


def augment(images: np.ndarray, augmentation: ImageAugmentation, rng: np.random.Generator) -> np.ndarray:
    """Change images (B, side, side), each in its own way; float32, same shape."""

    def draw(bound: float, *shape: int) -> np.ndarray:
        return rng.uniform(-bound, bound, (len(images), *shape))

    if augmentation.shift or augmentation.rotation or augmentation.stretch or augmentation.shear:
        angle = np.deg2rad(draw(augmentation.rotation))
        turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], axis=-1).reshape(-1, 2, 2)
        if augmentation.shear:
            slant = np.tile(np.eye(2), (len(images), 1, 1))
            slant[:, 1, 0] = draw(augmentation.shear)
            turn = slant @ turn
        images = warp(images, turn / (1 + draw(augmentation.stretch, 2, 1)), draw(augmentation.shift, 2))
    if augmentation.ink:
        images = images * (1 + draw(augmentation.ink, 1, 1))
    if augmentation.noise:
        images = images + augmentation.noise * rng.standard_normal(images.shape)
    return images.astype(np.float32)


def warp(images: np.ndarray, matrices: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """New images: pixel p is the old one at ``matrix @ (p - middle) + middle - shift``, by bilinear interpolation.

    ``images`` (B, side, side), blank outside; ``matrices`` (B, 2, 2) and ``shifts`` (B, 2) count rows, then columns.
    """
    side = images.shape[1]
    rows = np.arange(len(images))[:, None]
    middle = (side - 1) / 2
    pixels = np.indices((side, side)).reshape(2, -1)
    places = np.moveaxis(matrices @ (pixels - middle) + middle - shifts[:, :, None], 1, 0)
    # A blank border stands for all that lies outside; places move by one to count from its corner.
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    places = np.clip(places + 1, 0, side + 1)
    corner = np.minimum(places.astype(int), side)
    down, right = places - corner
    top, left = corner
    upper = (1 - right) * padded[rows, top, left] + right * padded[rows, top, left + 1]
    lower = (1 - right) * padded[rows, top + 1, left] + right * padded[rows, top + 1, left + 1]
    return ((1 - down) * upper + down * lower).reshape(images.shape)
