"""The goals that configs were written to reach on the test split; a page of results says which are missed."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Goal(NamedTuple):
    """The deciding metric of a config and the value it should reach, on the mean over seeds."""

    metric: str
    value: float
    of_floor: bool = False
    """Whether ``value`` is a share of the floor."""


GOALS: Mapping[str, Goal] = MappingProxyType(
    {
        "speech_vowels": Goal("accuracy", 0.98),
        "speech_digits": Goal("accuracy", 0.97),
        "digits_mnist": Goal("accuracy", 0.95),
        "digits_mnist_pixels": Goal("accuracy", 0.90),
        "translation": Goal("exact_match", 0.99),
        "pronunciation": Goal("phone_error_rate", 0.12),
        "forecast": Goal("mae", 0.22),
        "video": Goal("mse", 0.5, of_floor=True),
        "video_digits": Goal("digit_accuracy", 0.9),
        "robot_dynamics": Goal("r2", 0.98),
        "activity": Goal("accuracy", 0.88),
        "music": Goal("nll_per_step", 8.6),
    }
)
"""By config. A config without a goal has its floor to beat."""
