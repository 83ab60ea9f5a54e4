"""How JAX differentiates and transposes `gru_tangents`: by binding it again.

The two forms are each other's transpose.

Second derivatives need no further rule. The tangent of dh in w_h, p and h is a recurrence of the same form, driven by
u = the derivative of one step at the dh that is known. The tangent of the transposed form is the transposed form of
ct + e, where e_t is the derivative of one transposed step at the λ that is known, one step further in its order. What
of e leaves at the first step belongs to dh_0, what a new start stops belongs to d_restored, and the derivative of a∘λ
at the known λ belongs to v.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.interpreters import ad

from gru_jax._backends.lanes import over_lanes, place_of_state
from gru_jax._backends.order import first_of, handed_back, seen
from gru_jax._backends.states import How
from gru_jax._backends.tangents import (
    Known,
    Linear,
    Operands,
    TangentsStatic,
    cotangents,
    gru_tangents,
    recurrence_of,
    tangents,
)
from gru_jax._cells.gru import GRUPreActivations
from gru_jax._cells.gru_derivative import drive, drive_back, recur, recur_back, total

_NO_V = GRUPreActivations(None, None, None, None)


def _jvp(static: TangentsStatic, operands: Operands, d_operands: Operands) -> tuple[Any, Any]:
    (known, given), (d_known, d_given) = operands, d_operands
    with static.how.products:
        if static.wants is None:
            dh, d_dh = _jvp_plain(static.how, known, given, d_known, _tidy(d_given))
            return (dh,), (d_dh,)
        return _jvp_transposed(static.how, static.wants, known, given, d_known, d_given)


def _jvp_plain(how: How, known: Known, linear: Linear, d_known: Known, d_linear: Linear) -> tuple[Any, Any]:
    dh = tangents(how, known, linear)
    before = seen(how.reverse, dh, linear.dh_0, known.restart, linear.d_restored)

    def step(known: Known, given: Any) -> jax.Array:
        """All steps at once, at the dh that each of them sees."""
        before, v = given
        w_h, a = recurrence_of(how, known)
        dh = total(recur(how.options, w_h, a, before), drive(how.options, w_h, a, v))
        assert dh is not None
        return dh

    u = _derivative(step, known, d_known, (before, linear.v))
    return dh, tangents(how, known, d_linear._replace(u=total(d_linear.u, u)))


def _jvp_transposed(
    how: How, wants: Linear, known: Known, ct: jax.Array, d_known: Known, d_ct: Any
) -> tuple[Linear, Linear]:
    out = cotangents(how, known, ct, wants._replace(u=True))

    def step(known: Known, lam: jax.Array) -> tuple[GRUPreActivations, jax.Array]:
        """All transposed steps at once, at the λ of each: the cotangents of v and of the dh before the step."""
        w_h, a = recurrence_of(how, known)
        there = lam if known.valid is None else jnp.where(known.valid[..., None], lam, 0)
        return drive_back(how.options, w_h, a, there, None), recur_back(how.options, w_h, a, lam)[0]

    moved = _derivative(step, known, d_known, out.u)
    d_out = Linear()
    if moved is not None:
        d_v, e = moved
        on, stopped = (e, None) if known.restart is None else _part(known.restart, e)
        d_ct = total(d_ct, handed_back(how.reverse, on))
        by_step = wants.d_restored == "by step"
        d_restored = stopped if by_step or stopped is None else jnp.sum(stopped, axis=0)
        d_out = Linear(d_v, None, first_of(how.reverse, on), d_restored)
    if d_ct is not None:
        d_out = _added(cotangents(how, known, d_ct, wants), d_out)
    return _of(wants, out, out), _of(wants, d_out, out)


def _of(wants: Linear, found: Linear, like: Linear) -> Linear:
    """Of all that was found what is wanted, zeros where nothing was found."""

    def part(want: Any, value: Any, like: Any) -> Any:
        return None if not want else jnp.zeros_like(like) if value is None else value

    v = None
    if wants.v:
        v = GRUPreActivations(*map(part, wants.v, found.v or _NO_V, like.v))
    return Linear(v, *map(part, wants[1:], found[1:], like[1:]))


def _added(a: Linear, b: Linear) -> Linear:
    v = GRUPreActivations(*map(total, a.v or _NO_V, b.v or _NO_V))
    return Linear(v, *map(total, a[1:], b[1:]))


def _part(restart: jax.Array, e: jax.Array) -> tuple[jax.Array, jax.Array]:
    """e where the step begins nothing new, and e where it does."""
    return jnp.where(restart[..., None], 0, e), jnp.where(restart[..., None], e, 0)


def _derivative(function: Callable[[Known, Any], Any], known: Known, d_known: Known, given: Any) -> Any:
    """The derivative of `function(known, given)`, lane by lane, in w_h, p and h; None where none of them moves."""
    leaves, tree = jax.tree.flatten(known[:3])
    moves = jax.tree.leaves(d_known[:3], is_leaf=lambda leaf: leaf is None)
    which = [i for i, move in enumerate(moves) if move is not None]
    if not which:
        return None

    def some(*values: jax.Array) -> Any:
        whole = list(leaves)
        for i, value in zip(which, values, strict=True):
            whole[i] = value
        w_h, p, h = tree.unflatten(whole)
        operands = Operands(known._replace(w_h=w_h, p=p, h=h), given)
        return over_lanes(lambda lane: function(*lane), operands, gru_tangents.places(operands))

    return jax.jvp(some, [leaves[i] for i in which], [moves[i] for i in which])[1]


def _tidy(linear: Linear) -> Linear:
    return linear if linear.v is None or any(part is not None for part in linear.v) else linear._replace(v=None)


def _transpose(static: TangentsStatic, operands: Operands, ct: Any) -> list[Any]:
    known, given = operands
    nothing = [None] * len(jax.tree.leaves(known, is_leaf=ad.is_undefined_primal))
    if static.wants is not None:
        ct = _tidy(ct)
        if not jax.tree.leaves(ct):
            return [*nothing, None]
        return [*nothing, _fit(tangents(static.how, known, ct), given)]
    operands_given = jax.tree.leaves(given, is_leaf=ad.is_undefined_primal)
    if ct[0] is None:
        return nothing + [None] * len(operands_given)
    v = None if given.v is None else GRUPreActivations(*map(ad.is_undefined_primal, given.v))
    u, dh_0, d_restored = map(ad.is_undefined_primal, given[1:])
    if d_restored and len(given.d_restored.aval.shape) == 4:
        d_restored = "by step"
    found = cotangents(static.how, known, ct[0], Linear(v if v and any(v) else None, u, dh_0, d_restored))
    found = Linear(found.v or _NO_V if given.v else None, *found[1:])
    values = jax.tree.leaves(_like(given, found), is_leaf=lambda leaf: leaf is None)
    return nothing + [
        None if value is None else _fit(value, operand) for value, operand in zip(values, operands_given, strict=True)
    ]


def _like(given: Linear, found: Linear) -> list[Any]:
    """The cotangents that were found, as a list with one entry for each operand that is there."""
    pairs = zip((*(given.v or ()), *given[1:]), (*(found.v or ()), *found[1:]), strict=True)
    return [value for operand, value in pairs if operand is not None]


def _fit(cotangent: jax.Array, operand: Any) -> jax.Array:
    """Summed over lanes where the operand has one that serves all."""
    axis = place_of_state(operand.aval).lanes
    if operand.aval.shape[axis] == cotangent.shape[axis]:
        return cotangent
    return jnp.sum(cotangent, axis, keepdims=True)


gru_tangents.def_jvp(_jvp)
gru_tangents.def_transpose(_transpose)
