"""AUROC, its standard error and its company against counting, resampling and each other."""

import numpy as np
import pytest

from experiments.tasks import risk_scores


def data(rows=60, seed=0):
    rng = np.random.default_rng(seed)
    events = (rng.random(rows) < 0.4).astype(float)
    # Rounded, so that there are ties.
    return np.round(1 / (1 + np.exp(-(events + rng.normal(size=rows)))), 1), events


def test_auroc_counts_pairs():
    risks, events = data()
    pairs = [(a, b) for a in risks[events == 1] for b in risks[events == 0]]
    assert any(a == b for a, b in pairs)
    expected = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs) / len(pairs)
    assert risk_scores.auroc(risks, events) == pytest.approx(expected)
    assert np.isnan(risk_scores.auroc(risks, np.ones_like(events)))


def test_its_error_is_the_spread_over_other_patients():
    """The formula from one sample, against the standard deviation of AUROC over 400 fresh samples."""
    many = [data(rows=300, seed=seed) for seed in range(400)]
    spread = np.std([risk_scores.auroc(*sample) for sample in many])
    errors = [risk_scores.auroc_error(*sample) for sample in many]
    assert np.mean(errors) == pytest.approx(spread, rel=0.1)
    risks, events = many[0]
    low, high = risk_scores.interval(risks, events)
    area = risk_scores.auroc(risks, events)
    assert (low, high) == pytest.approx((area - 1.96 * errors[0], area + 1.96 * errors[0]))
    assert risk_scores.interval(events, events) == (1, 1)


def test_brier_and_log_loss():
    risks, events = np.array([0.25, 0.5]), np.array([1.0, 0.0])
    assert risk_scores.brier(risks, events) == pytest.approx((0.75**2 + 0.5**2) / 2)
    assert risk_scores.log_loss(risks, events) == pytest.approx((np.log(4) + np.log(2)) / 2)


def test_reliability_goes_by_rising_risk():
    risks, events = np.array([0.9, 0.1, 0.2, 0.7, 0.3]), np.array([1.0, 0.0, 1.0, 1.0, 0.0])
    picture = risk_scores.reliability(risks, events, bins=2)
    assert picture == {"kind": "reliability", "predicted": [0.2, 0.8], "observed": [0.3333, 1.0], "count": [3, 2]}
