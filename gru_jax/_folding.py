"""Functions of a batch whose vmap is a wider batch.

`jax.vmap` maps a program operation by operation. Operations that are parallel over time get the mapped axis in front,
loops over time get it behind the time axis, and between the two XLA copies. A function that JAX sees as one primitive
can take the mapped axis into the batch axis that it has, and run the program that it would have run on that batch.
"""

from collections.abc import Callable
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
    batch_axes: tuple[int | None, ...],
    out_axis: int,
) -> Callable[..., jax.Array]:
    """`function`, with a vmap that calls it once on a wider batch where the batch is all that is mapped.

    Args:
      name: of the primitive, in jaxprs.
      function: `(static, *arguments) -> array`, which treats each row of its batch alone. Where the mapped axis cannot
        be folded it is this that vmap maps, so JAX must be able to differentiate it.
      jvp: `(static, arguments, tangents) -> (out, tangent of out)`, its derivative; a tangent of None is zero.
      batch_axes: for each of arguments the axis of the batch in its leaves, None where they have no batch.
      out_axis: the axis of the batch in what is returned.
    """
    primitive = Primitive(name)

    def call(static: Any, *arguments: Any) -> jax.Array:
        leaves, tree = jax.tree.flatten(arguments)
        # A part of the equation, for those who read jaxprs.
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
        if not all(map(_folds, leaves, mapped, axes)):
            return jax.vmap(lambda *leaves: function(static, *tree.unflatten(leaves)), mapped)(*leaves), 0
        size = next(leaf.shape[m] for leaf, m in zip(leaves, mapped, strict=True) if m is not None)
        wide = [_fold(leaf, m, axis, size) for leaf, m, axis in zip(leaves, mapped, axes, strict=True)]
        out = call(static, *tree.unflatten(wide))
        before, after = out.shape[:out_axis], out.shape[out_axis + 1 :]
        return out.reshape(*before, size, out.shape[out_axis] // size, *after), out_axis

    primitive.def_impl(run)
    primitive.def_abstract_eval(lambda *leaves, jaxpr, static, tree: jaxpr.out_avals[0])
    ad.primitive_jvps[primitive] = differentiate
    batching.primitive_batchers[primitive] = widen
    mlir.register_lowering(primitive, mlir.lower_fun(run, multiple_results=False))
    return call


def _folds(leaf: jax.Array, mapped: int | None, axis: int | None) -> bool:
    if mapped is None:
        # A sequence that all share: what is parallel over time is computed once for all when only the rest is mapped.
        return axis != 1 or not jnp.issubdtype(leaf.dtype, jnp.floating)
    # An axis that is sharded over devices keeps its shards only when it is not merged with another.
    return axis is not None and (jax.device_count() == 1 or jnp.moveaxis(leaf, mapped, 0).shape[axis + 1] == 1)


def _fold(leaf: jax.Array, mapped: int | None, axis: int | None, size: int) -> jax.Array:
    if axis is None:
        return leaf
    if mapped is None:
        leaf = jnp.broadcast_to(jnp.expand_dims(leaf, axis), (*leaf.shape[:axis], size, *leaf.shape[axis:]))
    else:
        leaf = jnp.moveaxis(leaf, mapped, axis)
    return leaf.reshape(*leaf.shape[:axis], size * leaf.shape[axis + 1], *leaf.shape[axis + 2 :])
