"""ROUGE-L (Lin 2004, section 3.1): how much of two texts their longest common subsequence of words covers."""

from collections.abc import Sequence
from typing import Any


def common_subsequence(this: Sequence[Any], that: Sequence[Any]) -> int:
    """The length of the longest common subsequence."""
    row = [0] * (len(that) + 1)
    for a in this:
        diagonal = 0
        for j, b in enumerate(that, start=1):
            diagonal, row[j] = row[j], diagonal + 1 if a == b else max(row[j], row[j - 1])
    return row[-1]


def rouge_l(reference: Sequence[Any], found: Sequence[Any]) -> float:
    """F1 = 2 P R / (P + R) with R = LCS / |reference|, P = LCS / |found|; 0 if either is empty."""
    total = len(reference) + len(found)
    return 2 * common_subsequence(reference, found) / total if total else 0.0


def shared(this: Sequence[Any], that: Sequence[Any]) -> list[bool]:
    """Which of ``this`` are on the longest common subsequence, or on the one that begins first of several."""
    rows, columns = len(this), len(that)
    longest = [[0] * (columns + 1) for _ in range(rows + 1)]
    for i in reversed(range(rows)):
        for j in reversed(range(columns)):
            same = this[i] == that[j]
            longest[i][j] = longest[i + 1][j + 1] + 1 if same else max(longest[i + 1][j], longest[i][j + 1])
    on = [False] * rows
    i = j = 0
    while i < rows and j < columns:
        if this[i] == that[j]:
            on[i] = True
            i, j = i + 1, j + 1
        elif longest[i][j + 1] >= longest[i + 1][j]:
            j += 1
        else:
            i += 1
    return on
