"""How summaries are scored, and the scores of three ways to summarise without a model."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from experiments.tasks.summaries.docstrings import Pair, first_sentence, words
from experiments.tasks.summaries.rouge import rouge_l

FIRST_WORDS = 10
"""The length of one floor. Lengths from 8 to 15 differ by 0.007 on the validation split, where 10 is best (0.1742)."""


def score(pairs: Sequence[Pair], found: Iterable[Sequence[str]]) -> float:
    """The mean ROUGE-L of ``found``, as words, against the summaries."""
    return float(np.mean([rouge_l(words(pair.summary), said) for pair, said in zip(pairs, found, strict=True)]))


def floors(pairs: Sequence[Pair], nearest: Sequence[Pair]) -> dict[str, Any]:
    """``floor`` and ``floor_note`` of a task: the best of three ways. ``nearest``: see `docstrings.Docstrings`."""
    scores = {
        name: round(score(pairs, found), 4)
        for name, found in {
            "the first sentence of the description": [words(first_sentence(pair.description)) for pair in pairs],
            f"its first {FIRST_WORDS} words": [words(pair.description)[:FIRST_WORDS] for pair in pairs],
            "the summary of the training description that is most like it (tf-idf)": [
                words(pair.summary) for pair in nearest
            ],
        }.items()
    }
    note = "; ".join(f"{name}: {value}" for name, value in scores.items())
    return {"floor": {"rouge_l": max(scores.values())}, "floor_note": f"{note}; the same pairs"}
