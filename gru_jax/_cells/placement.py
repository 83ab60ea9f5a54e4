"""The sharding of a state over devices, which follows that of its inputs.

An array's type says how it is sharded (on a mesh of explicit axes) and over which axes of the mesh it differs (inside
`jax.shard_map`). A loop carries one type. So a state made here, such as zeros, must get the type of what it meets.
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
    """The tree, each leaf sharded on its leading axes as `leading` says and varying over the axes `varying`.

    A leaf that is so already is left alone.
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
    """The params; those that are sharded by their types are made whole on every device, as each step needs all."""

    def leaf(p: jax.Array) -> jax.Array:
        return jax.sharding.reshard(p, PartitionSpec()) if any(batch_sharding(p, range(p.ndim))) else p

    return jax.tree.map(leaf, params)


def _varying(aval: Any) -> frozenset[str]:
    # JAX has no public name for this.
    return frozenset(aval.manual_axis_type.varying)
