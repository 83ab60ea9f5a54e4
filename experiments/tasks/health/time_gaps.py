"""How long ago each value was last measured."""

import numpy as np


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
