"""A floor for yes-or-no tasks: logistic regression with a ridge penalty that is chosen within the training rows."""

import numpy as np

PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
"""Strengths to choose from: penalty / 2 |weights|², with standardised features, is added to the sum of the losses."""
_FOLDS = 5
_ROUNDS = 30


def predict(train: np.ndarray, events: np.ndarray, test: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
    """Probabilities (rows of ``test``,) by a fit to ``train`` and its ``events`` (rows,), 0 or 1.

    Features (rows, F), NaN where missing, are standardised with the statistics of ``train``; missing values become the
    mean. The penalty is the one with the best likelihood in five-fold cross-validation within ``train``. Rows with the
    same integer in ``groups`` (rows,) stay in one fold.
    """
    groups = np.arange(len(train)) if groups is None else groups
    names = np.random.default_rng(0).permutation(np.unique(groups))
    folds = (np.argsort(names)[np.searchsorted(np.sort(names), groups)]) % _FOLDS
    losses = np.zeros(len(PENALTIES))
    for fold in range(_FOLDS):
        inside, outside = folds != fold, folds == fold
        fitted = _standardised(train[inside], train[outside])
        for place, penalty in enumerate(PENALTIES):
            p = _sigmoid(_design(fitted[1]) @ fit(fitted[0], events[inside], penalty))
            losses[place] -= np.log(np.where(events[outside] == 1, p, 1 - p)).sum()
    train, test = _standardised(train, test)
    return _sigmoid(_design(test) @ fit(train, events, PENALTIES[int(np.argmin(losses))]))


def fit(features: np.ndarray, events: np.ndarray, penalty: float) -> np.ndarray:
    """(1 + F,): the unpenalised intercept, and the weights that minimise loss + penalty / 2 |weights|²; by Newton."""
    design = _design(features)
    ridge = penalty * np.eye(design.shape[1])
    ridge[0, 0] = 0
    weights = np.zeros(design.shape[1])
    for _ in range(_ROUNDS):
        p = _sigmoid(design @ weights)
        gradient = design.T @ (p - events) + ridge @ weights
        step = np.linalg.solve((design.T * (p * (1 - p))) @ design + ridge, gradient)
        # A whole Newton step may overshoot far from the optimum.
        weights = weights - step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < 1e-8:
            break
    return weights


def _standardised(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean, scale = np.nanmean(train, axis=0), np.nanstd(train, axis=0)
    scale = np.where(scale > 0, scale, 1)
    return np.nan_to_num((train - mean) / scale), np.nan_to_num((test - mean) / scale)


def _design(features: np.ndarray) -> np.ndarray:
    return np.concatenate([np.ones((len(features), 1)), features], axis=1)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(x, -30, 30)))
