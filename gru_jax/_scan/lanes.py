"""A call of `scan`, checked and normalised once: T steps of one flat batch and two masks.

One or more lanes run side by side on the same inputs. A backend sees one shape of problem.
"""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gru_jax._backends.backend import Backend, Problem
from gru_jax._backends.chunks import run_in_chunks
from gru_jax._backends.unit_axis import add_axis, drop_axis
from gru_jax._cells.carry_checks import broadcast_carry, carry_shapes, check_carry
from gru_jax._cells.cell import Cell
from gru_jax._cells.checks import check_inputs, check_positive, leading_shape
from gru_jax._cells.placement import batch_sharding, gathered, place, varying_axes
from gru_jax._cells.precision import current_precision, input_dtype
from gru_jax._scan.checks import (
    check_cell,
    check_lengths,
    check_precision,
    check_step_mask,
    check_unroll,
    with_precision,
)
from gru_jax._scan.choice import choose
from gru_jax._scan.masks import restart_steps, restored_steps, valid_steps


class Plan(NamedTuple):
    """All that is fixed when a scan is traced; hashable, so that equal calls share one compiled program.

    `reverse` has a flag for each lane, `name` is the backend that was asked for.
    """

    cell: Cell
    backend: Backend
    name: str
    reverse: tuple[bool, ...]
    unroll: int | None
    remat: int | None
    precision: str | None


def scan_lanes(
    cell: Cell,
    params: tuple[Any, ...],
    xs: Any,
    carry: tuple[Any, ...],
    *,
    reset_carry: tuple[Any, ...],
    reverse: tuple[bool, ...],
    seq_lengths: Any = None,
    mask: Any = None,
    resets: Any = None,
    unroll: Any = None,
    remat: Any = None,
    precision: Any = None,
    backend: Any = "auto",
) -> tuple[tuple[Any, ...], tuple[jax.Array, ...]]:
    """`scan` for runs side by side on the same xs: of each lane, its params, carry, `reset_carry` and direction.

    Returns:
      The final carry of each lane, and its ys.
    """
    check_cell(cell)
    checked = [check_inputs(cell, "xs", xs, p, axes=("T", "*B")) for p in params]
    params, xs = tuple(p for p, _ in checked), checked[0][1]
    lead = leading_shape(cell, params[0], xs)
    steps, batch = lead[0], lead[1:]
    for p in params:
        carry_shapes(cell, batch, p)
    lanes = range(len(params))
    carry = tuple(None if carry[i] is None else check_carry(cell, "carry", carry[i], params[i], batch) for i in lanes)
    reset_carry = tuple(
        None
        if reset_carry[i] is None
        else check_carry(cell, "reset_carry", reset_carry[i], params[i], batch, steps=steps)
        for i in lanes
    )
    if mask is not None and seq_lengths is not None:
        raise ValueError(
            "mask and seq_lengths: expected at most one of them, got both; "
            "fold the lengths into the mask: mask & (jnp.arange(T)[:, None] < seq_lengths)."
        )
    precision = check_precision(precision)
    problem = Problem(
        cell, None, steps, math.prod(batch), None, None, input_dtype(xs), precision or current_precision()
    )
    plan = Plan(
        # Without `init`: cells that differ in it alone share one compiled program.
        cell=cell.replace(init=None),
        backend=choose(backend, problem),
        name=backend,
        reverse=reverse,
        unroll=check_unroll(unroll),
        remat=None if remat is None else check_positive("remat", remat, remedy="None keeps the carry of every step"),
        precision=precision,
    )
    masks = (
        check_lengths(seq_lengths, steps, batch),
        check_step_mask("mask", mask, (steps, *batch)),
        check_step_mask("resets", resets, (steps, *batch)),
    )
    if _side_by_side(plan, params):
        return _run(plan, params, xs, carry, *masks, reset_carry)
    runs = [
        _run(plan._replace(reverse=(reverse[i],)), (params[i],), xs, (carry[i],), *masks, (reset_carry[i],))
        for i in lanes
    ]
    return tuple(carry for (carry,), _ in runs), tuple(ys for _, (ys,) in runs)


def _side_by_side(plan: Plan, params: tuple[Any, ...]) -> bool:
    """Whether all lanes can be one call: alike in their shapes, and not cut in time, which each direction does anew."""
    if len(set(plan.reverse)) > 1 and plan.remat is not None:
        return False
    types = [jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), p) for p in params]
    return all(one == types[0] for one in types[1:])


@functools.partial(jax.jit, static_argnums=0, inline=True)
def _run(
    plan: Plan,
    params: tuple[Any, ...],
    xs: Any,
    carry: tuple[Any, ...],
    seq_lengths: jax.Array | None,
    mask: jax.Array | None,
    resets: jax.Array | None,
    reset_carry: tuple[Any, ...],
) -> tuple[tuple[Any, ...], tuple[jax.Array, ...]]:
    lead = leading_shape(plan.cell, params[0], xs)
    steps, batch = lead[0], lead[1:]
    zero = tuple(plan.cell.carry(p, batch_shape=batch) for p in params)
    carry = tuple(own if given is None else broadcast_carry(given, own) for given, own in zip(carry, zero, strict=True))
    by_step, reset_carry = _spread(reset_carry, zero, steps)

    params = gathered(params)
    # A loop needs states of one type: sharded as the batch of xs, and varying over the mesh wherever anything does. Its
    # time axis must not be sharded.
    sharded = batch_sharding(jax.tree.leaves(xs)[0], range(1, 1 + len(batch)))
    varying = varying_axes(params, xs, carry, seq_lengths, mask, resets, reset_carry)
    carry = place(carry, sharded, varying)
    reset_carry = place(reset_carry, (None, *sharded) if by_step else sharded, varying)
    xs, mask, resets = place((xs, mask, resets), (None, *sharded), frozenset())
    seq_lengths = place(seq_lengths, sharded, frozenset())
    if len(batch) > 1 and any(sharded):
        # Not merged into one axis: that would gather an axis of the batch that is sharded.
        mapped = (None, 1, 0, 0, 1, 1, int(by_step))
        arrays = (params, xs, carry, seq_lengths, mask, resets, reset_carry)
        return jax.vmap(functools.partial(_run, plan), mapped, (0, 1))(*arrays)

    # None is an empty tree, so what was not given stays None.
    flat = functools.partial(_flatten, plan.backend, len(batch))
    xs, mask, resets = jax.tree.map(lambda leaf: flat(leaf, 1), (xs, mask, resets))
    seq_lengths, carry = jax.tree.map(lambda leaf: flat(leaf, 0), (seq_lengths, carry))
    reset_carry = jax.tree.map(lambda leaf: flat(leaf, int(by_step)), reset_carry)
    valid = valid_steps(steps, seq_lengths, mask)
    if valid is not None:
        # Zeroed here, not only where y and the carry are chosen: 0 * NaN in the backward pass would be NaN.
        xs = jax.tree.map(functools.partial(_zero_outside, valid), xs)
    carry, ys = _run_flat(plan, params, xs, carry, valid, resets, reset_carry, by_step)
    whole = functools.partial(_restore, plan.backend, batch)
    return jax.tree.map(lambda leaf: whole(leaf, 0), carry), tuple(whole(y, 1) for y in ys)


def _run_flat(
    plan: Plan,
    params: tuple[Any, ...],
    xs: Any,
    carry: tuple[Any, ...],
    valid: jax.Array | None,
    resets: jax.Array | None,
    reset_carry: tuple[Any, ...],
    by_step: bool,
) -> tuple[tuple[Any, ...], tuple[jax.Array, ...]]:
    """Run one flat batch, in pieces where `remat` cuts it. Masks turn into what a backend sees, of each lane."""
    restart = None
    if resets is not None:
        # One for each direction: lanes in the same one share it.
        moved = {flag: restart_steps(resets, valid, reverse=flag) for flag in set(plan.reverse)}
        restart = tuple(moved[flag] for flag in plan.reverse)
    if by_step:
        lanes = zip(reset_carry, plan.reverse, strict=True)
        reset_carry = tuple(
            jax.tree.map(lambda leaf, flag=flag: restored_steps(leaf, valid, reverse=flag), tree)
            for tree, flag in lanes
        )
    shared, restored = (None, reset_carry) if by_step else (reset_carry, None)
    with with_precision(plan.precision):
        run = functools.partial(_run_steps, plan, params, shared)
        pieces = (xs, valid, restart, None if restart is None else restored)
        if plan.remat is None:
            return run(carry, pieces)
        return run_in_chunks(jax.checkpoint(run), carry, pieces, plan.remat, reverse=plan.reverse[0])


def _spread(reset_carry: tuple[Any, ...], zero: tuple[Any, ...], steps: Any) -> tuple[bool, tuple[Any, ...]]:
    """Whether the states that resets restore differ by step, and all of them: `(T, *B, H)` if so, else `(*B, H)`.

    One lane's makes those of all differ by step.
    """
    whole = tuple(own if given is None else given for given, own in zip(reset_carry, zero, strict=True))
    pairs = zip(jax.tree.leaves(whole), jax.tree.leaves(zero), strict=True)
    by_step = any(leaf.ndim > own.ndim for leaf, own in pairs)
    lanes = zip(whole, zero, strict=True)
    return by_step, tuple(broadcast_carry(given, own, steps if by_step else None) for given, own in lanes)


def _run_steps(plan: Plan, params: tuple[Any, ...], shared: Any, carry: Any, pieces: Any) -> tuple[Any, Any]:
    """Run a piece of the steps. A reset restores `shared`, or the state of its own step where the piece has those."""
    xs, valid, restart, by_step = pieces
    carry, ys = plan.backend.run(
        plan.cell,
        params,
        carry,
        xs,
        valid,
        restart,
        None if restart is None else shared if by_step is None else by_step,
        reverse=plan.reverse,
        unroll=plan.unroll,
        backend=plan.name,
    )
    return carry, tuple(jnp.astype(y, input_dtype(xs)) for y in ys)


def _zero_outside(valid: jax.Array, x: jax.Array) -> jax.Array:
    """x `(T, B, ...)` where `valid (T, B)` holds, elsewhere 0."""
    return jnp.where(valid.reshape(valid.shape + (1,) * (x.ndim - valid.ndim)), x, jnp.zeros_like(x))


def _flatten(backend: Backend, axes: int, leaf: jax.Array, start: int) -> jax.Array:
    """The leaf, `axes` of its axes from `start` on merged into one."""
    if axes == 0:
        return add_axis(leaf, start) if backend.opaque else jnp.expand_dims(leaf, start)
    if axes == 1:
        return leaf
    size = math.prod(leaf.shape[start : start + axes])
    return leaf.reshape(*leaf.shape[:start], size, *leaf.shape[start + axes :])


def _restore(backend: Backend, batch: tuple[Any, ...], leaf: jax.Array, start: int) -> jax.Array:
    """The leaf with the axes that `_flatten` merged."""
    if not batch:
        return drop_axis(leaf, start) if backend.opaque else jnp.squeeze(leaf, start)
    return leaf.reshape(*leaf.shape[:start], *batch, *leaf.shape[start + 1 :])
