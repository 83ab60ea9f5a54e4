"""The primitive `gru_tangents`: the tangents dh of all states of a GRU, a recurrence that is linear in dh.

    dh_t = A_t dh_(t-1) + (the part in v_t) + u_t          A and the part in v as in `gru_derivative`

w_h, p and h are known. The recurrence is linear in v, u, dh_0 and d_restored. Its transpose, backpropagation through
time, is the same primitive in another form: with λ_t, the cotangent that has gathered at dh_t, it returns the
cotangents a∘λ of v, λ of u, and those of dh_0 and d_restored. Each form is the transpose of the other. All that
training needs besides are matrix products over all steps.

Second derivatives need no further rule. The tangent of dh in w_h, p and h is a recurrence of the same form, driven by
u = the derivative of one step at the dh that is known. The tangent of the transposed form is the transposed form of
ct + e, where e_t is the derivative of one transposed step at the λ that is known, one step further in its order. What
of e leaves at the first step belongs to dh_0, what a new start stops belongs to d_restored, and the derivative of a∘λ
at the known λ belongs to v.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.interpreters import ad

from gru_jax._backends import platforms
from gru_jax._backends.backend import Problem
from gru_jax._backends.lanes import ROW, STEPS, WEIGHT, Place, by_direction, over_lanes, place_of_state, spread
from gru_jax._backends.primitive import LanePrimitive
from gru_jax._backends.states import How, problem_of
from gru_jax._cells.gru import GRUPreActivations
from gru_jax._cells.gru_derivative import (
    Coefficients,
    coefficients_of,
    drive,
    drive_back,
    recur,
    recur_back,
    total,
    transposed_parts,
)
from gru_jax._cells.placement import place, varying_axes


class Known(NamedTuple):
    """What the recurrence is made of.

    Attributes:
      w_h: `(L, H, 3H)`, in the dtype that products run in.
      p: four arrays `(T, L, B, H)`.
      h: the state that each step sees, `(T, L, B, H)`; finite in the padding, like p.
      valid: bool `(T, L, B)`, or None: where False, dh passes through, and v and u count as 0.
      restart: bool `(T, L, B)`, or None: where True, dh is replaced by d_restored before the step.
    """

    w_h: Any
    p: GRUPreActivations
    h: Any
    valid: Any
    restart: Any


class Linear(NamedTuple):
    """What the recurrence is linear in; None for zero. As a result, the cotangents of these.

    Attributes:
      v: the tangent of p with h and r held, four arrays `(T, L, B, H)`, each of them or all None.
      u: what is added to dh as it is, `(T, L, B, H)`.
      dh_0: the tangent of the state before the first step run, `(L, B, H)`.
      d_restored: that of the state which a new start begins with, `(L, B, H)`, or `(T, L, B, H)` by step.
    """

    v: Any = None
    u: Any = None
    dh_0: Any = None
    d_restored: Any = None


class TangentsStatic(NamedTuple):
    """`wants`: None for the plain form; for the transposed one a `Linear` of bools, which cotangents are returned.

    Its d_restored may also be "by step".
    """

    how: How
    wants: Linear | None


class Operands(NamedTuple):
    """`given` is a `Linear`; in the transposed form it is ct, the cotangents of all dh, `(T, L, B, H)`."""

    known: Known
    given: Any


_NO_V = GRUPreActivations(None, None, None, None)


def tangents(how: How, known: Known, linear: Linear) -> jax.Array:
    """dh after every step, `(T, L, B, H)`."""
    return gru_tangents(TangentsStatic(how, None), Operands(known, _alike(known, linear)))[0]


def cotangents(how: How, known: Known, ct: jax.Array, wants: Linear) -> Linear:
    """What `tangents` is linear in gets these cotangents from those of dh."""
    return gru_tangents(TangentsStatic(how, wants), Operands(known, _alike(known, ct)))


def _alike(known: Known, given: Any) -> Any:
    """Linear operands vary over the same axes of a `jax.shard_map` as all operands together: their transposes do."""
    return place(given, (), varying_axes(known, given))


def _places(operands: Operands) -> list[Place]:
    known, given = operands
    weights = [WEIGHT for _ in jax.tree.leaves(known.w_h)]
    of_steps = [STEPS for _ in jax.tree.leaves(known[1:])]
    return weights + of_steps + [place_of_state(leaf) for leaf in jax.tree.leaves(given)]


def _program(static: TangentsStatic, operands: Operands, platform: str | None) -> Any:
    def one_direction(reverse: bool, operands: Operands, places: Sequence[Place]) -> Any:
        if static.wants is None:
            return over_lanes(lambda lane: (_forward(static.how, reverse, lane, platform),), operands, places)
        v = GRUPreActivations(*(1 if want else None for want in static.wants.v)) if static.wants.v else None
        axes = (1, 0, 1 if static.wants.d_restored == "by step" else 0)
        lanes = Linear(v, *(axis if want else None for axis, want in zip(axes, static.wants[1:], strict=True)))
        return over_lanes(lambda lane: _backward(static, reverse, lane, platform), operands, places, lanes)

    with static.how.products:
        return by_direction(one_direction, static.how.reverse, operands, _places(operands))


def _forward(how: How, reverse: bool, lane: Operands, platform: str | None) -> jax.Array:
    """The plain form, of one lane."""
    known, linear = lane
    w_h, a = _recurrence(how, known)
    u = total(drive(how.options, w_h, a, linear.v), linear.u)
    if known.valid is not None and u is not None:
        u = jnp.where(known.valid[..., None], u, 0)
    dh = jnp.zeros_like(known.h[0] if u is None else u[0]) if linear.dh_0 is None else linear.dh_0
    shared, by_step = _by_step(linear.d_restored, 3)

    def step(dh: jax.Array, now: Any) -> tuple[jax.Array, jax.Array]:
        a, u, restart, restored = now
        if restart is not None:
            restored = shared if restored is None else restored
            dh = jnp.where(restart, 0 if restored is None else restored, dh)
        dh = recur(how.options, w_h, a, dh)
        dh = dh if u is None else dh + u
        return dh, dh

    unroll = platforms.unroll_for(platform, how.unroll, known.h.shape[0], tangents=True)
    return lax.scan(step, dh, (a, u, _wide_restart(known), by_step), reverse=reverse, unroll=unroll)[1]


def _backward(static: TangentsStatic, reverse: bool, lane: Operands, platform: str | None) -> Linear:
    """The transposed form, of one lane. μ is the cotangent of the dh before a step, λ of the one after it."""
    how, wants, (known, ct) = static.how, static.wants, lane
    assert wants is not None
    w_h, a = _recurrence(how, known)
    zero = jnp.zeros_like(ct[0])
    by_step = wants.d_restored == "by step"
    counts = known.restart is not None and bool(wants.d_restored)

    def step(carry: Any, now: Any) -> tuple[Any, Any]:
        mu, restored = carry
        a, ct, restart = now
        lam = mu + ct
        mu, s = recur_back(how.options, w_h, a, lam)
        stopped = jnp.where(restart, mu, 0) if counts else None
        if restored is not None:
            restored = restored + stopped
        if restart is not None:
            mu = jnp.where(restart, 0, mu)
        return (mu, restored), (lam, s if wants.v else None, stopped if by_step else None)

    unroll = platforms.unroll_for(platform, how.unroll, known.h.shape[0], tangents=True)
    start = zero, zero if counts and not by_step else None
    (mu, restored), (lam, s, stopped) = lax.scan(
        step, start, (a, ct, _wide_restart(known)), reverse=not reverse, unroll=unroll
    )
    if known.valid is not None:
        lam, s = (None if x is None else jnp.where(known.valid[..., None], x, 0) for x in (lam, s))
    v = None
    if wants.v:
        v = drive_back(how.options, w_h, a, lam, s)
        v = GRUPreActivations(*(part if want else None for part, want in zip(v, wants.v, strict=True)))
    nothing = jnp.zeros_like(ct) if by_step else zero
    restored = stopped if by_step else restored
    d_restored = (nothing if restored is None else restored) if wants.d_restored else None
    return Linear(v, lam if wants.u else None, mu if wants.dh_0 else None, d_restored)


def _recurrence(how: How, known: Known) -> tuple[tuple[jax.Array, ...], Coefficients]:
    """The recurrent weights and the coefficients, for the functions of `gru_derivative`."""
    return transposed_parts(how.options, known.w_h), coefficients_of(how.options, known.p, known.h, known.valid)


def _wide_restart(known: Known) -> jax.Array | None:
    # Broadcast before the loop: what a loop makes of known values would be made anew at each step.
    return None if known.restart is None else jnp.broadcast_to(known.restart[..., None], known.h.shape)


def _by_step(restored: Any, rank: int) -> tuple[Any, Any]:
    """The restored state as (the same at every step, by step), one of them None; or both."""
    if restored is None or restored.ndim < rank:
        return restored, None
    return None, restored


def _jvp(static: TangentsStatic, operands: Operands, d_operands: Operands) -> tuple[Any, Any]:
    (known, given), (d_known, d_given) = operands, d_operands
    with static.how.products:
        if static.wants is None:
            dh, d_dh = _jvp_plain(static.how, known, given, d_known, _tidy(d_given))
            return (dh,), (d_dh,)
        return _jvp_transposed(static.how, static.wants, known, given, d_known, d_given)


def _jvp_plain(how: How, known: Known, linear: Linear, d_known: Known, d_linear: Linear) -> tuple[Any, Any]:
    dh = tangents(how, known, linear)
    before = seen(how, dh, linear.dh_0, known.restart, linear.d_restored)

    def step(known: Known, given: Any) -> jax.Array:
        """All steps at once, at the dh that each of them sees."""
        before, v = given
        w_h, a = _recurrence(how, known)
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
        w_h, a = _recurrence(how, known)
        there = lam if known.valid is None else jnp.where(known.valid[..., None], lam, 0)
        return drive_back(how.options, w_h, a, there, None), recur_back(how.options, w_h, a, lam)[0]

    moved = _derivative(step, known, d_known, out.u)
    d_out = Linear()
    if moved is not None:
        d_v, e = moved
        on, stopped = (e, None) if known.restart is None else _part(known.restart, e)
        d_ct = total(d_ct, _handed_back(how, on))
        by_step = wants.d_restored == "by step"
        d_restored = stopped if by_step or stopped is None else jnp.sum(stopped, axis=0)
        d_out = Linear(d_v, None, _last(how, on), d_restored)
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
        return over_lanes(lambda lane: function(*lane), operands, _places(operands))

    return jax.jvp(some, [leaves[i] for i in which], [moves[i] for i in which])[1]


def seen(how: How, after: jax.Array, first: Any, restart: Any, restored: Any) -> jax.Array:
    """What each step sees of values that are known after each, `(T, L, B, H)`; None for zero.

    `first` is what the first step sees; a new start sees `restored`.
    """
    before = _shifted(how.reverse, after, first)
    if restart is None:
        return before
    return jnp.where(restart[..., None], 0 if restored is None else _over_steps(restored), before)


def _handed_back(how: How, before: jax.Array) -> jax.Array:
    """Values of the dh that each step sees, given to the step that made that dh; the last one run gets 0."""
    return _shifted(tuple(not reverse for reverse in how.reverse), before, None)


def _last(how: How, e: jax.Array) -> jax.Array:
    """The values of the first step run, `(L, B, H)`."""
    first = lambda reverse, e, places: (e[-1 if reverse else 0],)  # noqa: E731
    return by_direction(first, how.reverse, e, [STEPS])[0]


def _shifted(reverse: tuple[bool, ...], xs: jax.Array, first: Any) -> jax.Array:
    """xs one step later in the order that each lane runs, from `first` `(L, B, H)`."""

    def shift(reverse: bool, operands: Any, places: Sequence[Place]) -> Any:
        xs, first = operands
        first = jnp.zeros_like(xs[:1]) if first is None else spread(first[None], xs[:1])
        return (jnp.concatenate([xs[1:], first] if reverse else [first, xs[:-1]]),)

    places = [STEPS] if first is None else [STEPS, ROW]
    return by_direction(shift, reverse, (xs, first), places)[0]


def _over_steps(restored: jax.Array) -> jax.Array:
    return restored if restored.ndim == 4 else restored[None]


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


def _problem(static: TangentsStatic, operands: Operands) -> Problem:
    known = operands.known
    steps, _, batch, features = known.h.shape
    restored = static.wants.d_restored == "by step" if static.wants else getattr(operands.given, "d_restored", None)
    by_step = restored if isinstance(restored, bool) else restored is not None and len(restored.shape) == 4
    return problem_of(
        static.how,
        (steps, batch, features),
        known.w_h.dtype,
        mask=known.valid is not None,
        resets=known.restart is not None,
        by_step=by_step,
    )


gru_tangents = LanePrimitive(
    "gru_tangents",
    _program,
    kernel="tangents",
    places=_places,
    leader=lambda operands: operands.known.p.r,
    problem=_problem,
)
gru_tangents.def_jvp(_jvp)
gru_tangents.def_transpose(_transpose)
