"""The edit distance between what a model wrote and what it should have written."""

from collections.abc import Sequence
from typing import Any


def edit_distance(this: Sequence[Any], that: Sequence[Any]) -> int:
    """The fewest insertions, deletions and substitutions that turn one into the other (Levenshtein 1966)."""
    row = list(range(len(that) + 1))
    for i, a in enumerate(this, start=1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(that, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return row[-1]
