"""Word vectors against the formulas, counted by loops and decomposed whole."""

import numpy as np
import pytest

from experiments.tasks.text.word_vectors import word_vectors


def by_hand(texts, vocabulary):
    near = np.zeros((vocabulary, vocabulary))
    for text in texts:
        for i, a in enumerate(text):
            for j, b in enumerate(text):
                if 0 < abs(i - j) <= 5:
                    near[a, b] += 1 / abs(i - j)
    share = near.sum(axis=0) ** 0.75
    table = np.zeros_like(near)
    for i in range(vocabulary):
        for j in range(vocabulary):
            if near[i, j]:
                joint, own = near[i, j] / near.sum(), near[i].sum() / near.sum()
                table[i, j] = max(0, np.log(joint / (own * share[j] / share.sum())))
    left, values, _ = np.linalg.svd(table)
    return left * np.sqrt(values)


@pytest.fixture(scope="module")
def texts():
    """Thirty words, of which each text prefers some; the last one never comes."""
    rng = np.random.default_rng(0)
    return [rng.choice(rng.permutation(29)[:9], size=rng.integers(1, 40)).tolist() for _ in range(200)]


def test_they_are_those_of_the_formulas(texts):
    """Up to the sign of a column and one scale."""
    found, expected = word_vectors(texts, 30, 4), by_hand(texts, 30)[:, :4]
    expected /= np.sqrt(np.mean(expected**2))
    signs = np.sign((found * expected).sum(axis=0))
    np.testing.assert_allclose(found * signs, expected, atol=2e-3)
    assert found.dtype == np.float32
    assert not found[29].any()


def test_words_in_the_same_places_are_alike():
    """Words 0 and 1 are interchangeable, 2 and 3 likewise."""
    rng = np.random.default_rng(0)
    texts = [[4, rng.integers(2), 5, 4, 5, 6, 7, 6, 2 + rng.integers(2), 7, 6] for _ in range(300)]
    vectors = word_vectors(texts, 8, 3)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    alike = unit @ unit.T
    assert alike[0, 1] > 0.9
    assert alike[2, 3] > 0.9
    assert alike[0, 2] < 0.6


def test_more_columns_than_words_are_refused():
    with pytest.raises(ValueError, match=r"width: expected at most 3.*got 4"):
        word_vectors([[0, 1, 2]], 3, 4)
