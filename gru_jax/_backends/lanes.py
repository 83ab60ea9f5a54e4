"""Lanes: runs side by side in one call, each with weights, a direction or data of its own.

Arrays are `(T, L, B, ...)` where they have steps, `(L, B, ...)` where they have none, and `(L, ...)` for weights. An
array has all L lanes, or one that serves all and is not copied. What computes one lane is written without lanes, and
mapped here.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec

from gru_jax._backends.unit_axis import add_axis, drop_axis


class Place(NamedTuple):
    """The axes of an array's lanes and batch; a weight has no batch."""

    lanes: int
    batch: int | None


WEIGHT = Place(0, None)
ROW = Place(0, 1)
STEPS = Place(1, 2)


def place_of_state(leaf: Any) -> Place:
    """The place of an array of states, `(T, L, B, H)` or `(L, B, H)`."""
    return STEPS if len(leaf.shape) == 4 else ROW


def count_lanes(leaves: Sequence[Any], places: Sequence[Place]) -> Any:
    """L; 0 is possible, and a symbolic size."""
    counts = (leaf.shape[place.lanes] for leaf, place in zip(leaves, places, strict=True))
    return next((count for count in counts if not _is_one(count)), 1)


def _is_one(size: Any) -> bool:
    return isinstance(size, int) and size == 1


def over_lanes(function: Callable[[Any], Any], operands: Any, places: Sequence[Place], out_axes: Any = 1) -> Any:
    """`function(operands without lanes)` for each lane.

    `out_axes` says where its results get their lanes, as for `jax.vmap`: one number, or a tree of them.
    """
    leaves, tree = jax.tree.flatten(operands)
    alone = [_is_one(leaf.shape[place.lanes]) for leaf, place in zip(leaves, places, strict=True)]
    leaves = [
        drop_axis(leaf, place.lanes) if one else leaf for leaf, place, one in zip(leaves, places, alone, strict=True)
    ]
    call = lambda *leaves: function(tree.unflatten(leaves))  # noqa: E731
    if all(alone):
        out = call(*leaves)
        return jax.tree.map(add_axis, out, jax.tree.broadcast(out_axes, out))
    mapped = tuple(None if one else place.lanes for one, place in zip(alone, places, strict=True))
    return jax.vmap(call, mapped, out_axes)(*leaves)


def by_direction(
    function: Callable[[bool, Any, Sequence[Place]], Any],
    reverse: tuple[bool, ...],
    operands: Any,
    places: Sequence[Place],
) -> Any:
    """`function(reverse, operands, places)` for the lanes of each direction; the results joined in the lanes' order.

    `reverse` repeats over the lanes, as (forward, backward) does over the members of an ensemble. Each of its flags is
    one call. The function returns states with lanes, in any tree.
    """
    period = len(reverse)
    if len(set(reverse)) == 1:
        return function(reverse[0], operands, places)
    leaves, tree = jax.tree.flatten(operands)
    parts = [_each(leaf, place.lanes, period) for leaf, place in zip(leaves, places, strict=True)]
    results = [function(flag, tree.unflatten(some), places) for flag, *some in zip(reverse, *parts, strict=True)]
    return jax.tree.map(_join, *results)


def unstack(leaf: jax.Array, axis: int) -> list[jax.Array]:
    """The lanes of an array, each without the axis."""
    # By `split`: its transpose joins cotangents, where that of slices adds each to zeros.
    return [drop_axis(part, axis) for part in jnp.split(leaf, leaf.shape[axis], axis)]


def _each(leaf: jax.Array, axis: int, period: int) -> list[jax.Array]:
    """For each flag of a pattern its lanes, every `period`th; a lane that serves all as it is."""
    lanes = leaf.shape[axis]
    if _is_one(lanes):
        return [leaf] * period
    if isinstance(lanes, int) and lanes == period:
        return jnp.split(leaf, period, axis)
    return unstack(split_axis(leaf, axis, (lanes // period, period)), axis + 1)


def _join(*parts: jax.Array) -> jax.Array:
    axis = place_of_state(parts[0]).lanes
    if _is_one(parts[0].shape[axis]):
        return jnp.concatenate(parts, axis)
    return merge_axes(jnp.stack(parts, axis + 1), axis)


def merge_axes(leaf: jax.Array, axis: int) -> jax.Array:
    """The leaf with `axis` and the next one merged."""
    shape = (*leaf.shape[:axis], leaf.shape[axis] * leaf.shape[axis + 1], *leaf.shape[axis + 2 :])
    spec = _spec(leaf)
    return _reshape(leaf, shape, (*spec[:axis], spec[axis] or spec[axis + 1], *spec[axis + 2 :]))


def split_axis(leaf: jax.Array, axis: int, sizes: tuple[Any, Any]) -> jax.Array:
    """The leaf with `axis` split in two of these sizes."""
    shape = (*leaf.shape[:axis], *sizes, *leaf.shape[axis + 1 :])
    spec = _spec(leaf)
    # Shards stay with the first, unless that is the only one of its kind.
    parts = (None, spec[axis]) if _is_one(sizes[0]) else (spec[axis], None)
    return _reshape(leaf, shape, (*spec[:axis], *parts, *spec[axis + 1 :]))


def _spec(leaf: jax.Array) -> tuple[Any, ...]:
    spec = tuple(jax.typeof(leaf).sharding.spec)
    return spec + (None,) * (leaf.ndim - len(spec))


def _reshape(leaf: jax.Array, shape: tuple[Any, ...], spec: tuple[Any, ...]) -> jax.Array:
    """`reshape`; on a mesh of explicit axes, JAX is told how the result is sharded."""
    if not any(spec):
        return leaf.reshape(shape)
    return lax.reshape(leaf, shape, out_sharding=PartitionSpec(*spec))


def spread(leaf: jax.Array, like: jax.Array) -> jax.Array:
    """The leaf broadcast to the shape of another, and sharded as that is."""
    if leaf.shape == like.shape:
        return leaf
    sharding = PartitionSpec(*_spec(like)) if any(_spec(like)) else None
    return jnp.broadcast_to(leaf, like.shape, out_sharding=sharding)


Mapped = Sequence[int | None]


def can_fold(leaves: Sequence[jax.Array], mapped: Mapped, places: Sequence[Place]) -> bool:
    """Whether a mapped axis can be merged into the batch: no weight is mapped, and no shards are lost."""
    axes = [
        (leaf, m, place.batch) for leaf, m, place in zip(leaves, mapped, places, strict=True) if place.batch is not None
    ]
    if any(m is not None and place.batch is None for m, place in zip(mapped, places, strict=True)):
        return False
    # An axis that is sharded over devices loses its shards when it is merged with another.
    rows = [_front(leaf, m).shape[batch + 1] for leaf, m, batch in axes if m is not None]
    if jax.device_count() > 1 and not all(map(_is_one, rows)):
        return False
    # On a mesh of explicit axes, arrays that are not mapped would have to be sharded as the mapped ones are.
    shared = any(m is None for _, m, _ in axes)
    return not (shared and any(any(_spec(leaf)) for leaf, m, _ in axes if m is not None))


def _front(leaf: jax.Array, mapped: int) -> Any:
    shape = list(leaf.shape)
    size = shape.pop(mapped)
    return jax.ShapeDtypeStruct((size, *shape), leaf.dtype)


def fold_in(leaf: jax.Array, mapped: int | None, place: Place, size: Any) -> jax.Array:
    """The leaf with a mapped axis merged into its batch, in front; a weight as it is."""
    return leaf if place.batch is None else merge_axes(_lead(leaf, mapped, place.batch, size, None), place.batch)


def lane_in(
    leaf: jax.Array, mapped: int | None, place: Place, size: Any, lanes: Any, sharded: str | tuple[str, ...] | None
) -> jax.Array:
    """The leaf with a mapped axis merged into its lanes, in front, each of which has `lanes`.

    `sharded` is how the mapped axis is sharded by the types of those that have it.
    """
    axis = place.lanes
    if mapped is None and _is_one(leaf.shape[axis]):
        return leaf
    leaf = _lead(leaf, mapped, axis, size, sharded)
    if _is_one(leaf.shape[axis + 1]) and not _is_one(lanes):
        leaf = _widened(leaf, axis + 1, lanes, None)
    return merge_axes(leaf, axis)


def sharding_of_mapped(leaves: Sequence[jax.Array], mapped: Mapped) -> Any:
    """How the mapped axis is sharded by the types of the leaves; None if it is not."""
    specs = (_spec(leaf)[m] for leaf, m in zip(leaves, mapped, strict=True) if m is not None)
    return next((spec for spec in specs if spec), None)


def _lead(leaf: jax.Array, mapped: int | None, axis: int, size: Any, sharded: Any) -> jax.Array:
    """The leaf with the mapped axis at `axis`; with an axis of that size if it has none."""
    if mapped is not None:
        return jnp.moveaxis(leaf, mapped, axis)
    return _widened(jnp.expand_dims(leaf, axis), axis, size, sharded)


def _widened(leaf: jax.Array, axis: int, size: Any, sharded: Any) -> jax.Array:
    spec = _spec(leaf)
    spec = (*spec[:axis], sharded, *spec[axis + 1 :])
    sharding = PartitionSpec(*spec) if any(spec) else None
    return jnp.broadcast_to(leaf, (*leaf.shape[:axis], size, *leaf.shape[axis + 1 :]), out_sharding=sharding)
