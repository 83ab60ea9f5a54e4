"""Running a cell over time.

`scan` checks and normalises once, to T steps of one flat batch and two masks; a backend then sees one shape of problem.
"""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from gru_jax._backends.backend import Backend
from gru_jax._backends.chunks import run_in_chunks
from gru_jax._cells.carry_checks import broadcast_carry, carry_shapes, check_carry
from gru_jax._cells.cell import Cell
from gru_jax._cells.checks import check_flag, check_inputs, check_positive, leading_shape
from gru_jax._cells.placement import batch_sharding, gathered, place, varying_axes
from gru_jax._cells.precision import input_dtype
from gru_jax._scan.checks import check_cell, check_lengths, check_precision, check_step_mask, with_precision
from gru_jax._scan.choice import choose
from gru_jax._scan.masks import restart_steps, restored_steps, valid_steps


class Plan(NamedTuple):
    """All that is fixed when a scan is traced; hashable, so that equal calls share one compiled program."""

    cell: Cell
    backend: Backend
    reverse: bool
    unroll: int
    remat: int | None
    precision: str | None


def scan(
    cell: Cell,
    params: Any,
    xs: Any,
    carry: Any = None,
    *,
    seq_lengths: jax.Array | None = None,
    mask: jax.Array | None = None,
    resets: jax.Array | None = None,
    reset_carry: Any = None,
    reverse: bool = False,
    unroll: int = 1,
    remat: int | None = None,
    precision: str | lax.Precision | None = None,
    backend: str = "auto",
) -> tuple[Any, jax.Array]:
    """Run a cell over the leading axis of xs.

    One row of the batch means:

        steps = [t for t in range(T) if mask[t]]             # or t < seq_lengths
        for t in reversed(steps) if reverse else steps:
            starts = resets[t] if not reverse else resets[s] # s: the step run before t, if there is one
            if starts:
                carry = reset_carry
            carry, ys[t] = cell(params, carry, xs[t])        # all other ys are 0

    No value, gradient, NaN or reset in padding reaches anything. No gradient crosses a reset. A NaN before a reset
    reaches no value after it, but does reach the gradients of params, as it would if the sequences were run apart and
    their gradients added.

    Cutting xs and threading the carry gives the same as the whole. In reverse, a reset at the first step of the later
    piece lies on the cut: there the earlier piece starts from `reset_carry`, not from the later piece's carry.

    Args:
      cell: what `gru_jax.gru()` and its kind return.
      params: what `cell.init` returned.
      xs: inputs `(T, *B, I)`, any float dtype; float64 only with float64 params. Matrix products run in this dtype and
        accumulate in float32 (float64 for float64). `cell.input_shape` may ask for more feature axes (`conv_gru`), or
        for a NamedTuple of arrays that share `(T, *B)` (`gru_d`).
      carry: the initial state, leaves `(*B, H)` in float32 (float64 for float64 params), or anything that broadcasts
        to it over the batch, such as `(H,)`; None: `cell.carry`, zeros. On a mesh of explicit axes, and inside
        `jax.shard_map`, it is sharded as the batch of xs is.
      seq_lengths: int `(*B,)`: row b is `xs[:seq_lengths[b]]` and the rest is padding.
      mask: bool `(T, *B)`, False = padding, anywhere; not together with `seq_lengths`.
      resets: bool `(T, *B)`, True = a new sequence starts at step t: the carry is reset before step t.
      reset_carry: the state that a reset restores, leaves `(*B, H)` or anything that broadcasts to it, such as `(H,)`;
        or one for each step, `(T, *B, H)`: a reset takes the one at its index. None: the cell's zero carry.
      reverse: run from the last step to the first; ys stays in the order of xs.
      unroll: steps in one iteration of the compiled loop.
      remat: k: keep the carry only every k steps and recompute the steps between in the backward pass, for
        O(T/k + k) activations in place of O(T).
      precision: of the matrix products, as `jax.default_matmul_precision` takes it, or a `lax.Precision`; None: what
        is set around the call.
      backend: "auto", or a backend's name; see the README for which there are.

    Returns:
      The carry after the last valid step of each row, leaves `(*B, H)` (the initial one for a row without any), and ys
      `(T, *B, H)` in the dtype of xs, 0 in the padding.

    Raises:
      TypeError, ValueError: naming the argument that does not fit, what was expected, what came, and the way out.
          Lengths are checked against 0..T where their values are known; traced ones are clamped.

    Example:
      >>> import gru_jax, jax, jax.numpy as jnp
      >>> cell = gru_jax.gru()
      >>> params = cell.init(jax.random.key(0), in_features=3, features=5)
      >>> carry, ys = gru_jax.scan(cell, params, jnp.ones((7, 2, 3)), seq_lengths=jnp.array([7, 4]))
      >>> ys.shape, bool(jnp.all(ys[4:, 1] == 0)), bool(jnp.allclose(carry[1], ys[3, 1]))
      ((7, 2, 5), True, True)
    """
    check_cell(cell)
    params, xs = check_inputs(cell, "xs", xs, params, axes=("T", "*B"))
    lead = leading_shape(cell, params, xs)
    steps, batch = lead[0], lead[1:]
    carry_shapes(cell, batch, params)
    if carry is not None:
        carry = check_carry(cell, "carry", carry, params, batch)
    if reset_carry is not None:
        reset_carry = check_carry(cell, "reset_carry", reset_carry, params, batch, steps=steps)
    if mask is not None and seq_lengths is not None:
        raise ValueError(
            "mask and seq_lengths: expected at most one of them, got both; "
            "fold the lengths into the mask: mask & (jnp.arange(T)[:, None] < seq_lengths)."
        )
    plan = Plan(
        # Without `init`: cells that differ in it alone share one compiled program.
        cell=cell.replace(init=None),
        backend=choose(backend, cell, jax.default_backend(), steps),
        reverse=check_flag("reverse", reverse),
        unroll=check_positive("unroll", unroll, remedy="1 runs one step at a time"),
        remat=None if remat is None else check_positive("remat", remat, remedy="None keeps the carry of every step"),
        precision=check_precision(precision),
    )
    return _run(
        plan,
        params,
        xs,
        carry,
        check_lengths(seq_lengths, steps, batch),
        check_step_mask("mask", mask, (steps, *batch)),
        check_step_mask("resets", resets, (steps, *batch)),
        reset_carry,
    )


@functools.partial(jax.jit, static_argnums=0, inline=True)
def _run(
    plan: Plan,
    params: Any,
    xs: Any,
    carry: Any,
    seq_lengths: jax.Array | None,
    mask: jax.Array | None,
    resets: jax.Array | None,
    reset_carry: Any,
) -> tuple[Any, jax.Array]:
    lead = leading_shape(plan.cell, params, xs)
    steps, batch = lead[0], lead[1:]
    zero = plan.cell.carry(params, batch_shape=batch)
    carry = zero if carry is None else broadcast_carry(carry, zero)
    by_step, reset_carry = _spread(zero if reset_carry is None else reset_carry, zero, steps)

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
    xs, mask, resets = jax.tree.map(lambda leaf: _flatten(leaf, 1, len(batch)), (xs, mask, resets))
    seq_lengths, carry = jax.tree.map(lambda leaf: _flatten(leaf, 0, len(batch)), (seq_lengths, carry))
    reset_carry = jax.tree.map(lambda leaf: _flatten(leaf, int(by_step), len(batch)), reset_carry)
    valid = valid_steps(steps, seq_lengths, mask)
    restart = restart_steps(resets, valid, reverse=plan.reverse)
    if by_step:
        reset_carry = jax.tree.map(lambda leaf: restored_steps(leaf, valid, reverse=plan.reverse), reset_carry)
    if valid is not None:
        # Zeroed here, not only where y and the carry are chosen: 0 * NaN in the backward pass would be NaN.
        xs = jax.tree.map(functools.partial(_zero_outside, valid), xs)
    shared, by_step = (None, reset_carry) if by_step else (reset_carry, None)

    with with_precision(plan.precision):
        run = functools.partial(_run_steps, plan, params, shared)
        pieces = (xs, valid, restart, None if restart is None else by_step)
        if plan.remat is None:
            carry, ys = run(carry, pieces)
        else:
            carry, ys = run_in_chunks(jax.checkpoint(run), carry, pieces, plan.remat, reverse=plan.reverse)
    carry = jax.tree.map(lambda leaf: leaf.reshape(*batch, *leaf.shape[1:]), carry)
    return carry, ys.reshape(ys.shape[0], *batch, *ys.shape[2:])


def _spread(reset_carry: Any, zero: Any, steps: Any) -> tuple[bool, Any]:
    """Whether the state that a reset restores differs by step, and all of it: `(T, *B, H)` if so, else `(*B, H)`."""
    pairs = zip(jax.tree.leaves(reset_carry), jax.tree.leaves(zero), strict=True)
    by_step = any(leaf.ndim > whole.ndim for leaf, whole in pairs)
    return by_step, broadcast_carry(reset_carry, zero, steps if by_step else None)


def _run_steps(plan: Plan, params: Any, shared: Any, carry: Any, pieces: Any) -> tuple[Any, jax.Array]:
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
    )
    return carry, jnp.astype(ys, input_dtype(xs))


def _zero_outside(valid: jax.Array, x: jax.Array) -> jax.Array:
    """x `(T, B, ...)` where `valid (T, B)` holds, elsewhere 0."""
    return jnp.where(valid.reshape(valid.shape + (1,) * (x.ndim - valid.ndim)), x, jnp.zeros_like(x))


def _flatten(leaf: jax.Array, start: int, axes: int) -> jax.Array:
    """The leaf, `axes` of its axes from `start` on merged into one."""
    if axes == 1:
        return leaf
    size = math.prod(leaf.shape[start : start + axes])
    return leaf.reshape(*leaf.shape[:start], size, *leaf.shape[start + axes :])
