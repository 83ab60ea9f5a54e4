"""How long ago each value was last measured."""

import numpy as np


def gaps(times: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """(..., T, I): the time at each step since each feature was last observed before it.

    ``times`` (..., T), ``observed`` bool (..., T, I). The gap of a feature that was not observed yet is the time since
    the first step. `gru_jax.time_gaps` computes the same, but is time-major and needs JAX.
    """
    since = np.zeros(observed.shape, times.dtype)
    for step in range(1, times.shape[-1]):
        passed = (times[..., step] - times[..., step - 1])[..., None]
        since[..., step, :] = passed + np.where(observed[..., step - 1, :], 0, since[..., step - 1, :])
    return since
