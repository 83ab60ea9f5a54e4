"""ROUGE-L and the longest common subsequence, against enumeration and the examples of the paper."""

import functools
import itertools

import numpy as np
import pytest

from experiments.tasks.summaries.docstrings import words
from experiments.tasks.summaries.rouge import common_subsequence, rouge_l, shared


def test_the_longest_common_subsequence():
    @functools.cache
    def longest(a, b):
        if not a or not b:
            return 0
        return max(longest(a[1:], b), longest(a, b[1:]), longest(a[1:], b[1:]) + 1 if a[0] == b[0] else 0)

    rng = np.random.default_rng(0)
    for _ in range(200):
        a, b = (tuple(rng.integers(3, size=rng.integers(8)).tolist()) for _ in range(2))
        assert common_subsequence(a, b) == longest(a, b)
        # Of the subsequences of a that b has too and that are longest, the one whose places come first.
        places = next(
            places
            for places in itertools.combinations(range(len(a)), longest(a, b))
            if longest(tuple(a[place] for place in places), b) == len(places)
        )
        assert [place for place, on in enumerate(shared(a, b)) if on] == list(places)


def test_rouge_l():
    """Lin 2004, section 3.1: LCS 3 and 2 of 4 words on either side."""
    reference = words("Police killed the gunman.")
    assert rouge_l(reference, words("police kill the gunman")) == 0.75
    assert rouge_l(reference, words("the gunman kill police")) == 0.5
    assert rouge_l(reference, ["police"]) == pytest.approx(2 * 1 * 0.25 / 1.25)
    assert rouge_l(reference, []) == rouge_l([], []) == 0
