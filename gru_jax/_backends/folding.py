"""Functions of a batch whose vmap is a wider batch.

`jax.vmap` maps a program operation by operation. Operations that are parallel over time get the mapped axis in front,
loops over time get it behind the time axis, and XLA copies between the two. A function that JAX sees as one primitive
can merge the mapped axis into its batch axis instead, and run the program that it runs on a batch of that width.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive, jaxpr_as_fun
from jax.interpreters import ad, batching, mlir


def fold_vmap(
    name: str,
    function: Callable[..., jax.Array],
    jvp: Callable[[Any, Any, Any], tuple[jax.Array, jax.Array]],
    *,
    batch_axes: tuple[int, ...],
    out_axis: int,
    leader: int,
) -> Callable[..., jax.Array]:
    """`function`, with a vmap that calls it once on a wider batch where that is possible and pays.

    Folding is not possible where an argument without a batch is mapped, such as params, nor, on several devices, where
    a mapped batch has more rows than one. Folding does not pay where the leader is not mapped. In these cases vmap maps
    `function` as any other.

    Args:
      name: of the primitive, in jaxprs.
      function: `(static, *arguments) -> array`, which treats each row of its batch alone. JAX must be able to
        differentiate it, for the cases above.
      jvp: `(static, arguments, tangents) -> (out, tangent of out)`, its derivative; a tangent of None is zero. The
        primitive has this rule of its own, so that a folded call is differentiated as a whole.
      batch_axes: for each argument, the axis of the batch in its leaves, or -1 where they have no batch.
      out_axis: the axis of the batch in the result.
      leader: the argument whose first leaf must be mapped. Otherwise, folding would repeat what is computed from it
        alone for each element of the mapped axis.
    """
    primitive = Primitive(name)

    def call(static: Any, *arguments: Any) -> jax.Array:
        leaves, tree = jax.tree.flatten(arguments)
        # The program that the primitive stands for, traced once. It gives the type of the result, it is what runs, and
        # tools that read jaxprs find it in the equation.
        jaxpr = jax.make_jaxpr(lambda *leaves: function(static, *tree.unflatten(leaves)))(*leaves)
        return primitive.bind(*leaves, jaxpr=jaxpr, static=static, tree=tree)

    def run(*leaves: Any, jaxpr: Any, static: Any, tree: Any) -> jax.Array:
        return jaxpr_as_fun(jaxpr)(*leaves)[0]

    def differentiate(leaves: Any, tangents: Any, *, jaxpr: Any, static: Any, tree: Any) -> tuple[jax.Array, jax.Array]:
        known = [None if type(tangent) is ad.Zero else tangent for tangent in tangents]
        return jvp(static, tree.unflatten(leaves), tree.unflatten(known))

    def widen(leaves: Any, mapped: Any, *, jaxpr: Any, static: Any, tree: Any) -> tuple[jax.Array, int]:
        axes = [
            axis
            for argument, axis in zip(tree.unflatten(leaves), batch_axes, strict=True)
            for _ in jax.tree.leaves(argument)
        ]
        first = sum(len(jax.tree.leaves(argument)) for argument in tree.unflatten(leaves)[:leader])
        if mapped[first] is None or not _can_fold(leaves, mapped, axes):
            return jax.vmap(lambda *leaves: function(static, *tree.unflatten(leaves)), mapped)(*leaves), 0
        lead = jnp.moveaxis(leaves[first], mapped[first], 0)
        size, rows = lead.shape[0], lead.shape[1 + axes[first]]
        wide = [_fold(leaf, m, axis, size) for leaf, m, axis in zip(leaves, mapped, axes, strict=True)]
        out = call(static, *tree.unflatten(wide))
        before, after = out.shape[:out_axis], out.shape[out_axis + 1 :]
        return out.reshape(*before, size, rows, *after), out_axis

    primitive.def_impl(run)
    primitive.def_abstract_eval(lambda *leaves, jaxpr, static, tree: jaxpr.out_avals[0])
    ad.primitive_jvps[primitive] = differentiate
    batching.primitive_batchers[primitive] = widen
    mlir.register_lowering(primitive, mlir.lower_fun(run, multiple_results=False))
    return call


def _can_fold(leaves: Sequence[jax.Array], mapped: Sequence[int | None], axes: Sequence[int]) -> bool:
    if any(axis < 0 and m is not None for m, axis in zip(mapped, axes, strict=True)):
        return False
    # An axis that is sharded over devices loses its shards when it is merged with another.
    of_batch = [(leaf, m, axis) for leaf, m, axis in zip(leaves, mapped, axes, strict=True) if axis >= 0]
    rows = [jnp.moveaxis(leaf, m, 0).shape[axis + 1] for leaf, m, axis in of_batch if m is not None]
    if jax.device_count() > 1 and any(one != 1 for one in rows):
        return False
    # On a mesh of explicit axes, arrays that are not mapped would have to be sharded as the mapped ones are.
    shared = any(m is None for _, m, _ in of_batch)
    return not (shared and any(any(jax.typeof(leaf).sharding.spec) for leaf, m, _ in of_batch if m is not None))


def _fold(leaf: jax.Array, mapped: int | None, axis: int, size: int) -> jax.Array:
    if axis < 0:
        return leaf
    if mapped is None:
        leaf = jnp.broadcast_to(jnp.expand_dims(leaf, axis), (*leaf.shape[:axis], size, *leaf.shape[axis:]))
    else:
        leaf = jnp.moveaxis(leaf, mapped, axis)
    return leaf.reshape(*leaf.shape[:axis], size * leaf.shape[axis + 1], *leaf.shape[axis + 2 :])
