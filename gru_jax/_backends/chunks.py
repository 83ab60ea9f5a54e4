"""Running over time in pieces of a few steps."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


def run_in_chunks(
    run: Callable[[Any, Any], tuple[Any, Any]], carry: Any, steps: Any, size: int, *, reverse: bool
) -> tuple[Any, Any]:
    """Call `run` piece by piece, threading the carry; returns what one call over all steps would return.

    Args:
      run: `(carry, steps) -> (carry, ys)` over any number of steps, leaves of steps and ys `(steps, ...)`.
      carry: what the first piece run starts from.
      steps: leaves `(T, ...)`; at least one leaf.
      size: steps of one piece; the steps left over are a shorter piece, the last one run.
      reverse: whether the pieces are run from the last to the first, as `run` then does with its own steps.
    """
    total = jax.tree.leaves(steps)[0].shape[0]
    # The equality is for symbolic sizes, under jax.export.
    if total == size or total < size:
        return run(carry, steps)
    chunks, rest = divmod(total, size)
    first, last = (rest, total) if reverse else (0, total - rest)
    whole = jax.tree.map(lambda s: s[first:last].reshape(chunks, size, *s.shape[1:]), steps)
    carry, ys = lax.scan(run, carry, whole, reverse=reverse)
    ys = jax.tree.map(lambda y: y.reshape(chunks * size, *y.shape[2:]), ys)
    if not rest:
        return carry, ys
    carry, others = run(carry, jax.tree.map(lambda s: s[:first] if reverse else s[last:], steps))
    pieces = (others, ys) if reverse else (ys, others)
    return carry, jax.tree.map(lambda *y: jnp.concatenate(y), *pieces)
