"""Values one step on, in the order in which each lane runs its steps.

`reverse` has one flag a lane, repeated where there are more lanes. Arrays are `(T, L, B, H)`.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from gru_jax._backends.lanes import ROW, STEPS, Place, by_direction, spread


def seen(reverse: tuple[bool, ...], after: jax.Array, first: Any, restart: Any, restored: Any) -> jax.Array:
    """What each step sees of values that are known after each; None for zero.

    `first`, `(L, B, H)`, is what the first step sees. A new start sees `restored`, `(L, B, H)` or by step.
    """
    before = _shifted(reverse, after, first)
    if restart is None:
        return before
    if restored is not None and restored.ndim < after.ndim:
        restored = restored[None]
    return jnp.where(restart[..., None], 0 if restored is None else restored, before)


def handed_back(reverse: tuple[bool, ...], before: jax.Array) -> jax.Array:
    """Values of what each step sees, given to the step that made it; the last one run gets 0."""
    return _shifted(tuple(not flag for flag in reverse), before, None)


def first_of(reverse: tuple[bool, ...], xs: jax.Array) -> jax.Array:
    """The values of the first step run, `(L, B, H)`."""
    return by_direction(lambda flag, xs, places: (xs[-1 if flag else 0],), reverse, xs, [STEPS])[0]


def _shifted(reverse: tuple[bool, ...], xs: jax.Array, first: Any) -> jax.Array:
    def shift(flag: bool, operands: Any, places: Sequence[Place]) -> Any:
        xs, first = operands
        first = jnp.zeros_like(xs[:1]) if first is None else spread(first[None], xs[:1])
        return (jnp.concatenate([xs[1:], first] if flag else [first, xs[:-1]]),)

    places = [STEPS] if first is None else [STEPS, ROW]
    return by_direction(shift, reverse, (xs, first), places)[0]
