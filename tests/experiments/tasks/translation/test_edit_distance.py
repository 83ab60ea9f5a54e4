"""The edit distance against a search of all ways."""

import functools

import numpy as np

from experiments.tasks.translation.edit_distance import edit_distance


def test_edit_distance_is_the_shortest_path():
    @functools.cache
    def shortest(a, b):
        if not a or not b:
            return len(a) + len(b)
        return min(shortest(a[1:], b) + 1, shortest(a, b[1:]) + 1, shortest(a[1:], b[1:]) + (a[0] != b[0]))

    rng = np.random.default_rng(0)
    for _ in range(200):
        a, b = (tuple(rng.integers(3, size=rng.integers(7)).tolist()) for _ in range(2))
        assert edit_distance(a, b) == shortest(a, b)
