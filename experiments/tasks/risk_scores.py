"""How good predicted risks of a yes or no are: AUROC with its standard error, Brier score, reliability."""

from typing import Any

import numpy as np


def auroc(risks: np.ndarray, events: np.ndarray) -> float:
    """The chance that a row with the event has a higher risk than one without, ties counting half; NaN without both."""
    more, _ = _placements(risks, events)
    return float(more.mean()) if more.size else float("nan")


def auroc_error(risks: np.ndarray, events: np.ndarray) -> float:
    """The standard error of `auroc` (DeLong et al. 1988).

    Needs at least two rows with the event and two without.
    """
    with_event, without = _placements(risks, events)
    return float(np.sqrt(with_event.var(ddof=1) / len(with_event) + without.var(ddof=1) / len(without)))


def interval(risks: np.ndarray, events: np.ndarray) -> tuple[float, float]:
    """The 95 % confidence interval of `auroc`: 1.96 standard errors to both sides, within 0 and 1."""
    area, error = auroc(risks, events), auroc_error(risks, events)
    return max(area - 1.96 * error, 0.0), min(area + 1.96 * error, 1.0)


def brier(risks: np.ndarray, events: np.ndarray) -> float:
    """The mean squared difference of risk and outcome."""
    return float(np.mean((risks - events) ** 2))


def log_loss(risks: np.ndarray, events: np.ndarray) -> float:
    """The mean negative log-likelihood, in nats; risks lie strictly between 0 and 1."""
    return float(-np.mean(np.log(np.where(events == 1, risks, 1 - risks))))


def reliability(risks: np.ndarray, events: np.ndarray, bins: int = 5) -> dict[str, Any]:
    """A picture of kind "reliability": rows sorted by risk, in ``bins`` of about equal size."""
    parts = [part for part in np.array_split(np.argsort(risks, kind="stable"), bins) if part.size]
    return {
        "kind": "reliability",
        "predicted": [round(float(risks[part].mean()), 4) for part in parts],
        "observed": [round(float(events[part].mean()), 4) for part in parts],
        "count": [len(part) for part in parts],
    }


def _placements(risks: np.ndarray, events: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each row with the event, the share of the others that it exceeds; for each other, that of rows above it."""
    here, there = risks[events == 1][:, None], risks[events == 0][None, :]
    wins = (here > there) + 0.5 * (here == there)
    return (wins.mean(axis=1), wins.mean(axis=0)) if wins.size else (np.zeros(0), np.zeros(0))
