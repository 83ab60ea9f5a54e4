"""A kernel on a batch that is sharded over devices: every device calls it for its own rows and lanes.

JAX's compiler does not look into a foreign call. It gathers a sharded operand for it, unless it is told how to cut the
call: rows and lanes are apart from each other, steps and features are not.
"""

from collections.abc import Callable, Iterator
from typing import Any, Literal

import jax
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import NamedSharding, PartitionSpec

from gru_jax._backends.lanes import Place, count_lanes, place_of_state


def cut_by(context: Any) -> Literal["nobody", "compiler", "both"]:
    """Who cuts the arrays of a program that is lowered in this context over devices.

    Nobody does on one device, and inside `jax.shard_map`, where they are cut already. It is "both" inside one that
    leaves some axes of the mesh to the compiler.
    """
    axes = context.module_context.axis_context
    manual = getattr(axes, "manual_axes", None)
    if manual is None:
        return "compiler" if (axes.num_devices or 1) > 1 else "nobody"
    return "nobody" if set(manual) == set(axes.mesh.axis_names) else "both"


def partitioned(run: Callable[[Any, Any], Any], places: Callable[[Any], list[Place]]) -> Callable[[Any, Any], Any]:
    """`run(static, operands)`, cut over devices along rows and lanes."""

    def cut(static: Any, operands: Any) -> Any:
        leaves, tree = jax.tree.flatten(operands)
        outs = jax.eval_shape(lambda *leaves: run(static, tree.unflatten(leaves)), *leaves)
        shapes, out_tree = jax.tree.flatten(outs)

        def of_shard(*leaves: Any) -> tuple[Any, ...]:
            return tuple(jax.tree.leaves(run(static, tree.unflatten(leaves))))

        ends = places(operands)
        mixed = len(set(static.how.reverse)) > 1

        def partition(mesh: Any, ins: Any, outs: Any) -> Any:
            if mesh.empty:
                return mesh, of_shard, *_as_they_came(ins, outs, ends)
            axes = _axes_of_mesh(ins, ends, mixed=mixed)
            results = tuple(_sharding(mesh, out.shape, place_of_state(out), axes) for out in outs)
            given = tuple(_sharding(mesh, leaf.shape, place, axes) for leaf, place in zip(ins, ends, strict=True))
            return mesh, of_shard, results, given

        call = custom_partitioning(of_shard)
        rule, replicated = _rule(leaves, ends, shapes, mixed=mixed)
        call.def_partition(partition=partition, sharding_rule=rule, need_replication_factors=replicated)
        return out_tree.unflatten(call(*leaves))

    return cut


def _as_they_came(ins: Any, outs: Any, places: list[Place]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Shardings of results and operands where no mesh tells the names of its axes; all whole where they do not fit."""
    lanes = count_lanes(ins, places)
    of_rows, of_lanes, fit = set(), set(), True
    for leaf, place in (*zip(ins, places, strict=True), *((out, place_of_state(out)) for out in outs)):
        for axis, (part, whole) in enumerate(zip(leaf.sharding.shard_shape(leaf.shape), leaf.shape, strict=True)):
            if axis == place.batch:
                of_rows.add(part)
            elif axis == place.lanes and whole == lanes:
                of_lanes.add(part)
            else:
                fit = fit and part == whole
    if fit and len(of_rows) == len(of_lanes) == 1:
        return tuple(out.sharding for out in outs), tuple(leaf.sharding for leaf in ins)
    return tuple(map(_replicated, outs)), tuple(map(_replicated, ins))


def _replicated(leaf: Any) -> Any:
    return type(leaf.sharding).get_replicated(leaf.sharding._device_assignment)


def _axes_of_mesh(leaves: Any, places: list[Place], *, mixed: bool) -> tuple[Any, Any]:
    """The axes of the mesh along which lanes and rows are cut, whatever each operand came with.

    Rows are cut as those of the first array of steps are. Lanes follow the first array that has them all, unless they
    run in both directions, or the rows take the same axes.
    """
    rows = next(_part(leaf, place.batch) for leaf, place in zip(leaves, places, strict=True) if place.batch == 2)
    count = count_lanes(leaves, places)
    all_lanes = (_part(leaf, p.lanes) for leaf, p in zip(leaves, places, strict=True) if leaf.shape[p.lanes] == count)
    lanes = None if mixed else next((part for part in all_lanes if part), None)
    taken = {rows} if isinstance(rows, str) else set(rows or ())
    return (None if lanes and taken & ({lanes} if isinstance(lanes, str) else set(lanes)) else lanes), rows


def _part(leaf: Any, axis: int | None) -> Any:
    """The axes of the mesh that cut this axis of an operand."""
    spec = tuple(leaf.sharding.spec)
    return spec[axis] if axis is not None and axis < len(spec) else None


def _sharding(mesh: Any, shape: tuple[int, ...], place: Place, axes: tuple[Any, Any]) -> NamedSharding:
    """The sharding of an operand or a result; one lane that serves all is whole everywhere."""
    spec: list[Any] = [None] * len(shape)
    if shape[place.lanes] != 1:
        spec[place.lanes] = axes[0]
    if place.batch is not None:
        spec[place.batch] = axes[1]
    return NamedSharding(mesh, PartitionSpec(*spec))


def _rule(leaves: Any, places: list[Place], outs: Any, *, mixed: bool) -> tuple[str, tuple[str, ...]]:
    """How the axes of operands and results belong together, and which of them every device needs whole.

    An axis has a name; one of a single lane that serves all has one of its own. Lanes of both directions stay together.
    """
    lanes = count_lanes(leaves, places)
    fresh = (f"x{number}" for number in range(10**6))
    ins = [_names(leaf.shape, place, lanes, fresh) for leaf, place in zip(leaves, places, strict=True)]
    results = [_names(out.shape, place_of_state(out), lanes, fresh) for out in outs]
    used = dict.fromkeys(name for names in (*ins, *results) for name in names)
    free = {"b"} if mixed else {"b", "l"}
    rule = " -> ".join(", ".join(" ".join(names) for names in side) for side in (ins, results))
    return rule, tuple(name for name in used if name not in free)


def _names(shape: tuple[Any, ...], place: Place, lanes: int, fresh: Iterator[str]) -> list[str]:
    names = [next(fresh) for _ in shape]
    if shape[place.lanes] == lanes:
        names[place.lanes] = "l"
    if place.batch is not None:
        names[place.batch] = "b"
    return names
