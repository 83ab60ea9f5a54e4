"""Where a state lies: sharded over devices as its inputs are.

On a mesh of explicit axes an array's type says how it is sharded, and inside `jax.shard_map` over which axes of the
mesh it differs. A loop carries one type, so a state that is made here, such as zeros, has to get that of what it meets.
"""

from collections.abc import Sequence
from typing import Any

import jax
from jax import lax
from jax.sharding import PartitionSpec


def varying_axes(*trees: Any) -> frozenset[str]:
    """The axes of the mesh over which anything in these trees differs, inside `jax.shard_map`."""
    return frozenset().union(*(_varying(jax.typeof(leaf)) for leaf in jax.tree.leaves(trees)))


def batch_sharding(x: jax.Array, axes: Sequence[int]) -> tuple[Any, ...]:
    """How the given axes of x are sharded, where its type says so; None for each that is not."""
    spec = tuple(jax.typeof(x).sharding.spec)
    spec += (None,) * (x.ndim - len(spec))
    return tuple(spec[axis] for axis in axes)


def place(tree: Any, leading: tuple[Any, ...], varying: frozenset[str]) -> Any:
    """A tree with the leading axes of each leaf sharded like this, and with these varying axes.

    What is so already is left alone.
    """

    def leaf(x: jax.Array) -> jax.Array:
        spec = batch_sharding(x, range(x.ndim))
        wanted = (*leading, *spec[len(leading) :])
        if wanted != spec:
            x = jax.sharding.reshard(x, PartitionSpec(*wanted))
        missing = varying - _varying(jax.typeof(x))
        return lax.pcast(x, tuple(sorted(missing)), to="varying") if missing else x

    return jax.tree.map(leaf, tree)


def gathered(params: Any) -> Any:
    """Params whose types say that they are sharded, whole on every device: each step multiplies with all of them."""

    def leaf(p: jax.Array) -> jax.Array:
        return jax.sharding.reshard(p, PartitionSpec()) if any(batch_sharding(p, range(p.ndim))) else p

    return jax.tree.map(leaf, params)


def _varying(aval: Any) -> frozenset[str]:
    # No public name of JAX tells this of a type.
    return frozenset(aval.manual_axis_type.varying)
