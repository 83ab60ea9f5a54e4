"""Logistic regression on tf-idf of n-grams, and what it says of texts that it was not fitted to."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from experiments.tasks.text import tf_idf

LONGEST = 3
"""Most words of an n-gram."""
PENALTY = 0.1
"""The factor of half the squared weights, which are added to the sum of the losses."""
FOLDS = 5
_STEPS = 100


class Judgements(NamedTuple):
    """Logits of classes, float32 (texts, classes)."""

    fitted: np.ndarray
    """Of the texts that the regression is fitted to, each by a fit to four fifths of them, without it."""
    others: np.ndarray
    """Of other texts, by a fit to all of the former."""


def judgements(
    texts: Sequence[Sequence[str]], labels: np.ndarray, classes: int, others: Sequence[Sequence[str]]
) -> Judgements:
    """Fit to words of ``texts`` and their ``labels`` (texts,) below ``classes``; judge ``texts`` and ``others``.

    The features of a text are its `tf_idf.weights`; n-grams that only ``others`` have do not count. The weights w
    minimise Σ loss + `PENALTY` / 2 · |w|². The logits of a text without n-grams are the logarithms of the classes'
    shares (with one text more of each class).
    """
    rows = len(texts)
    features, of_others = tf_idf.weights(texts, others, longest=LONGEST)
    likeness = (features @ features.T).toarray()
    true = np.eye(classes, dtype=np.float32)[labels]
    fold = np.random.default_rng(0).permutation(rows) % FOLDS
    # One fit for each fold, to the rows outside it, and a last fit to all rows.
    seen = np.stack([fold != number for number in range(FOLDS)] + [fold >= 0], axis=1).astype(np.float32)
    start = np.log((seen.T @ true + 1) / (seen.sum(axis=0)[:, None] + classes))
    duals = _fit(likeness, true, seen, start)
    within = start[fold] + _times(likeness, duals)[np.arange(rows), fold]
    return Judgements(within, start[-1] + _times((of_others @ features.T).toarray(), duals[:, -1:])[:, 0])


def _fit(likeness: np.ndarray, true: np.ndarray, seen: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Weights of the rows (rows, fits, classes), which sum features to w; found by Nesterov's accelerated gradient."""
    shape = (*seen.shape, true.shape[1])
    duals = before = np.zeros(shape, np.float32)
    # The curvature of the loss is at most half the largest eigenvalue.
    steepest = _largest_eigenvalue(likeness) / 2 + PENALTY
    root = np.sqrt(steepest / PENALTY)
    momentum = np.float32((root - 1) / (root + 1))
    for _ in range(_STEPS):
        ahead = duals + momentum * (duals - before)
        logits = start + _times(likeness, ahead)
        powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
        error = powers / powers.sum(axis=-1, keepdims=True) - true[:, None]
        before, duals = duals, ahead - (seen[..., None] * error + PENALTY * ahead) / np.float32(steepest)
    return duals


def _times(likeness: np.ndarray, duals: np.ndarray) -> np.ndarray:
    return (likeness @ duals.reshape(len(duals), -1)).reshape(-1, *duals.shape[1:])


def _largest_eigenvalue(matrix: np.ndarray) -> float:
    """An upper bound, the largest sum of a row; it is close for a matrix of likenesses, none of which is negative."""
    return float(matrix.sum(axis=1).max())
