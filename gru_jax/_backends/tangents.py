"""The primitive `gru_tangents`: the tangents dh of all states of a GRU, a recurrence that is linear in dh.

    dh_t = A_t dh_(t-1) + (the part in v_t) + u_t          A and the part in v as in `gru_derivative`

w_h, p and h are known. The recurrence is linear in v, u, dh_0 and d_restored. Its transpose, backpropagation through
time, is the same primitive in another form: with λ_t, the cotangent that has gathered at dh_t, it returns the
cotangents a∘λ of v, λ of u, and those of dh_0 and d_restored. Each form is the transpose of the other. All that
training needs besides are matrix products over all steps.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from gru_jax._backends import platforms
from gru_jax._backends.backend import Problem
from gru_jax._backends.lanes import STEPS, WEIGHT, Place, by_direction, over_lanes, place_of_state
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
    w_h, a = recurrence_of(how, known)
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
    w_h, a = recurrence_of(how, known)
    zero = jnp.zeros_like(ct[0])
    by_step = wants.d_restored == "by step"
    counts = known.restart is not None and bool(wants.d_restored)

    def step(carry: Any, now: Any) -> tuple[Any, Any]:
        mu, restored = carry
        ct, a, restart = now
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
    # What the loop does not read stays out of it: XLA's order of what follows depends on it, by up to 9 % in time.
    in_loop = a._replace(a_n=None) if how.options.reset_after else a
    (mu, restored), (lam, s, stopped) = lax.scan(
        step, start, (ct, in_loop, _wide_restart(known)), reverse=not reverse, unroll=unroll
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


def recurrence_of(how: How, known: Known) -> tuple[tuple[jax.Array, ...], Coefficients]:
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
