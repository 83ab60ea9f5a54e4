"""The primitive `gru_states`: the state after every step of a GRU, in lanes.

Its derivative is in `fused`, and its only one: a lowering computes values and nothing else.
"""

import contextlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from gru_jax._backends import platforms
from gru_jax._backends.backend import Problem
from gru_jax._backends.chunks import run_in_chunks
from gru_jax._backends.lanes import ROW, STEPS, WEIGHT, Place, by_direction, count_lanes, over_lanes
from gru_jax._backends.primitive import LanePrimitive
from gru_jax._cells.cell import Cell
from gru_jax._cells.gru import GRUOptions, GRUParams, GRUPreActivations, gates, next_state, preactivations, project
from gru_jax._cells.precision import compute_params


class How(NamedTuple):
    """All that is fixed when a run is traced.

    Attributes:
      cell: a GRU.
      in_features: I.
      reverse: one flag a lane, repeated where there are more lanes: whether it runs from the last step to the first.
      unroll: steps in an iteration of the compiled loop, or None for the platform's choice.
      precision: of matrix products.
      backend: the name that was asked for; the lowering decides what that is.
    """

    cell: Cell
    in_features: Any
    reverse: tuple[bool, ...]
    unroll: int | None
    precision: str | None
    backend: str

    @property
    def options(self) -> GRUOptions:
        return self.cell.options

    @property
    def products(self) -> Any:
        """A context with the precision set around the call: what is lowered may be traced outside it."""
        return jax.default_matmul_precision(self.precision) if self.precision else contextlib.nullcontext()


class Steps(NamedTuple):
    """What steps see, `(T, L, B, ...)`; `valid` is None without padding, and `restart` without new starts.

    `restored` is the state that a new start begins with, where it differs by step, else None.
    """

    x: Any
    valid: Any
    restart: Any
    restored: Any


class States(NamedTuple):
    """The operands of `gru_states`.

    Attributes:
      params: GRUParams, leaves `(L, ...)`, in the carry's dtype.
      start: the state before the first step run, `(L, B, H)`.
      steps: what the steps see.
      restored: the state that a new start begins with, `(L, B, H)`; None where there is none or it differs by step.
    """

    params: GRUParams
    start: Any
    steps: Steps
    restored: Any


class StatesStatic(NamedTuple):
    """`keeps_p`: whether p is returned beside the states, which is what the derivative needs of every step."""

    how: How
    keeps_p: bool


def _places(operands: States) -> list[Place]:
    fields = ((operands.params, WEIGHT), (operands.start, ROW), (operands.steps, STEPS), (operands.restored, ROW))
    return [place for tree, place in fields for _ in jax.tree.leaves(tree)]


def _program(static: StatesStatic, operands: States, platform: str | None) -> tuple[Any, ...]:
    """`(hs,)`, or `(hs, p)`, each `(T, L, B, H)`: the states, padding included, in the carry's dtype."""

    def one_direction(reverse: bool, operands: States, places: Sequence[Place]) -> Any:
        lanes = count_lanes(jax.tree.leaves(operands), places)
        return over_lanes(lambda lane: _lane(static, reverse, lane, platform, lanes), operands, places)

    with static.how.products:
        return by_direction(one_direction, static.how.reverse, operands, _places(operands))


def _lane(static: StatesStatic, reverse: bool, operands: States, platform: str | None, lanes: int) -> tuple[Any, ...]:
    """One lane, chunk by chunk, so that the projections stay in cache."""
    how, (params, start, steps, restored) = static.how, operands
    total, batch = steps.x.shape[:2]
    size = platforms.chunking(platform, total, lanes * batch, steps.x.shape[-1], start.shape[-1]).steps
    unroll = platforms.unroll_for(platform, how.unroll, total)
    cut = gates(how.options, params, wide=platforms.settings_for(platform).wide_projection)

    def chunk(h: jax.Array, steps: Steps) -> Any:
        w = compute_params(cut, steps.x.dtype)

        def step(h: jax.Array, now: Any) -> Any:
            g, valid, restart, restored_now = now
            if restart is not None:
                h = jnp.where(restart[:, None], restored if restored_now is None else restored_now, h)
            # A NaN in the row's own state must not reach what is kept of its padding.
            seen = jnp.where(valid[:, None], h, 0) if static.keeps_p and valid is not None else h
            p = preactivations(how.options, w, seen, g)
            new = next_state(how.options, p, seen)
            if valid is not None:
                new = jnp.where(valid[:, None], new, h)
            return new, (new, (p.r, p.z, p.q) if static.keeps_p else None)

        g = project(w, steps.x)
        h, (hs, kept) = lax.scan(
            step, h, (g, steps.valid, steps.restart, steps.restored), reverse=reverse, unroll=unroll
        )
        if kept is None:
            return h, (hs,)
        # The candidate's part of the input is known before the loop, which would write it once more.
        g_n = g[-1] if len(g) == 3 else jnp.split(g[0], 3, axis=-1)[-1]
        return h, (hs, GRUPreActivations(kept[0], kept[1], g_n, kept[2]))

    return run_in_chunks(chunk, start, steps, size, reverse=reverse)[1]


def _problem(static: StatesStatic, operands: States) -> Problem:
    steps = operands.steps
    return problem_of(
        static.how,
        (steps.x.shape[0], steps.x.shape[2], operands.start.shape[-1]),
        steps.x.dtype,
        mask=steps.valid is not None,
        resets=steps.restart is not None,
        by_step=steps.restored is not None,
    )


def problem_of(
    how: How, sizes: tuple[Any, Any, Any], dtype: Any, *, mask: bool, resets: bool, by_step: bool
) -> Problem:
    """The problem that a primitive's operands pose, of sizes T, B and H."""
    steps, batch, features = sizes
    used = {"mask": mask, "resets": resets, "reset_carry by step": by_step}
    options = frozenset(name for name, there in used.items() if there)
    return Problem(how.cell, None, steps, batch, how.in_features, features, dtype, how.precision, options)


gru_states = LanePrimitive(
    "gru_states",
    _program,
    kernel="states",
    places=_places,
    leader=lambda operands: operands.steps.x,
    problem=_problem,
)
