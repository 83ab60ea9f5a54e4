import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier

from experiments.tasks import ridge


def test_summaries_are_those_of_each_row_alone():
    rng = np.random.default_rng(0)
    inputs, lengths = rng.standard_normal((6, 9, 2)), np.array([9, 1, 4, 5, 2, 7])
    padded = np.where(np.arange(9)[:, None] < lengths[:, None, None], inputs, np.inf)
    for row, length, summary in zip(inputs, lengths, ridge.summaries(padded, lengths), strict=True):
        row = row[:length]
        expected = np.concatenate([row.mean(0), row.std(0), row[0], row[length // 2], row[-1]])
        np.testing.assert_allclose(summary, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(ridge.summaries(inputs), ridge.summaries(inputs, np.full(6, 9)))


@pytest.mark.parametrize("penalty", [0.5, 20.0])
def test_accuracy_is_that_of_scikit_learns_ridge(penalty):
    rng = np.random.default_rng(1)
    classes = rng.integers(0, 4, 200)
    features = 3 + 2 * (rng.standard_normal((200, 5)) + 0.7 * np.eye(4, 5)[classes])
    features[:, 4] = 7  # A feature that never changes says nothing, and divides by nothing.
    scaled = (features - features[:100].mean(axis=0)) / np.maximum(features[:100].std(axis=0), 1e-9)
    # RidgeClassifier's targets are -1 and 1, twice as far apart: the penalty has the same effect on both.
    expected = RidgeClassifier(alpha=penalty).fit(scaled[:100], classes[:100]).score(scaled[100:], classes[100:])
    assert 0.3 < expected < 0.95
    assert ridge.accuracy(features[:100], classes[:100], features[100:], classes[100:], penalty) == expected
