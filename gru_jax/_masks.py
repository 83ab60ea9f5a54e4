"""Padding and resets as two masks over steps: where a step counts, and where the state starts anew before it.

With these two the final carry is the last valid one and a reversed padded row is right as it stands: nothing has to be
flipped or gathered.
"""

import jax
import jax.numpy as jnp
from jax import lax


def valid_steps(steps: int, seq_lengths: jax.Array | None, mask: jax.Array | None) -> jax.Array | None:
    """Bool `(T, B)`, True where a step is no padding, or None where all are."""
    if seq_lengths is None:
        return mask
    return jnp.arange(steps, dtype=jnp.int32)[:, None] < jnp.astype(seq_lengths, jnp.int32)


def restart_steps(resets: jax.Array | None, valid: jax.Array | None, *, reverse: bool) -> jax.Array | None:
    """Bool `(T, B)`, True where the state is replaced before the step is run, or None where it never is.

    `resets` says where a sequence starts in time. Padding does not exist, and neither do the resets on it. Run in
    reverse, a sequence that starts at t is left when the next valid step before t is reached: the reset moves there.
    """
    if resets is None:
        return None
    starts = resets if valid is None else resets & valid
    if not reverse:
        return starts
    if valid is None:
        return jnp.concatenate([starts[1:], jnp.zeros_like(starts[:1])])
    steps = starts.shape[0]
    here = jnp.where(valid, jnp.arange(steps, dtype=jnp.int32)[:, None], steps)
    beyond = jnp.full_like(here[:1], steps)
    following = lax.cummin(jnp.concatenate([here, beyond]), axis=0, reverse=True)[1:]
    padded = jnp.concatenate([starts, jnp.zeros_like(starts[:1])])
    return jnp.take_along_axis(padded, following, axis=0) & valid
