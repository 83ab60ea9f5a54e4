"""Cells whose input is not one array of one feature axis, with a NumPy reference of each written from the formulas.

The reference goes one row and one step at a time and works on complex numbers too, for derivatives by complex step.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import gru_jax
from tests.reference import complex_step, gates, sigmoid

I, H = 2, 3  # noqa: E741 - the letters of DESIGN.md
HEIGHT, WIDTH = 2, 3
KERNEL = (3, 2)  # One size is even: then a place sees one more neighbour after it than before it.
leaves = jax.tree.leaves


def convolution(x, kernel):
    """(x * W)[a, b] = Σ_ij x[a + i - (kh - 1) // 2, b + j - (kw - 1) // 2] W[i, j], tap by tap; no frame, no value."""
    kh, kw = kernel.shape[:2]
    out = np.zeros((*x.shape[:2], kernel.shape[3]), np.result_type(x.dtype, kernel.dtype))
    for i, j in np.ndindex(kh, kw):
        (to_rows, from_rows), (to_columns, from_columns) = (
            (slice(max(0, -by), size - max(0, by)), slice(max(0, by), size - max(0, -by)))
            for by, size in zip((i - (kh - 1) // 2, j - (kw - 1) // 2), x.shape[:2], strict=True)
        )
        out[to_rows, to_columns] += x[from_rows, from_columns] @ kernel[i, j]
    return out


def gated(g, h, w_h, b_h, product, reset_after, update_gate):
    """The GRU's equations, from its input's part g of the three gates."""
    g_r, g_z, g_n = gates(g, 3)
    W_hr, W_hz, W_hn = gates(w_h, 3)
    b_hr, b_hz, b_hn = gates(b_h, 3)
    r = sigmoid(g_r + product(h, W_hr) + b_hr)
    z = sigmoid(g_z + product(h, W_hz) + b_hz)
    q = r * (product(h, W_hn) + b_hn) if reset_after else product(r * h, W_hn) + b_hn
    n = np.tanh(g_n + q)
    return z * h + (1 - z) * n if update_gate == "keep" else (1 - z) * h + z * n


def conv_gru_step(params, h, x, **form):
    w_i, w_h, b_i, b_h = params
    h = gated(convolution(x, w_i) + b_i, h, w_h, b_h, convolution, **form)
    return h, h


def gru_d_step(params, carry, inputs, **form):
    w_i, w_h, w_m, b_i, b_h, w_decay_x, b_decay_x, w_decay_h, b_decay_h = params
    h, last = carry
    positive = lambda a: a if a.real > 0 else 0.0  # noqa: E731
    last, seen = list(last), []
    for d in range(len(last)):
        if inputs.observed[d]:
            seen.append(inputs.x[d])
            last[d] = inputs.x[d]
        else:
            seen.append(np.exp(-positive(w_decay_x[d] * inputs.gap[d] + b_decay_x[d])) * last[d])
    rate = inputs.gap @ w_decay_h + b_decay_h
    h = np.array([np.exp(-positive(a)) for a in rate]) * h
    g = np.array(seen) @ w_i + inputs.observed.astype(float) @ w_m + b_i
    h = gated(g, h, w_h, b_h, lambda x, w: x @ w, **form)
    return gru_jax.GRUDCarry(h, np.array(last)), h


def run(step, params, xs, carry, valid=None, resets=None, restored=None, reverse=False):
    """A batch: xs leaves (T, B, ...), carry leaves (B, ...), valid and resets (T, B). Padding is skipped."""
    steps, rows = leaves(xs)[0].shape[:2]
    finals, ys = [], {}
    for b in range(rows):
        state, here = (
            jax.tree.map(lambda c, b=b: c[b], carry),
            [t for t in range(steps) if valid is None or valid[t, b]],
        )
        order = here[::-1] if reverse else here
        for k, t in enumerate(order):
            if resets is not None and (k > 0 and resets[order[k - 1], b] if reverse else resets[t, b]):
                state = jax.tree.map(lambda c, b=b: c[b], restored)
            state, ys[t, b] = step(params, state, jax.tree.map(lambda x, t=t, b=b: x[t, b], xs))
        finals.append(state)
    nothing = np.zeros_like(leaves(carry)[0][0])
    out = np.stack([np.stack([ys.get((t, b), nothing) for b in range(rows)]) for t in range(steps)])
    return jax.tree.map(lambda *c: np.stack(c), *finals), out


class InputCase(NamedTuple):
    """A cell, its reference step, and how its inputs are made."""

    name: str
    cell: gru_jax.Cell
    step: Any
    make_xs: Any

    def __str__(self):
        return self.name

    def params(self, seed=0, dtype=np.float64):
        """Random params of a spread that drives the gates; decays are sometimes 1 and sometimes not."""
        shapes = jax.eval_shape(lambda: self.cell.init(jax.random.key(0), I, H))
        rng = np.random.default_rng((seed, 7))
        return type(shapes)(*(rng.normal(scale=0.5, size=leaf.shape).astype(dtype) for leaf in shapes))

    def carry(self, batch, seed=0, dtype=np.float64):
        """A random carry."""
        shapes = jax.eval_shape(lambda: self.cell.carry(self.params(), batch_shape=batch))
        rng = np.random.default_rng((seed, 11))
        return jax.tree.map(lambda leaf: rng.normal(scale=0.5, size=leaf.shape).astype(dtype), shapes)

    def xs(self, shape, seed=0, dtype=np.float64):
        """Random inputs."""
        return self.make_xs(shape, np.random.default_rng((seed, 13)), dtype)

    def run(self, params, *args):
        """The reference."""
        return run(self.step, tuple(params), *args)

    def problem(self, steps, rows, dtype=np.float64):
        """(params, xs, carry, reset carry), and weights that make one number of ys and the final carry."""
        carries = (self.carry((rows,), seed, dtype) for seed in (0, 1))
        arguments = (self.params(0, dtype), self.xs((steps, rows), 0, dtype), *carries)
        rng = np.random.default_rng((steps, rows, 17))
        shapes = (steps, *leaves(arguments[2])[0].shape), *(leaf.shape for leaf in leaves(arguments[2]))
        return arguments, [rng.normal(size=shape).astype(dtype) for shape in shapes]

    def expected(self, arguments, weights, valid=None, resets=None, reverse=False):
        """Values by running the reference, and its gradients by complex step with respect to every float array."""
        flat, structure = jax.tree.flatten(arguments)
        floats = [k for k, leaf in enumerate(flat) if leaf.dtype != bool]

        def outputs(*moved):
            changed = dict(zip(floats, moved, strict=True))
            params, xs, carry, restored = structure.unflatten(changed.get(k, leaf) for k, leaf in enumerate(flat))
            return self.run(params, xs, carry, valid, resets, restored, reverse)

        def loss(*moved):
            final, ys = outputs(*moved)
            return sum(np.sum(w * leaf) for w, leaf in zip(weights, [ys, *leaves(final)], strict=True))

        arrays = [flat[k] for k in floats]
        return outputs(*arrays), [complex_step(loss, arrays, which) for which in range(len(arrays))]

    def scan(self, *args, **options):
        """gru_jax.scan, compiled as one program: op by op takes several times as long."""
        return jax.jit(functools.partial(gru_jax.scan, self.cell, **options))(*args)

    def gradients(self, arguments, weights, valid=None, resets=None, **options):
        """The same from gru_jax: (final carry, ys), and the gradients as a list of the float leaves."""
        return _differentiated(self, tuple(options.items()))(arguments, weights, valid, resets)


@functools.cache
def _differentiated(case, options):
    def run(arguments, weights, valid, resets):
        flat, structure = jax.tree.flatten(arguments)
        floats = [k for k, leaf in enumerate(flat) if leaf.dtype != bool]

        def loss(moved):
            changed = dict(zip(floats, moved, strict=True))
            params, xs, carry, restored = structure.unflatten(changed.get(k, leaf) for k, leaf in enumerate(flat))
            masks = {"mask": valid, "resets": resets, "reset_carry": restored}
            final, ys = gru_jax.scan(case.cell, params, xs, carry, **masks, **dict(options))
            pairs = zip(weights, [ys, *leaves(final)], strict=True)
            return sum(jnp.sum(w * leaf) for w, leaf in pairs), (final, ys)

        (_, values), gradients = jax.value_and_grad(loss, has_aux=True)([flat[k] for k in floats])
        return values, gradients

    return jax.jit(run)


def frames(shape, rng, dtype):
    return rng.normal(size=(*shape, HEIGHT, WIDTH, I)).astype(dtype)


def series(shape, rng, dtype):
    """About half observed, NaN where not."""
    observed = rng.random((*shape, I)) < 0.5
    x = np.where(observed, rng.normal(size=(*shape, I)), np.nan).astype(dtype)
    return gru_jax.GRUDInputs(x, observed, rng.uniform(0.0, 2.0, size=(*shape, I)).astype(dtype))


FORMS = [
    {"reset_after": reset_after, "update_gate": gate} for reset_after in (True, False) for gate in ("keep", "write")
]
CONV = [
    InputCase(
        f"conv_gru-{'after' if form['reset_after'] else 'before'}-{form['update_gate']}",
        gru_jax.conv_gru(image_shape=(HEIGHT, WIDTH), kernel_shape=KERNEL, **form),
        functools.partial(conv_gru_step, **form),
        frames,
    )
    for form in FORMS
]
GRU_D = [
    InputCase(
        f"gru_d-{'after' if form['reset_after'] else 'before'}-{form['update_gate']}",
        gru_jax.gru_d(**form),
        functools.partial(gru_d_step, **form),
        series,
    )
    for form in FORMS
]
# One of each, for the laws of running over time, which do not depend on the form.
KINDS = [CONV[0], GRU_D[3]]
