"""Logistic regression with a ridge penalty, against what defines it."""

import numpy as np
import pytest

from experiments.tasks import logistic


def data(rows=120, seed=0):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(rows, 4))
    events = (rng.random(rows) < 1 / (1 + np.exp(-(features @ [2.0, -1.0, 0.0, 0.0] - 0.5)))).astype(float)
    return features, events


@pytest.mark.parametrize("penalty", [0.01, 10.0])
def test_no_weights_near_by_are_better(penalty):
    features, events = data()

    def objective(weights):
        logits = weights[0] + features @ weights[1:]
        return np.sum(np.logaddexp(0, logits) - events * logits) + penalty / 2 * np.sum(weights[1:] ** 2)

    weights = logistic.fit(features, events, penalty)
    for direction in np.random.default_rng(1).normal(size=(50, 5)):
        for size in (1e-3, 0.3):
            assert objective(weights + size * direction) > objective(weights)


def test_separable_rows_do_no_harm():
    features = np.linspace(-3, 3, 20)[:, None]
    weights = logistic.fit(features, (features[:, 0] > 0).astype(float), 0.3)
    assert np.isfinite(weights).all()
    assert weights[1] > 0


def test_missing_values_are_the_mean_and_units_do_not_matter():
    features, events = data()
    test, _ = data(30, seed=2)
    holes, filled = features.copy(), features.copy()
    holes[::5, 0] = np.nan
    filled[::5, 0] = np.nanmean(holes[:, 0])
    # The mean in place of a hole lowers the deviation, which the penalty sees but little.
    there = logistic.predict(holes, events, test)
    np.testing.assert_allclose(there, logistic.predict(filled, events, test), atol=0.02)
    units = np.array([1.0, 100.0, 0.01, 3.0])
    np.testing.assert_allclose(there, logistic.predict(holes * units + 7, events, test * units + 7), atol=1e-6)


def test_the_penalty_grows_with_noise():
    """Of thirty features of which none says anything, the risks stay near the share of events."""
    rng = np.random.default_rng(0)
    events = (rng.random(80) < 0.3).astype(float)
    risks = logistic.predict(rng.normal(size=(80, 30)), events, rng.normal(size=(200, 30)))
    assert np.abs(risks - events.mean()).max() < 0.2


def test_groups_stay_together(monkeypatch):
    folds = []
    monkeypatch.setattr(logistic, "fit", lambda features, events, penalty: folds.append(len(features)) or np.zeros(5))
    features, events = data(100)
    logistic.predict(features, events, features, np.repeat(np.arange(4), 25))
    # Four groups of 25 in five folds: each fit leaves out whole groups.
    assert set(folds) <= {0, 25, 50, 75, 100}
