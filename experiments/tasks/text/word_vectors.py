"""Makes word vectors of the texts alone, without labels: words with like neighbours get like vectors.

Counts of neighbours become positive pointwise mutual information, and a singular value decomposition reduces it to a
few columns (Levy and Goldberg 2014, "Neural word embedding as implicit matrix factorization"). Levy, Goldberg and Dagan
(2015) recommend the smoothing and the square root of the singular values. Memory: two float32 matrices of vocabulary².
"""

from collections.abc import Iterable, Sequence

import numpy as np

WINDOW = 5
"""Words to either side that count as near; one at distance d counts 1/d."""
SMOOTHING = 0.75
"""The exponent of a neighbour's share, so that rare neighbours do not count for too much."""
_EXTRA, _ROUNDS = 20, 4
"""Extra columns, and rounds, of the randomised decomposition (Halko et al. 2011)."""


def word_vectors(texts: Iterable[Sequence[int]], vocabulary: int, width: int) -> np.ndarray:
    """Vectors (``vocabulary``, ``width``) of the words 0, 1, ..., float32, the column that explains most first.

    Their root mean square is 1; a word that no text has gets zeros. Raises ValueError for a width above the number
    of words.
    """
    if width > vocabulary:
        raise ValueError(f"width: expected at most {vocabulary}, one a word, got {width}")
    vectors = _columns(_associations(_neighbours(texts, vocabulary)), width)
    size = float(np.sqrt(np.mean(np.square(vectors))))
    return (vectors / max(size, 1e-12)).astype(np.float32)


def _neighbours(texts: Iterable[Sequence[int]], vocabulary: int) -> np.ndarray:
    """How often word j stands near word i: (vocabulary, vocabulary), symmetric."""
    near = np.zeros((vocabulary, vocabulary), np.float32)
    for text in texts:
        words = np.asarray(text)
        for distance in range(1, min(WINDOW + 1, len(words))):
            np.add.at(near, (words[:-distance], words[distance:]), np.float32(1 / distance))
    return near + near.T


def _associations(near: np.ndarray) -> np.ndarray:
    """Mutual information max(0, log P(i, j) / (P(i) P'(j))); P'(j) is proportional to P(j) ** `SMOOTHING`."""
    each = near.sum(axis=1)
    smooth = each**SMOOTHING
    expected = np.outer(each, smooth / smooth.sum())
    ratio = np.divide(near, expected, out=np.ones_like(near), where=near > 0)
    return np.log(np.maximum(ratio, 1))


def _columns(matrix: np.ndarray, width: int) -> np.ndarray:
    """U sqrt(S) of the ``width`` largest singular values; which sign a column has is arbitrary."""
    rows = len(matrix)
    start = np.random.default_rng(0).standard_normal((rows, min(width + _EXTRA, rows)), np.float32)
    basis = np.linalg.qr(matrix @ start)[0]
    for _ in range(_ROUNDS):
        basis = np.linalg.qr(matrix @ (matrix.T @ basis))[0]
    left, values, _ = np.linalg.svd(basis.T @ matrix, full_matrices=False)
    return (basis @ left)[:, :width] * np.sqrt(values[:width])
