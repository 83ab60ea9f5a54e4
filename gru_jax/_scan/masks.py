"""Padding and resets as two masks over steps: where a step counts, and where the state starts anew before it.

With these two, the final carry is the last valid one, and a padded row comes out right in reverse: nothing has to be
flipped or gathered.
"""

import jax
import jax.numpy as jnp
from jax import lax


def valid_steps(steps: int, seq_lengths: jax.Array | None, mask: jax.Array | None) -> jax.Array | None:
    """Bool `(T, B)`, True where a step is no padding, or None where all are."""
    if seq_lengths is None:
        return mask
    return jnp.arange(steps, dtype=jnp.int32)[:, None] < jnp.astype(seq_lengths, jnp.int32)[None]


def restart_steps(resets: jax.Array | None, valid: jax.Array | None, *, reverse: bool) -> jax.Array | None:
    """Bool `(T, B)`, True where the state is replaced before the step is run, or None where it never is.

    `resets` says where a sequence starts in time. Resets on padding do not count. A run in reverse leaves a sequence
    that starts at t when it reaches the next valid step before t, so the reset moves there.
    """
    if resets is None:
        return None
    starts = resets if valid is None else resets & valid
    if not reverse:
        return starts
    if valid is None:
        return jnp.concatenate([starts[1:], jnp.zeros_like(starts[:1])])
    padded = jnp.concatenate([starts, jnp.zeros_like(starts[:1])])
    return jnp.take_along_axis(padded, _following(valid), axis=0) & valid


def restored_steps(restored: jax.Array, valid: jax.Array | None, *, reverse: bool) -> jax.Array:
    """The states that resets restore, `(T, B, ...)`, moved as `restart_steps` moves the resets themselves."""
    if not reverse or not restored.shape[0]:
        return restored
    if valid is None:
        return jnp.concatenate([restored[1:], restored[:1]])
    there = jnp.minimum(_following(valid), restored.shape[0] - 1)
    return jnp.take_along_axis(restored, there.reshape(there.shape + (1,) * (restored.ndim - there.ndim)), axis=0)


def _following(valid: jax.Array) -> jax.Array:
    """The next valid step after each step, or T where there is none, `(T, B)`."""
    steps = valid.shape[0]
    here = jnp.where(valid, jnp.arange(steps, dtype=jnp.int32)[:, None], steps)
    beyond = jnp.full_like(here[:1], steps)
    return lax.cummin(jnp.concatenate([here, beyond]), axis=0, reverse=True)[1:]
