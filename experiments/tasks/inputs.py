"""What goes into a model and what comes out of it, for each kind of task; arrays are NumPy's in tasks, JAX's in models.

A task's `inputs` is one of `Tokens`, `Vectors`, `Sentences`, `Frames` and `MeasuredFeatures`. The other classes are
parts of these, of batches, and of what models return.
"""

import dataclasses
from typing import Any, NamedTuple

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class InitialVectors:
    """Initial token vectors of a model, (vocabulary, width) float32; compared by identity."""

    vectors: np.ndarray


class Tokens(NamedTuple):
    """Inputs are integers below ``vocabulary``."""

    vocabulary: int
    initial_vectors: InitialVectors | None = None
    """None: random vectors."""


class Vectors(NamedTuple):
    """Inputs are vectors of ``features`` numbers."""

    features: int


class Judged(NamedTuple):
    """Tokens with the logits of a judge for each row, which the model adds to its own outputs (Wolpert 1992).

    The judge of a training row must not have seen its target, or the model would trust the judge too far.
    """

    tokens: Any
    """int32 (B, T)."""
    logits: Any
    """float32 (B, outputs)."""


class Pooled(NamedTuple):
    """What the model's method `pooled` gives for each row: an answer, and the steps that the answer rests on."""

    outputs: Any
    """float32 (B, outputs), as a call of the model gives them."""
    weights: Any
    """float32 (B, T), one for each step, 0 in the padding, sum 1; None if the read-out learns no weights."""


class SourceAndTarget(NamedTuple):
    """Inputs of a batch, int32; the batch's `seq_lengths` are those of the sources."""

    source: Any
    """(B, S), padded with any token."""
    target_in: Any
    """(B, L): the start token, then the target without its last token. The batch's targets, (B, L), are the target with
    the end token; the batch's weights say where each target ends."""


class Sentences(NamedTuple):
    """Inputs are a `SourceAndTarget`; the model predicts each token of the target from the source and those so far."""

    source_vocabulary: int
    target_vocabulary: int
    start: int
    """The token that the model is given before the target; it is no part of the target."""
    end: int
    """The target's last token."""
    max_steps: int
    """Length of the longest target that is searched for, with its end token."""


class Translation(NamedTuple):
    """What the model's method `translate` gives for each source; N = `Sentences.max_steps`."""

    tokens: Any
    """int32 (B, N): the best target found, end tokens from its end on."""
    lengths: Any
    """int32 (B,): how many of the tokens count, with the end token (if it was reached within N tokens)."""
    weights: Any
    """float32 (B, N, S): how much each step attended to each token of the source."""


class Frames(NamedTuple):
    """Inputs are films (B, T, height, width, channels); a frame at the output is (height * width * channels,)."""

    height: int
    width: int
    channels: int
    given: int = 1
    """How many frames of a film a forecast sees before it is fed its own."""


class Forecast(NamedTuple):
    """What the method `forecast` of a next-frame model returns for films of T frames."""

    next_frames: Any
    """(B, T, height * width * channels): the frame after each, from the film so far."""
    own_frames: Any
    """(B, T - given + 1, ...): the frames after the given ones, each from those and the model's own before it."""


class Measurements(NamedTuple):
    """Inputs of a batch, as a GRU-D reads them; features are standardised, so that 0 is the mean of each."""

    x: Any
    """float32 (B, T, I), 0 where not observed."""
    observed: Any
    """float32 (B, T, I), 1 where observed, else 0."""
    gap: Any
    """float32 (B, T, I): the time since each feature was last observed."""


class MeasuredFeatures(NamedTuple):
    """Inputs are `Measurements` of ``features`` features."""

    features: int
