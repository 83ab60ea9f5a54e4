"""Backend "fused": the GRU with its derivative written as one linear recurrence.

One step, with h the state that the step sees and g = x W_i + b_i:

    r = σ(g_r + h W_hr + b_hr)        z = σ(g_z + h W_hz + b_hz)        k = z ("keep") or 1 - z ("write")
    h' = k ∘ h + (1 - k) ∘ n          n = tanh(g_n + r ∘ q)     q = h W_hn + b_hn          reset_after=True
                                      n = tanh(g_n + q)         q = (r ∘ h) W_hn + b_hn    reset_after=False

Its tangent is that of `gru_derivative`, where the coefficients k and a follow from the states. u_r = dg_r + h dW_hr +
db_hr, and u_z likewise, hold all that does not see dh. With reset_after=True:

    dh' = k ∘ dh + a_r ∘ (u_r + dh W_hr) + a_z ∘ (u_z + dh W_hz) + a_n ∘ dg_n + a_q ∘ (h dW_hn + db_hn + dh W_hn)

So dh' = A dh + u, with A and u known for all steps at once. The tangent of a whole sequence is one `lax.scan`, linear
in dh; everything else is parallel over time. No other derivative is written. JAX transposes this one to backpropagation
through time: a step emits only the cotangent of its state, and the gradients of weights, biases and inputs are single
products over many steps. Forward mode, second derivatives and vmap follow from the same rule. Padding sets k = 1 and
all a to 0; a reset replaces h and dh before the step.

Cost and limits. Both passes go over time in chunks, so that all but the states stays in cache. The backward pass
computes r, z, n, q again or finds them kept; `_chunking` says when. vmap over the batch runs as a wider batch, as the
states are a primitive of their own; `fold_vmap` says when it does not. JAX maps operation by operation what is first
differentiated and then mapped, as in `jax.vmap(jax.grad(...))`, and what has mapped params.
"""

import contextlib
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from gru_jax._backends.backend import Backend
from gru_jax._backends.chunks import run_in_chunks
from gru_jax._backends.folding import fold_vmap
from gru_jax._cells.cell import Cell
from gru_jax._cells.gru import (
    GRUActivations,
    GRUGates,
    GRUOptions,
    GRUParams,
    activate,
    gates,
    project,
    step_of,
    update,
)
from gru_jax._cells.gru_derivative import Coefficients, coefficients_of, is_custom, recurrence, slopes_of
from gru_jax._cells.precision import compute_params, matmul

# The name of the setting that `jax.default_matmul_precision` changes.
PRECISION = "jax_default_matmul_precision"


class How(NamedTuple):
    """All that is fixed when a run is traced."""

    options: GRUOptions
    reverse: bool
    unroll: int
    precision: str | None


class Steps(NamedTuple):
    """What steps see, `(steps, B, ...)`; `valid` is None without padding, and `restart` without new starts.

    `restored` is the state that a new start begins with, where it differs by step, else None.
    """

    x: jax.Array
    valid: jax.Array | None
    restart: jax.Array | None
    restored: jax.Array | None


def run(
    cell: Cell,
    params: Any,
    carry: Any,
    xs: Any,
    valid: jax.Array | None,
    restart: jax.Array | None,
    reset_carry: Any,
    *,
    reverse: bool,
    unroll: int,
) -> tuple[Any, jax.Array]:
    """See `Run`."""
    how = How(cell.options, reverse, unroll, getattr(jax.config, PRECISION))
    # Wide even for bfloat16 weights: the sums over chunks that make their gradients are rounded once, at the end.
    params = jax.tree.map(lambda leaf: jnp.astype(leaf, carry.dtype), params)
    by_step = restart is not None and reset_carry.ndim == xs.ndim
    steps = Steps(xs, valid, restart, reset_carry if by_step else None)
    hs = _foldable(how, params, carry, steps, None if by_step else reset_carry)
    last = hs[0 if reverse else -1] if xs.shape[0] else carry
    return last, hs if valid is None else jnp.where(valid[..., None], hs, 0)


class Chunking(NamedTuple):
    """How a run is cut in time.

    Attributes:
      steps: how many a chunk has.
      keeps_activations: whether the backward pass finds r, z, n and q, or computes them again.
    """

    steps: int
    keeps_activations: bool


def _chunking(options: GRUOptions, xs: jax.Array, start: jax.Array) -> Chunking:
    """How to cut a run, as measured on XLA:CPU, two cores with AVX-512, in float32.

    Memory that a program has not touched before costs about half a nanosecond a byte, in every call that asks for more
    than 32 MiB at a time. Chunks of 2^17 to 2^19 elements an array are near the best: a run of up to 2^19 is one chunk,
    a longer one has chunks of 2^18. Below 16 steps, the start and end of a chunk are no longer small beside its steps.

    To compute the activations of an element again takes 6 (I + H) operations; to keep them takes 16 bytes. The costs
    are even near I + H = 512, and keeping is better at any width while the elements are few. But keeping takes four
    more kernels a step, which cost more than either where steps are short. Activations other than σ and tanh are
    always computed again, since their values do not give their derivatives.
    """
    steps, (batch, features) = xs.shape[0], start.shape
    if not isinstance(steps, int) or not isinstance(batch, int):
        return Chunking(steps, keeps_activations=False)  # Symbolic, for jax.export.
    a_step, total = batch * features, steps * batch * features
    size = max(16, steps if total <= 2**19 else 2**18 // a_step)
    # A size that divides T, where there is one: steps left over would be compiled as a program of their own.
    size = next((s for s in range(min(size, steps), size // 2, -1) if steps % s == 0), size)
    keeps = xs.shape[-1] + features >= 512 or (a_step >= 4096 and total <= 2**20)
    return Chunking(size, keeps and not is_custom(options))


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _states(how: How, params: GRUParams, start: jax.Array, steps: Steps, restored: Any) -> jax.Array:
    """The state after every step, padding included, `(T, B, H)` in the carry's dtype."""
    return _run(how, params, start, steps, restored, keeps_activations=False)[0]


def _run(
    how: How, params: GRUParams, start: jax.Array, steps: Steps, restored: Any, *, keeps_activations: bool
) -> tuple[jax.Array, GRUActivations | None]:
    """The state after every step, and the activations of every step or None."""
    cut = gates(how.options, params)

    def chunk(h: jax.Array, steps: Steps) -> Any:
        w = compute_params(cut, steps.x.dtype)

        def step(h: jax.Array, now: Any) -> Any:
            g, valid, restart, restored_now = now
            if restart is not None:
                h = jnp.where(restart[:, None], restored if restored_now is None else restored_now, h)
            seen = h
            if keeps_activations and valid is not None:
                # A NaN in the row's own state must not reach what is kept of its padding.
                seen = jnp.where(valid[:, None], h, 0)
            a, _ = activate(how.options, w, seen, g)
            new = update(how.options.update_gate, a.z, seen, a.n)
            if valid is not None:
                new = jnp.where(valid[:, None], new, h)
            return new, (new, a if keeps_activations else None)

        g = project(w, steps.x)
        return lax.scan(
            step, h, (g, steps.valid, steps.restart, steps.restored), reverse=how.reverse, unroll=how.unroll
        )

    size = _chunking(how.options, steps.x, start).steps
    with _precision(how):
        return run_in_chunks(chunk, start, steps, size, reverse=how.reverse)[1]


@functools.partial(_states.defjvp, symbolic_zeros=True)
def _states_jvp(how: How, primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    return _differentiate(
        how, primals, jax.tree.map(lambda leaf: None if type(leaf) is SymbolicZero else leaf, tangents)
    )


def _differentiate(how: How, primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    """All states and their tangents; a tangent of None is zero."""
    params, start, steps, restored = primals
    d_params, d_start, d_steps, d_restored = tangents
    chunking = _chunking(how.options, steps.x, start)
    with _precision(how):
        if chunking.keeps_activations:
            hs, activations = _run(how, *primals, keeps_activations=True)
        else:
            hs, activations = _states(how, *primals), None
        if not hs.shape[0]:
            return hs, hs
        d_params = jax.tree.map(lambda leaf: jnp.split(leaf, 3, axis=-1), d_params)
        dh = jnp.zeros_like(start) if d_start is None else d_start
        # Only the inputs of a chunk are kept: the backward pass computes the coefficients again.
        chunk = jax.checkpoint(functools.partial(_tangents_of_chunk, how), prevent_cse=False)
        chunk = functools.partial(chunk, gates(how.options, params), d_params, restored, d_restored)
        dhs = run_in_chunks(
            chunk,
            (start, dh),
            (steps, hs, activations, d_steps.x, d_steps.restored),
            chunking.steps,
            reverse=how.reverse,
        )[1]
        return hs, dhs


def _precision(how: How) -> Any:
    """A context with the precision that was set around the call: derivatives and batches may be traced outside it."""
    return jax.default_matmul_precision(how.precision) if how.precision else contextlib.nullcontext()


def _tangents_of_chunk(
    how: How, params: GRUGates, d_params: Any, restored: Any, d_restored: Any, carry: Any, now: Any
) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
    """The state and its tangent after these steps, and the tangents of all their states.

    `carry` is the state and its tangent before the steps. `now` is the steps, their states, their activations or None,
    and the tangents of their inputs and of the states they restore, each or None. `d_params` has the fields of
    GRUParams, each None or its parts for r, z, n.
    """
    h_before, dh = carry
    steps, hs, activations, dx, d_restored_by_step = now
    w, dw = (compute_params(tree, steps.x.dtype) for tree in (params, d_params))
    seen = jnp.concatenate([hs[1:], h_before[None]] if how.reverse else [h_before[None], hs[:-1]])
    if steps.restart is not None:
        begins = restored[None] if steps.restored is None else steps.restored
        seen = jnp.where(steps.restart[..., None], begins, seen)
    coefficients, u = _linearise(how.options, w, dw, seen, steps, activations, dx)
    recur = recurrence(how.options, w.w_h)
    # Broadcast before the loop: what a loop makes of known values costs the transposed one a loop of its own.
    restart = None if steps.restart is None else jnp.broadcast_to(steps.restart[..., None], hs.shape)

    def step(dh: jax.Array, now: Any) -> tuple[jax.Array, jax.Array]:
        coefficients, u, restart, d_now = now
        if restart is not None:
            d_begins = d_restored if d_now is None else d_now
            dh = jnp.where(restart, 0 if d_begins is None else d_begins, dh)
        dh = recur(coefficients, dh)
        dh = dh if u is None else dh + u
        return dh, dh

    dh, dhs = lax.scan(step, dh, (coefficients, u, restart, d_restored_by_step), reverse=how.reverse, unroll=how.unroll)
    return (hs[0 if how.reverse else -1], dh), dhs


def _linearise(
    options: GRUOptions,
    w: GRUGates,
    dw: Any,
    h: jax.Array,
    steps: Steps,
    activations: GRUActivations | None,
    dx: jax.Array | None,
) -> tuple[Coefficients, jax.Array | None]:
    """The coefficients of the recurrence over these steps, and u, what drives it (None for zero)."""
    x, valid = steps.x, steps.valid
    if valid is not None:
        h = jnp.where(valid[..., None], h, 0)
    if activations is None:
        activations, before = activate(options, w, h, project(w, x))
        a = coefficients_of(options, h, activations, slopes_of(options, activations, before))
    else:
        a = coefficients_of(options, h, activations, slopes_of(options, activations, None))
    if valid is not None:
        a = Coefficients(jnp.where(valid[..., None], a.k, 1), *(jnp.where(valid[..., None], c, 0) for c in a[1:]))

    into_w_h = (h, h, h if options.reset_after else activations.r * h)
    dw_i, dw_h, db_i, db_h = ((None,) * 3 if parts is None else parts for parts in dw)
    dg = [_sum(_product(dx, w.w_i[i]), _over_rows(x, dw_i[i]), _wide(db_i[i])) for i in range(3)]
    dq = [_sum(_over_rows(into_w_h[i], dw_h[i]), _wide(db_h[i])) for i in range(3)]
    u_r, u_z = _sum(dg[0], dq[0]), _sum(dg[1], dq[1])
    if options.reset_after:
        u = _sum(_times(a.a_r, u_r), _times(a.a_z, u_z), _times(a.a_n, dg[2]), _times(a.a_q, dq[2]))
    else:
        u = _sum(_times(a.a_z, u_z), _times(a.a_n, _sum(dg[2], dq[2], _product(_times(a.a_r, u_r), w.w_h[1]))))
    if valid is not None and u is not None:
        # u is masked as the coefficients are: a NaN cotangent that reaches padding would stay NaN, as 0 * NaN.
        u = jnp.where(valid[..., None], u, 0)
    return a, u


def _sum(*terms: jax.Array | None) -> jax.Array | None:
    """The sum, where None is zero."""
    return functools.reduce(lambda a, b: b if a is None else a if b is None else a + b, terms)


def _wide(b: jax.Array | None) -> jax.Array | None:
    """A tangent of a bias, `(H,)`, as `(1, 1, H)`, to add to those of all steps and rows."""
    return None if b is None else b[None, None]


def _times(a: jax.Array, b: jax.Array | None) -> jax.Array | None:
    return None if b is None else a * b


def _product(x: jax.Array | None, w: jax.Array | None) -> jax.Array | None:
    return None if x is None or w is None else matmul(x, w)


def _over_rows(x: jax.Array, dw: jax.Array | None) -> jax.Array | None:
    """x dw, with steps and rows as one axis: over two, XLA:CPU copies both sides of the transposed product."""
    if dw is None or jax.device_count() > 1:
        # To merge time with a batch that is sharded over devices would gather the batch.
        return _product(x, dw)
    rows = x.shape[0] * x.shape[1]
    return matmul(x.reshape(rows, x.shape[-1]), dw).reshape(*x.shape[:-1], dw.shape[-1])


_foldable = fold_vmap("gru_states", _states, _differentiate, batch_axes=(-1, 0, 1, 0), out_axis=1, leader=2)


def _refuses(cell: Cell) -> str:
    if isinstance(cell.options, GRUOptions) and cell.project is project and cell.step == step_of(cell.options):
        return ""
    return "it computes the equations of gru_jax.gru() and no others"


fused = Backend(name="fused", run=run, refuses=_refuses)
