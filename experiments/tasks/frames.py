"""Films: what a model of frames reads, and what it forecasts."""

from typing import Any, NamedTuple


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
