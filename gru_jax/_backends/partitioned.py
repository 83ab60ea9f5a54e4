"""A kernel on a batch that is sharded over devices: every device calls it for its own rows and lanes.

JAX's compiler does not look into a foreign call. It gathers a sharded operand for it, unless it is told how to cut the
call: rows and lanes are apart from each other, steps and features are not.
"""

from collections.abc import Callable, Iterator
from typing import Any, Literal

import jax
from jax.experimental.custom_partitioning import custom_partitioning

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

        call = custom_partitioning(of_shard)
        rule, replicated = _rule(leaves, places(operands), shapes, mixed=len(set(static.how.reverse)) > 1)
        call.def_partition(
            partition=lambda mesh, ins, outs: (
                mesh,
                of_shard,
                tuple(out.sharding for out in outs),
                tuple(leaf.sharding for leaf in ins),
            ),
            sharding_rule=rule,
            need_replication_factors=replicated,
        )
        return out_tree.unflatten(call(*leaves))

    return cut


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
