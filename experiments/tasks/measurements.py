"""What tasks hand over whose values are missing at times: values, which were observed, and how long ago others were."""

from typing import Any, NamedTuple

import numpy as np


class Measurements(NamedTuple):
    """Inputs of a batch, as a GRU-D reads them; features are standardised, so that 0 is the mean of each."""

    x: Any
    """float32 (B, T, I), 0 where not observed."""
    observed: Any
    """float32 (B, T, I), 1 where observed, else 0."""
    gap: Any
    """float32 (B, T, I): the time since each feature was last observed."""


class Measured(NamedTuple):
    """Inputs are `Measurements` of ``features`` features."""

    features: int


def gaps(times: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Time since each feature was last observed before each step: times (..., T), observed bool (..., T, I).

    A feature that was not observed yet has the time since the first step. The same as `gru_jax.time_gaps`, which is
    time-major and needs JAX.
    """
    since = np.zeros(observed.shape, times.dtype)
    for step in range(1, times.shape[-1]):
        passed = (times[..., step] - times[..., step - 1])[..., None]
        since[..., step, :] = passed + np.where(observed[..., step - 1, :], 0, since[..., step - 1, :])
    return since
