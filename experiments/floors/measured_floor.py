"""A floor measured again, beside the constant that the task has for it."""

import re
from typing import NamedTuple

_LEAST_DECIMALS = 3


class MeasuredFloor(NamedTuple):
    """One figure, beside the task's constant for it."""

    task: str
    metric: str
    value: float
    constant: str
    """As the task writes it, with its decimals; "" if the task has none any more."""

    @property
    def agrees(self) -> bool:
        """Whether the constant is the value, rounded to the decimals that it has."""
        if not self.constant:
            return False
        decimals = len(self.constant.partition(".")[2])
        # Half a decimal is no binary fraction, so it may be rounded to either side.
        return abs(self.value - float(self.constant)) <= 0.5 * 10.0**-decimals + 1e-9


def constant_as_text(constant: float) -> str:
    """A constant of a floor as text, with three decimals or more: 0.9 stands for 0.900."""
    text = str(constant)
    return text + "0" * (_LEAST_DECIMALS - len(text.partition(".")[2]))


def in_note(note: str, before: str, after: str = "") -> str:
    """The number between two pieces of a floor's note, "" if there is none."""
    found = re.search(re.escape(before) + r"(\d+\.\d+)" + re.escape(after), note)
    return found[1] if found else ""
