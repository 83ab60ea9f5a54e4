"""The GRU in NumPy float64, step by step, with which the outputs of every contender are compared."""

import numpy as np

from experiments.bench.problem import Problem, Weights


def reference(problem: Problem, weights: Weights, *, reset_after: bool) -> np.ndarray:
    """ys (T, B, H) of ``problem`` with ``weights``, float64, zero in the padding.

    r  = σ(x W_ir + b_ir + h W_hr + b_hr)
    z  = σ(x W_iz + b_iz + h W_hz + b_hz)
    n  = tanh(x W_in + b_in + r ∘ (h W_hn + b_hn))      reset_after
    n  = tanh(x W_in + b_in + (r ∘ h) W_hn + b_hn)      otherwise
    h' = z ∘ h + (1 - z) ∘ n
    """
    w_i, w_h, b_i, b_h = (array.astype(np.float64) for array in weights)
    width = problem.features
    w_hg, w_hn, b_hg, b_hn = w_h[:, : 2 * width], w_h[:, 2 * width :], b_h[: 2 * width], b_h[2 * width :]
    projected = problem.xs.astype(np.float64) @ w_i + b_i
    h = np.zeros((problem.batch, width))
    ys = np.zeros((problem.steps, problem.batch, width))
    for t in range(problem.steps):
        if problem.resets is not None:
            h = np.where(problem.resets[t][:, None], 0.0, h)
        r, z = np.split(_sigmoid(projected[t, :, : 2 * width] + h @ w_hg + b_hg), 2, axis=-1)
        recurrent = r * (h @ w_hn + b_hn) if reset_after else (r * h) @ w_hn + b_hn
        n = np.tanh(projected[t, :, 2 * width :] + recurrent)
        valid = problem.valid[t][:, None]
        h = np.where(valid, z * h + (1 - z) * n, h)
        ys[t] = np.where(valid, h, 0.0)
    return ys


def _sigmoid(x: np.ndarray) -> np.ndarray:
    # By tanh, which does not overflow.
    return 0.5 * (1 + np.tanh(0.5 * x))


def largest_difference(problem: Problem, ys: np.ndarray, expected: np.ndarray) -> float:
    """The largest |ys - expected|, inf for another shape; not in the padding, where libraries differ on purpose."""
    if ys.shape != expected.shape:
        return float("inf")
    difference = np.abs(np.where(problem.valid[:, :, None], ys - expected, 0.0))
    return float(np.max(np.where(np.isnan(difference), np.inf, difference), initial=0.0))
