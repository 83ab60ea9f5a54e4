"""The regression on n-grams against a solver that sees the features, and that no text is judged by its own label."""

import collections

import numpy as np
import pytest
import scipy.optimize

from experiments.tasks.text.word_regression import PENALTY, judgements

CLASSES = 3


def ngrams_of(text):
    return [tuple(text[at : at + n]) for n in (1, 2, 3) for at in range(len(text) - n + 1)]


def features_of(texts, fitted):
    """The formula of the docstring, one number at a time."""
    sets = [set(ngrams_of(text)) for text in fitted]
    columns = sorted(set().union(*sets))
    idf = [1 + np.log((1 + len(fitted)) / (1 + sum(ngram in held for held in sets))) for ngram in columns]
    features = np.zeros((len(texts), len(columns)))
    for row, text in enumerate(texts):
        counts = collections.Counter(ngrams_of(text))
        for column, ngram in enumerate(columns):
            if counts[ngram]:
                features[row, column] = (1 + np.log(counts[ngram])) * idf[column]
        size = np.sqrt((features[row] ** 2).sum())
        features[row] /= size if size else 1
    return features


def logits_of(features, labels, others):
    """Those of the weights that minimise the loss with its penalty, found in float64 by another method."""
    shares = (np.bincount(labels, minlength=CLASSES) + 1) / (len(labels) + CLASSES)
    true = np.eye(CLASSES)[labels]

    def loss(flat):
        weights = flat.reshape(-1, CLASSES)
        logits = np.log(shares) + features @ weights
        log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        gradient = features.T @ (np.exp(log_p) - true) + PENALTY * weights
        return -(true * log_p).sum() + PENALTY / 2 * (flat**2).sum(), gradient.ravel()

    start = np.zeros(features.shape[1] * CLASSES)
    found = scipy.optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 3000, "ftol": 1e-14})
    return np.log(shares) + others @ found.x.reshape(-1, CLASSES)


@pytest.fixture(scope="module")
def made():
    """60 texts of some of 12 words, whose label goes by two of them, and five more, one without a known word."""
    rng = np.random.default_rng(0)
    texts = [[f"w{word}" for word in rng.integers(0, 12, rng.integers(1, 12))] for _ in range(65)]
    labels = np.array([min(text.count("w0") + text.count("w1"), 2) for text in texts])
    return texts[:60], labels[:60], [*texts[60:64], ["else"]]


@pytest.fixture(scope="module")
def found(made):
    texts, labels, others = made
    return judgements(texts, labels, CLASSES, others)


def test_other_texts_are_judged_by_a_fit_to_all(made, found):
    texts, labels, others = made
    assert found.others.dtype == np.float32
    expected = logits_of(features_of(texts, texts), labels, features_of(others, texts))
    np.testing.assert_allclose(found.others, expected, atol=2e-3)
    np.testing.assert_allclose(found.others[-1], np.log((np.bincount(labels) + 1) / 63), rtol=1e-5)


def test_texts_are_judged_by_a_fit_to_four_fifths_without_them(made, found):
    """Which four fifths is read from what another label of a text changes: nothing in its own fifth."""
    texts, labels, others = made
    assert found.fitted.dtype == np.float32
    changed = labels.copy()
    changed[0] = (labels[0] + 1) % CLASSES
    again = judgements(texts, changed, CLASSES, others)
    same = (again.fitted == found.fitted).all(axis=1)
    assert same[0]
    assert same.sum() == 12
    features = features_of(texts, texts)
    expected = logits_of(features[~same], labels[~same], features[same])
    np.testing.assert_allclose(found.fitted[same], expected, atol=2e-3)
    assert (again.others != found.others).any()
