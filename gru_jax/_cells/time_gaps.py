"""How long ago each variable of an irregular series was last observed."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from gru_jax._cells.checks import check_array, check_float_array


def time_gaps(times: jax.Array, observed: jax.Array, resets: jax.Array | None = None) -> jax.Array:
    """The time since each variable was last observed before each step, as a GRU-D reads it.

        δ_t = 0                              at the first step of a sequence
        δ_t = s_t - s_{t-1}                  where the variable was observed at t-1
        δ_t = s_t - s_{t-1} + δ_{t-1}        elsewhere

    So a variable that was never observed has the time since its sequence began. Padding at the end does no harm. With
    padding before or between the steps, mark the first valid step in `resets` and leave padded steps unobserved.

    Args:
      times: `(T, *B)`, float: when each step was, in the unit of the gaps. Differences of large numbers lose digits:
        subtract the start time first, in float64.
      observed: `(T, *B, I)`, bool or float of 0 and 1, which variables have a value at each step.
      resets: bool `(T, *B)`, True = a new sequence starts at step t; None: only the first.

    Returns:
      `(T, *B, I)` in the dtype of times.

    Raises:
      TypeError, ValueError: naming the argument that does not fit.

    Source: Che et al. 2018, "Recurrent neural networks for multivariate time series with missing values", section
    "Notations".

    Example:
      >>> import gru_jax, jax.numpy as jnp
      >>> observed = jnp.array([[True, True], [False, True], [True, False]])  # (T, I): one row, no batch axis
      >>> gru_jax.time_gaps(jnp.array([0.0, 0.5, 2.0]), observed).tolist()
      [[0.0, 0.0], [0.5, 0.5], [2.0, 1.5]]
    """
    times, observed, starts = _check(times, observed, resets)
    if times.shape[0] == 0:
        return jnp.zeros(observed.shape, times.dtype)
    starts = (jnp.zeros_like(times, dtype=bool) if starts is None else starts).at[0].set(True)[..., None]
    # A gap at t is measured from the last step before t with a value, or from the first of the sequence.
    steps = jnp.arange(times.shape[0], dtype=jnp.int32).reshape(-1, *(1,) * times.ndim)
    anchors = lax.cummax(jnp.where(observed | starts, steps, jnp.int32(0)), axis=0)
    before = jnp.concatenate([anchors[:1], anchors[:-1]])
    since = jnp.take_along_axis(jnp.broadcast_to(times[..., None], observed.shape), before, axis=0)
    return jnp.where(starts, jnp.zeros((), times.dtype), times[..., None] - since)


def _check(times: Any, observed: Any, resets: Any) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    times = check_float_array("times", times)
    if times.ndim == 0:
        raise ValueError("times: expected shape (T, *B), got (); pass one time a step.")
    observed = check_array("observed", observed)
    if observed.dtype != jnp.bool_ and not jnp.issubdtype(observed.dtype, jnp.floating):
        raise TypeError(f"observed: expected a bool or float array, got {observed.dtype}; cast it with .astype(bool).")
    if observed.shape[:-1] != times.shape or observed.ndim == 0:
        raise ValueError(
            f"observed: expected shape ({', '.join(map(str, times.shape))}, I), one mask for each variable at each of "
            f"the times, got {observed.shape}; put the variables last."
        )
    if resets is not None:
        resets = check_array("resets", resets)
        if resets.dtype != jnp.bool_:
            raise TypeError(f"resets: expected bool, got {resets.dtype}; cast it with .astype(bool).")
        if resets.shape != times.shape:
            raise ValueError(
                f"resets: expected shape {times.shape}, that of times, got {resets.shape}; broadcast it over the batch."
            )
    return times, observed != 0 if observed.dtype != jnp.bool_ else observed, resets
