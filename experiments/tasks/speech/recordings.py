"""Recordings of unequal length: rows are padded, and training rows are changed a little, anew at each step."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from experiments.config.block import Block
from experiments.tasks.task import Batch


class RaggedAugmentation(Block):
    """Changes made to each training row, drawn afresh at every step; features are standardised, so 0 is their mean."""

    crop: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """The largest part of a row that is cut off at its beginning, and likewise at its end."""
    stretch: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The largest part by which a row grows or shrinks, by linear interpolation; no row outgrows the longest one."""
    mask_steps: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The largest part of a row that is set to 0, in one run of steps."""
    mask_features: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The probability that a feature is set to 0 in the whole row."""
    offset: Annotated[float, Field(ge=0)] = 0.0
    """The standard deviation of a normal number added to a feature in the whole row."""
    noise: Annotated[float, Field(ge=0)] = 0.0
    """The standard deviation of normal noise in each number."""


def pad(rows: Sequence[np.ndarray], steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows (length, I) as inputs (B, ``steps``, I), float32, zero after their ends, and their lengths (B,), int32."""
    inputs = np.zeros((len(rows), steps, rows[0].shape[1]), np.float32)
    for padded, row in zip(inputs, rows, strict=True):
        padded[: len(row)] = row
    return inputs, np.array([len(row) for row in rows], np.int32)


def augment(rows: Batch, augmentation: RaggedAugmentation, rng: np.random.Generator) -> Batch:
    """The batch, which must have ``seq_lengths``, with each row changed in its own way; its shape stays."""
    inputs, lengths = _resampled(rows.inputs, np.asarray(rows.seq_lengths), augmentation, rng)
    count, steps, features = inputs.shape
    time = np.arange(steps)
    if augmentation.offset:
        inputs = inputs + augmentation.offset * rng.standard_normal((count, 1, features))
    if augmentation.noise:
        inputs = inputs + augmentation.noise * rng.standard_normal(inputs.shape)
    if augmentation.mask_features:
        inputs = inputs * (rng.random((count, 1, features)) >= augmentation.mask_features)
    if augmentation.mask_steps:
        width = np.floor(rng.uniform(0, augmentation.mask_steps, count) * lengths)
        start = np.floor(rng.random(count) * (lengths - width + 1))
        masked = (time >= start[:, None]) & (time < (start + width)[:, None])
        inputs = inputs * ~masked[:, :, None]
    inside = (time < lengths[:, None])[:, :, None]
    return rows._replace(inputs=(inputs * inside).astype(np.float32), seq_lengths=lengths.astype(np.int32))


def _resampled(
    inputs: np.ndarray, lengths: np.ndarray, augmentation: RaggedAugmentation, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and lengths after crops and stretches; what lies after a row's end is arbitrary."""
    if not (augmentation.crop or augmentation.stretch):
        return inputs, lengths
    count, steps, _ = inputs.shape
    last = lengths - 1
    first = rng.uniform(0, augmentation.crop, count) * last
    final = last - rng.uniform(0, augmentation.crop, count) * last
    growth = 1 + rng.uniform(-augmentation.stretch, augmentation.stretch, count)
    new_lengths = np.clip(np.rint((final - first + 1) * growth), 1, steps).astype(int)
    share = np.arange(steps) / np.maximum(new_lengths - 1, 1)[:, None]
    places = np.clip(first[:, None] + share * (final - first)[:, None], 0, last[:, None])
    before = places.astype(int)
    after = np.minimum(before + 1, last[:, None])
    part = (places - before)[:, :, None]
    row = np.arange(count)[:, None]
    return (1 - part) * inputs[row, before] + part * inputs[row, after], new_lengths
