"""Values one step on, in the order in which each lane runs its steps.

`reverse` has one flag a lane, repeated where there are more lanes. Arrays are `(T, L, B, H)`.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from gru_jax._backends.lanes import ROW, STEPS, Place, by_direction, over_lanes, place_of_state, spread


def seen(reverse: tuple[bool, ...], after: jax.Array, first: Any, restart: Any, restored: Any) -> jax.Array:
    """What each step sees of values that are known after each; None for zero.

    `first`, `(L, B, H)`, is what the first step sees. A new start sees `restored`, `(L, B, H)` or by step.
    """

    def one_direction(flag: bool, operands: Any, places: Sequence[Place]) -> Any:
        return (over_lanes(functools.partial(_seen_in_lane, flag), operands, places),)

    first = None if first is None else spread(first, after[0])
    operands = (after, first, restart, restored)
    states = [STEPS, *(ROW for _ in jax.tree.leaves(first)), *(STEPS for _ in jax.tree.leaves(restart))]
    places = [*states, *(place_of_state(leaf) for leaf in jax.tree.leaves(restored))]
    return by_direction(one_direction, reverse, operands, places)[0]


def _seen_in_lane(reverse: bool, operands: Any) -> jax.Array:
    after, first, restart, restored = operands
    start = jnp.zeros_like(after[:1]) if first is None else first[None]
    before = jnp.concatenate([after[1:], start] if reverse else [start, after[:-1]])
    if restart is None:
        return before
    if restored is not None and restored.ndim < after.ndim:
        restored = restored[None]
    return jnp.where(restart[..., None], 0 if restored is None else restored, before)


def handed_back(reverse: tuple[bool, ...], before: jax.Array) -> jax.Array:
    """Values of what each step sees, given to the step that made it; the last one run gets 0."""
    return seen(tuple(not flag for flag in reverse), before, None, None, None)


def first_of(reverse: tuple[bool, ...], xs: jax.Array) -> jax.Array:
    """The values of the first step run, `(L, B, H)`."""
    return by_direction(lambda flag, xs, places: (xs[-1 if flag else 0],), reverse, xs, [STEPS])[0]
