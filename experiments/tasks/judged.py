"""Rows of tokens that something else has judged before, so that a model only has to learn what that missed."""

from typing import Any, NamedTuple


class Judged(NamedTuple):
    """Inputs of `Tokens` with an opinion on each row, which the model adds to its own outputs (Wolpert 1992).

    That of a training row has to come from a judge that did not see its target; the model would trust it too far.
    """

    tokens: Any
    """int32 (B, T)."""
    logits: Any
    """float32 (B, outputs)."""
