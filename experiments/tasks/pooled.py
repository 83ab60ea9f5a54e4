"""What a model hands over that pools the steps of a sequence with learned weights."""

from typing import Any, NamedTuple


class Pooled(NamedTuple):
    """What the model's method `pooled` gives for each row: its answer, and which steps that rests on."""

    outputs: Any
    """float32 (B, outputs), those of a call."""
    weights: Any
    """float32 (B, T): of each step, 0 in the padding, with sum 1; None with a read-out that learns no weights."""
