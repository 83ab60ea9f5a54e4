"""What tasks hand over that turn one sequence of tokens into another: translation in the widest sense.

Arrays are NumPy's in tasks and JAX's in models.
"""

from typing import Any, NamedTuple


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
