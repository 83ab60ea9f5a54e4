"""What goes into a model and what comes out of it, for each kind of task; arrays are NumPy's in tasks, JAX's in models.

A task's `inputs` is one of `Tokens`, `Vectors`, `Sentences`, `Frames` and `Measured`. The others are what batches hold,
and what a model hands over.
"""

import dataclasses
from typing import Any, NamedTuple

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Start:
    """Vectors (vocabulary, width) that the model's vectors of tokens start from, float32; compared by identity."""

    vectors: np.ndarray


class Tokens(NamedTuple):
    """Inputs are integers below ``vocabulary``."""

    vocabulary: int
    start: Start | None = None
    """None: from random vectors."""


class Vectors(NamedTuple):
    """Inputs are vectors of ``features`` numbers."""

    features: int


class Judged(NamedTuple):
    """Inputs of `Tokens` with an opinion on each row, which the model adds to its own outputs (Wolpert 1992).

    That of a training row has to come from a judge that did not see its target; the model would trust it too far.
    """

    tokens: Any
    """int32 (B, T)."""
    logits: Any
    """float32 (B, outputs)."""


class Pooled(NamedTuple):
    """What the model's method `pooled` gives for each row: its answer, and which steps that rests on."""

    outputs: Any
    """float32 (B, outputs), those of a call."""
    weights: Any
    """float32 (B, T): of each step, 0 in the padding, with sum 1; None with a read-out that learns no weights."""


class SourceAndTarget(NamedTuple):
    """Inputs of a batch, int32; its `seq_lengths` are those of the sources."""

    source: Any
    """(B, S), padded with any token."""
    target_in: Any
    """(B, L): the start token, then the target without its last token; the batch's targets are (B, L), the target with
    the end token, and its weights say how far it goes."""


class Sentences(NamedTuple):
    """Inputs are a `SourceAndTarget`; the model tells each token of the target from those before it."""

    source_vocabulary: int
    target_vocabulary: int
    start: int
    """The target's first token, which is told to the model and never comes out of it."""
    end: int
    """The target's last token."""
    max_steps: int
    """The longest target that is searched for, with its end token."""


class Translation(NamedTuple):
    """What the model's method `translate` gives for each source; N = `Sentences.max_steps`."""

    tokens: Any
    """int32 (B, N): the best target found, end tokens from its end on."""
    lengths: Any
    """int32 (B,): how many of them, with the end token (if it was reached within N tokens)."""
    weights: Any
    """float32 (B, N, S): how much each step attended to each token of the source."""


class Frames(NamedTuple):
    """Inputs are films (B, T, height, width, channels); a frame at the output is (height * width * channels,)."""

    height: int
    width: int
    channels: int
    given: int = 1
    """How many frames of a film a forecast may see before it is fed its own."""


class Forecast(NamedTuple):
    """What a model that is trained to give the next frame makes of films of T frames."""

    next_frames: Any
    """(B, T, height * width * channels): after each frame, from the film so far."""
    own_frames: Any
    """(B, T - given + 1, ...): after the frames given, each from the given ones and its own before it."""


class Measurements(NamedTuple):
    """Inputs of a batch, as a GRU-D reads them; features are standardised, so that 0 is the mean of each."""

    x: Any
    """float32 (B, T, I), 0 where not observed."""
    observed: Any
    """float32 (B, T, I), 1 where observed, else 0."""
    gap: Any
    """float32 (B, T, I): the time since each feature was last observed."""


class Measured(NamedTuple):
    """Inputs are `Measurements` of ``features`` features."""

    features: int
