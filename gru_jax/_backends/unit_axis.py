"""An axis of size 1, added and dropped in its place.

`jnp.expand_dims` and `jnp.squeeze` do the same. But under vmap they move the mapped axis to the front, and what is
computed between them runs in another layout than the primitives do. These leave it in its place.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir


def _move(x: Any, *, axis: int, adds: bool) -> jax.Array:
    return jnp.expand_dims(x, axis) if adds else jnp.squeeze(x, axis)


@functools.lru_cache(maxsize=1024)
def _type(aval: Any, axis: int, adds: bool, mesh: Any) -> Any:
    """The type of the result; it names the mesh that is set, which the operand's need not tell."""
    return jax.make_jaxpr(functools.partial(_move, axis=axis, adds=adds))(aval).out_avals[0]


def _batch(leaves: Any, mapped: Any, *, axis: int, adds: bool) -> tuple[jax.Array, int]:
    ((x,), (m,)) = leaves, mapped
    # The new axis shifts the mapped one, or the mapped one the new.
    inside = m > axis if not adds else m >= axis
    moved = unit_axis.bind(x, axis=axis if inside else axis + 1, adds=adds)
    return moved, m + (1 if adds else -1) * inside


unit_axis = Primitive("unit_axis")
unit_axis.def_impl(_move)
unit_axis.def_abstract_eval(lambda aval, axis, adds: _type(aval, axis, adds, jax.sharding.get_abstract_mesh()))
ad.deflinear2(unit_axis, lambda ct, _, axis, adds: [unit_axis.bind(ct, axis=axis, adds=not adds)])
batching.primitive_batchers[unit_axis] = _batch
mlir.register_lowering(unit_axis, mlir.lower_fun(_move, multiple_results=False))


def add_axis(x: jax.Array, axis: int) -> jax.Array:
    """x with an axis of size 1."""
    return unit_axis.bind(x, axis=axis, adds=True)


def drop_axis(x: jax.Array, axis: int) -> jax.Array:
    """x without this axis, of size 1."""
    return unit_axis.bind(x, axis=axis, adds=False)
