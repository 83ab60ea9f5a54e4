"""Choosing between two states, row by row."""

from typing import Any

import jax
import jax.numpy as jnp


def select(where: jax.Array, then: Any, otherwise: Any) -> Any:
    """The rows of `then` where `where (*B)` holds, else those of `otherwise`: two trees with leaves `(*B, ...)`."""

    def leaf(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.where(where.reshape(where.shape + (1,) * (b.ndim - where.ndim)), a, b)

    return jax.tree.map(leaf, then, otherwise)
