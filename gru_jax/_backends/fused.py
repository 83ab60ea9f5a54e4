"""Backend "fused": the GRU with its derivative written as one linear recurrence.

One step, with h the state that the step sees and g = x W_i + b_i:

    r = σ(g_r + h W_hr + b_hr)        z = σ(g_z + h W_hz + b_hz)        k = z ("keep") or 1 - z ("write")
    h' = k ∘ h + (1 - k) ∘ n          n = tanh(g_n + r ∘ q)     q = h W_hn + b_hn          reset_after=True
                                      n = tanh(g_n + q)         q = (r ∘ h) W_hn + b_hn    reset_after=False

Its tangent is that of `gru_derivative`, where the coefficients follow from p = (g_r + q_r, g_z + q_z, g_n, q) and h. v,
the tangent of p with h and r held, holds all that does not see dh:

    v = (dg_r + h dW_hr + db_hr, dg_z + h dW_hz + db_hz, dg_n, h dW_hn + db_hn)        (r ∘ h) dW_hn: reset_after=False

So dh' = A dh + u, with A and u known for all steps at once. The tangent of a whole sequence is one loop, linear in dh;
everything else is parallel over time. No other derivative is written. Transposed, the loop is backpropagation through
time: a step emits only the cotangent of its state, and the gradients of weights, biases and inputs are single products
over many steps. Forward mode, second derivatives and vmap follow from the same rule. Padding sets k = 1 and all a to 0;
a reset replaces h and dh before the step.

The two loops are primitives, `gru_states` and `gru_tangents`. A kernel is one more lowering of both, and has this
derivative, and every option, from here.

Cost and limits. Both passes may go over time in chunks. The backward pass computes p again or finds it kept;
`platforms` says when, and why. vmap is a wider batch where weights are shared, and more lanes of one call elsewhere.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from gru_jax._backends import platforms
from gru_jax._backends.backend import Backend, Problem
from gru_jax._backends.chunks import run_in_chunks
from gru_jax._backends.lanes import (
    STEPS,
    WEIGHT,
    Place,
    by_direction,
    count_lanes,
    over_lanes,
    spread,
    unstack,
)
from gru_jax._backends.order import seen
from gru_jax._backends.states import How, States, StatesStatic, Steps, gru_states
from gru_jax._backends.tangents import Known, Linear
from gru_jax._backends.tangents_rules import tangents
from gru_jax._backends.unit_axis import add_axis
from gru_jax._cells.cell import Cell
from gru_jax._cells.gru import (
    GRUGates,
    GRUOptions,
    GRUParams,
    GRUPreActivations,
    gates,
    preactivations,
    project,
    step_of,
)
from gru_jax._cells.gru_derivative import total
from gru_jax._cells.placement import batch_sharding, place
from gru_jax._cells.precision import compute_params, current_precision, matmul

# What `jax.checkpoint` policies call all that the loop over states returns.
NAME = "gru_states"


def run(
    cell: Cell,
    params: tuple[Any, ...],
    carry: tuple[Any, ...],
    xs: Any,
    valid: jax.Array | None,
    restart: tuple[jax.Array, ...] | None,
    reset_carry: tuple[Any, ...] | None,
    *,
    reverse: tuple[bool, ...],
    unroll: int | None,
    backend: str,
) -> tuple[tuple[Any, ...], tuple[jax.Array, ...]]:
    """See `Run`."""
    carry, reset_carry = jax.tree.map(_whole_features, (carry, reset_carry))
    how = How(cell, xs.shape[-1], reverse, unroll, current_precision(), backend)
    # Wide even for bfloat16 weights: the sums over chunks that make their gradients are rounded once, at the end.
    weights: Any = jax.tree.map(lambda *lanes: jnp.astype(_stack(lanes, 0), carry[0].dtype), *params)
    by_step = reset_carry is not None and reset_carry[0].ndim == xs.ndim
    restored = None if reset_carry is None else _stack(reset_carry, int(by_step))
    steps = Steps(
        add_axis(xs, 1),
        None if valid is None else add_axis(valid, 1),
        None if restart is None else _stack(restart, 1),
        restored if by_step else None,
    )
    (hs,) = gru_states(
        StatesStatic(how, keeps_p=False), States(weights, _stack(carry, 0), steps, None if by_step else restored)
    )
    ys = hs if valid is None else jnp.where(valid[:, None, :, None], hs, 0)
    of_lanes = zip(unstack(hs, 1), carry, reverse, strict=True)
    last = tuple(h[0 if back else -1] if xs.shape[0] else start for h, start, back in of_lanes)
    return last, tuple(unstack(ys, 1))


def _whole_features(leaf: jax.Array) -> jax.Array:
    """A state; on a mesh of explicit axes with its features whole on every device, as each step needs all."""
    return place(leaf, (*batch_sharding(leaf, range(leaf.ndim - 1)), None), frozenset())


def _stack(lanes: Any, axis: int) -> jax.Array:
    return jnp.stack(lanes, axis) if len(lanes) > 1 else add_axis(lanes[0], axis)


def _differentiate(static: StatesStatic, operands: States, tangents_in: States) -> tuple[Any, Any]:
    """All states (and p, where that is asked for) and their tangents; a tangent of None is zero."""
    how, steps = static.how, operands.steps
    platform, mixed = platforms.guess(), len(set(how.reverse)) > 1
    apart = mixed and platforms.settings_for(platform).directions_apart
    lanes = count_lanes(jax.tree.leaves(operands), gru_states.places(operands))
    if apart and isinstance(lanes, int):
        lanes = max(1, lanes // len(how.reverse))
    total_steps, _, batch, in_features = steps.x.shape
    cut = platforms.chunking(platform, total_steps, lanes * batch, in_features, operands.start.shape[-1])
    keeps_p = static.keeps_p or cut.keeps_p
    outs = jax.tree.map(lambda out: checkpoint_name(out, NAME), gru_states(StatesStatic(how, keeps_p), operands))
    hs, p = outs if keeps_p else (*outs, None)
    if not hs.shape[0]:
        empty = outs if static.keeps_p else (hs,)
        return empty, empty
    if apart or (mixed and cut.steps != total_steps):
        dhs = _apart(how, operands, tangents_in, hs, p, cut.steps)
    else:
        dhs = _in_chunks(how, operands, tangents_in, hs, p, cut.steps)
    if not static.keeps_p:
        return (hs,), (dhs,)
    return (hs, p), (dhs, _tangent_of_p(how, operands, tangents_in, hs, dhs))


def _apart(how: How, operands: States, d_operands: States, hs: Any, p: Any, size: int) -> jax.Array:
    """The tangents of lanes in both directions, whose chunks follow each other in different orders."""

    def one_direction(reverse: bool, given: Any, places: Sequence[Place]) -> Any:
        operands, d_operands, hs, p = given
        alone = how._replace(reverse=(reverse,))
        return (_in_chunks(alone, operands, d_operands, hs, p, size),)

    places = [*gru_states.places(operands), *gru_states.places(d_operands), *(STEPS for _ in jax.tree.leaves((hs, p)))]
    return by_direction(one_direction, how.reverse, (operands, d_operands, hs, p), places)[0]


def _in_chunks(how: How, operands: States, d_operands: States, hs: Any, p: Any, size: Any) -> jax.Array:
    """The tangents of all states. Lanes in both directions are one chunk."""
    (params, start, steps, restored), d = operands, d_operands
    dh = jnp.zeros_like(start) if d.start is None else d.start
    # Only the inputs of a chunk are kept: the backward pass computes p and the coefficients again.
    chunk = jax.checkpoint(functools.partial(_tangents_of_chunk, how), prevent_cse=False)
    # Cut before the loop over chunks, since XLA would leave that inside; and lane by lane, as `gru_states` cuts them:
    # of two equal projections XLA computes one.
    cut = over_lanes(functools.partial(gates, how.options), params, [WEIGHT for _ in jax.tree.leaves(params)], 0)
    weights = (cut, jnp.astype(params.w_h, steps.x.dtype))
    parts = over_lanes(_thirds, d.params, [WEIGHT for _ in jax.tree.leaves(d.params)], 0)
    chunk = functools.partial(chunk, weights, parts, restored, d.restored)
    now = (steps, hs, p, d.steps.x, d.steps.restored)
    return run_in_chunks(chunk, (start, dh), now, size, reverse=how.reverse[0])[1]


def _thirds(d_params: GRUParams) -> Any:
    """The tangents of the params, each as its parts for r, z, n."""
    return d_params._make(None if leaf is None else tuple(jnp.split(leaf, 3, axis=-1)) for leaf in d_params)


def _tangents_of_chunk(
    how: How, weights: Any, d_params: GRUParams, restored: Any, d_restored: Any, carry: Any, now: Any
) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
    """The state and its tangent after these steps, and the tangents of all their states.

    `weights` is all params, cut, and w_h whole. `carry` is the state and its tangent before the steps. `now` is the
    steps, their states, their p or None, and the tangents of their inputs and of the states they restore, each or None.
    `d_params` has the fields of GRUParams, each None or its parts for r, z, n.
    """
    (params, w_h), (first, dh) = weights, carry
    steps, hs, p, dx, d_restored_by_step = now
    with how.products:
        h = _seen(how, hs, first, steps, restored)
        p, v = _linearise(how, params, d_params, steps, h, p, dx)
        if d_restored_by_step is not None:
            d_restored = d_restored_by_step
        linear = Linear(v, None, dh, None if steps.restart is None else d_restored)
        dhs = tangents(how, Known(w_h, p, h, steps.valid, steps.restart), linear)
    # A chunk of lanes in both directions is the only one: nothing follows it.
    end = 0 if how.reverse[0] else -1
    return (spread(hs[end], dhs[end]), dhs[end]), dhs


def _seen(how: How, hs: jax.Array, first: jax.Array, steps: Steps, restored: Any) -> jax.Array:
    """The state that each step sees; 0 in the padding, where the row's own may be NaN."""
    h = seen(how.reverse, hs, first, steps.restart, restored if steps.restored is None else steps.restored)
    return h if steps.valid is None else jnp.where(steps.valid[..., None], h, 0)


def _linearise(
    how: How, params: GRUGates, d_params: GRUParams, steps: Steps, h: jax.Array, p: Any, dx: jax.Array | None
) -> tuple[GRUPreActivations, GRUPreActivations | None]:
    """p of these steps and v, its tangent with h and r held, parts of which are None for zero."""

    def lane(operands: Any) -> Any:
        params, d_params, x, h, p, dx = operands
        w, dw = (compute_params(tree, x.dtype) for tree in (params, d_params))
        p = preactivations(how.options, w, h, project(w, x)) if p is None else p
        return p, _direct_tangent(how.options, w, dw, x, h, p, dx)

    operands = (params, d_params, steps.x, h, p, dx)
    weights = [WEIGHT for _ in jax.tree.leaves((params, d_params))]
    return over_lanes(lane, operands, weights + [STEPS for _ in jax.tree.leaves(operands[2:])])


def _direct_tangent(
    options: GRUOptions,
    w: GRUGates,
    dw: GRUParams,
    x: jax.Array,
    h: jax.Array,
    p: GRUPreActivations,
    dx: jax.Array | None,
) -> GRUPreActivations | None:
    """v, of one lane; None where nothing moves."""
    into_n = h if options.reset_after else options.gate_activation(p.r) * h
    dw_i, dw_h, db_i, db_h = ((None,) * 3 if parts is None else parts for parts in dw)
    dg = [total(_product(dx, w.w_i[i]), _over_rows(x, dw_i[i]), _wide(db_i[i])) for i in range(3)]
    dq = [total(_over_rows(seen, dw_h[i]), _wide(db_h[i])) for i, seen in enumerate((h, h, into_n))]
    parts = (total(dg[0], dq[0]), total(dg[1], dq[1]), dg[2], dq[2])
    if all(part is None for part in parts):
        return None
    return GRUPreActivations(*(None if part is None else jnp.broadcast_to(part, h.shape) for part in parts))


def _wide(b: jax.Array | None) -> jax.Array | None:
    """A tangent of a bias, `(H,)`, as `(1, 1, H)`, to add to those of all steps and rows."""
    return None if b is None else b[None, None]


def _product(x: jax.Array | None, w: jax.Array | None) -> jax.Array | None:
    return None if x is None or w is None else matmul(x, w)


def _over_rows(x: jax.Array, dw: jax.Array | None) -> jax.Array | None:
    """x dw, with steps and rows as one axis: over two, XLA:CPU copies both sides of the transposed product."""
    if dw is None or jax.device_count() > 1:
        # To merge time with a batch that is sharded over devices would gather the batch.
        return _product(x, dw)
    rows = x.shape[0] * x.shape[1]
    return matmul(x.reshape(rows, x.shape[-1]), dw).reshape(*x.shape[:-1], dw.shape[-1])


def _tangent_of_p(how: How, operands: States, d_operands: States, hs: jax.Array, dhs: jax.Array) -> GRUPreActivations:
    """What second derivatives ask for where p is kept: p at every step follows from x and the state that it sees."""
    (params, start, steps, restored), d = operands, d_operands
    h = _seen(how, hs, start, steps, restored)
    starts = d.restored if d.steps.restored is None else d.steps.restored
    dh = seen(how.reverse, dhs, d.start, steps.restart, starts)
    if steps.valid is not None:
        dh = jnp.where(steps.valid[..., None], dh, 0)

    def lane(operands: Any) -> GRUPreActivations:
        params, x, h = operands
        w = compute_params(gates(how.options, params), x.dtype)
        return preactivations(how.options, w, h, project(w, x))

    def of_all(params: GRUParams, x: jax.Array, h: jax.Array) -> GRUPreActivations:
        places = [WEIGHT for _ in jax.tree.leaves(params)] + [STEPS, STEPS]
        return over_lanes(lane, (params, x, h), places)

    known = (params, steps.x, h)
    leaves, tree = jax.tree.flatten(known)
    given = tree.flatten_up_to((d.params, d.steps.x, dh))
    moves = tree.unflatten(
        [jnp.zeros_like(leaf) if move is None else move for leaf, move in zip(leaves, given, strict=True)]
    )
    with how.products:
        return jax.jvp(of_all, known, moves)[1]


gru_states.def_jvp(_differentiate)


def _refuses(problem: Problem) -> str:
    cell = problem.cell
    if isinstance(cell.options, GRUOptions) and cell.project is project and cell.step == step_of(cell.options):
        return ""
    return "it computes the equations of gru_jax.gru() and no others"


fused = Backend(name="fused", run=run, refuses=_refuses)
