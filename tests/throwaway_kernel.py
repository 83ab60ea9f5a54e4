"""Kernels that are thrown away: one more lowering of both primitives of "fused", and nothing else.

`throwaway` runs loops of NumPy behind a callback, on the CPU. It is written from the equations, step by step and lane
by lane. All that `gru_jax` knows of it is the record at the end, so every law that holds with it holds because the seam
is right.

`twin` runs the programs that pure JAX has for a GPU. It serves where a callback cannot: cut over devices, in a process
that stores what it compiled.
"""

import jax
import numpy as np

from gru_jax._backends.backend import BACKENDS, Backend, Problem, register
from gru_jax._backends.fused import fused
from gru_jax._backends.states import gru_states
from gru_jax._backends.tangents import Linear, gru_tangents
from gru_jax._cells.gru import GRUPreActivations
from gru_jax._cells.gru_derivative import is_custom

# The name of the primitive that was run, one entry for each call.
CALLS = []


def sigmoid(x):
    return 0.5 * (1 + np.tanh(0.5 * x))


class Step:
    """The equations of one step, for one lane of one problem."""

    def __init__(self, options, w_h, dtype):
        self.options, self.dtype = options, dtype
        self.w_r, self.w_z, self.w_n = np.split(self.narrow(w_h), 3, axis=-1)

    def narrow(self, x):
        """x rounded to the dtype that products run in, and wide again."""
        wide = np.float64 if self.dtype == np.float64 else np.float32
        return x.astype(self.dtype).astype(wide)

    def product(self, x, w):
        return self.narrow(x) @ w

    def pre(self, h, g, b_h):
        b_r, b_z, b_n = np.split(b_h, 3)
        g_r, g_z, g_n = np.split(g, 3, axis=-1)
        p_r, p_z = g_r + self.product(h, self.w_r) + b_r, g_z + self.product(h, self.w_z) + b_z
        into_n = h if self.options.reset_after else sigmoid(p_r) * h
        return p_r, p_z, g_n, self.product(into_n, self.w_n) + b_n

    def gates(self, p):
        p_r, p_z, p_n, q = p
        r, z = sigmoid(p_r), sigmoid(p_z)
        n = np.tanh(p_n + (r * q if self.options.reset_after else q))
        return r, z, n, z if self.options.update_gate == "keep" else 1 - z

    def after(self, p, h):
        _, _, n, k = self.gates(p)
        return k * h + (1 - k) * n

    def coefficients(self, p, h):
        r, z, n, k = self.gates(p)
        a_z = (h - n if self.options.update_gate == "keep" else n - h) * z * (1 - z)
        a_n = (1 - k) * (1 - n * n)
        if self.options.reset_after:
            return k, a_n * p[3] * r * (1 - r), a_z, a_n, a_n * r
        return k, h * r * (1 - r), a_z, a_n, r

    def forward(self, a, dh, v):
        k, a_r, a_z, a_n, a_q = a
        v_r, v_z, v_n, v_q = v
        to_r, to_z = v_r + self.product(dh, self.w_r), v_z + self.product(dh, self.w_z)
        if self.options.reset_after:
            return k * dh + a_r * to_r + a_z * to_z + a_n * v_n + a_q * (v_q + self.product(dh, self.w_n))
        return k * dh + a_z * to_z + a_n * (v_n + v_q + self.product(a_r * to_r + a_q * dh, self.w_n))

    def backward(self, a, lam):
        """The cotangents of v and of the dh before the step."""
        k, a_r, a_z, a_n, a_q = a
        c_z, c_n = a_z * lam, a_n * lam
        if self.options.reset_after:
            c_r, c_q = a_r * lam, a_q * lam
            through = self.product(c_q, self.w_n.T)
        else:
            s = self.product(c_n, self.w_n.T)
            c_r, c_q = a_r * s, c_n
            through = a_q * s
        return (c_r, c_z, c_n, c_q), k * lam + through + self.product(c_r, self.w_r.T) + self.product(c_z, self.w_z.T)


def pick(leaf, lane, axis):
    """One lane of an operand, which may have one for all."""
    return None if leaf is None else np.take(leaf, 0 if leaf.shape[axis] == 1 else lane, axis)


def times(reverse, steps):
    return range(steps - 1, -1, -1) if reverse else range(steps)


def numpy_states(how, outs, operands):
    params, start, steps, restored = operands
    for lane in range(outs[0].shape[1]):
        w_i, w_h, b_i, b_h = (pick(leaf, lane, 0) for leaf in params)
        zero = np.zeros(w_h.shape[-1], start.dtype)
        x, valid, restart, by_step = (pick(leaf, lane, 1) for leaf in steps)
        step = Step(how.options, w_h, x.dtype)
        h, begins = pick(start, lane, 0), pick(restored, lane, 0)
        for t in times(how.reverse[lane % len(how.reverse)], len(x)):
            if restart is not None:
                h = np.where(restart[t][:, None], begins if by_step is None else by_step[t], h)
            there = np.ones(len(h), bool)[:, None] if valid is None else valid[t][:, None]
            seen = np.where(there, h, 0)
            g = step.product(x[t], step.narrow(w_i)) + (zero if b_i is None else b_i)
            p = step.pre(seen, g, zero if b_h is None else b_h)
            h = np.where(there, step.after(p, seen), h)
            outs[0][t, lane] = h
            for kept, part in zip(outs[1:], p, strict=False):
                kept[t, lane] = part


def linear_operands(linear, lane, h):
    zero, shape = np.zeros_like(h), h.shape
    v = [zero if part is None else pick(part, lane, 1) for part in linear.v or (None,) * 4]
    u = zero if linear.u is None else pick(linear.u, lane, 1)
    dh = zero[0] if linear.dh_0 is None else pick(linear.dh_0, lane, 0)
    restored = linear.d_restored
    if restored is None:
        return v, u, dh, zero
    by_step = restored.ndim == 4
    return v, u, dh, np.broadcast_to(pick(restored, lane, int(by_step)), shape)


def numpy_tangents(static, outs, operands):
    how, wants = static
    known, given = operands
    steps, lanes = outs_shape(static, outs, operands)
    for lane in range(lanes):
        step = Step(how.options, pick(known.w_h, lane, 0), known.w_h.dtype)
        p = [pick(part, lane, 1) for part in known.p]
        h, valid, restart = (pick(leaf, lane, 1) for leaf in known[2:])
        a = [step.coefficients([part[t] for part in p], h[t]) for t in range(steps)]
        there = np.ones(h.shape[:2], bool) if valid is None else valid
        begins = np.zeros(h.shape[:2], bool) if restart is None else restart
        reverse = how.reverse[lane % len(how.reverse)]
        if wants is None:
            v, u, dh, restored = linear_operands(given, lane, h)
            for t in times(reverse, steps):
                dh = np.where(begins[t][:, None], restored[t], dh)
                moved = step.forward(a[t], dh, [part[t] for part in v]) + u[t]
                dh = np.where(there[t][:, None], moved, dh)
                outs[0][t, lane] = dh
            continue
        ct, mu = pick(given, lane, 1), np.zeros_like(h[0])
        for t in times(not reverse, steps):
            row = there[t][:, None]
            lam = mu + ct[t]
            of_v, moved = step.backward(a[t], lam)
            mu = np.where(row, moved, lam)
            found = Linear([np.where(row, c, 0) for c in of_v], np.where(row, lam, 0), None, None)
            write(wants, outs, t, lane, found, np.where(begins[t][:, None], mu, 0))
            mu = np.where(begins[t][:, None], 0, mu)
        if wants.dh_0:
            outs.dh_0[lane] = mu


def outs_shape(static, outs, operands):
    known = operands[0]
    if static.wants is None:
        return outs[0].shape[:2]
    leaves = [known.w_h.shape[0], *(leaf.shape[1] for leaf in jax.tree.leaves((known[1:], operands[1])))]
    return known.h.shape[0], max(leaves)


def write(wants, outs, t, lane, found, stopped):
    for want, out, part in zip(wants.v or (), outs.v or (), found.v if wants.v else (), strict=True):
        if want:
            out[t, lane] = part
    if wants.u:
        outs.u[t, lane] = found.u
    if wants.d_restored == "by step":
        outs.d_restored[t, lane] = stopped
    elif wants.d_restored:
        outs.d_restored[lane] += stopped


def behind_a_callback(name, run, static, operands, outs):
    leaves, tree = jax.tree.flatten(operands)
    shapes, out_tree = jax.tree.flatten(outs)

    def call(*leaves):
        CALLS.append(name)
        found = [np.zeros(shape.shape, shape.dtype) for shape in shapes]
        with np.errstate(all="ignore"):
            run(static, out_tree.unflatten(found), tree.unflatten([np.asarray(leaf) for leaf in leaves]))
        return found

    return out_tree.unflatten(jax.pure_callback(call, shapes, *leaves))


def states(static, operands):
    params, start, steps, restored = operands
    lanes = max(leaf.shape[0] for leaf in jax.tree.leaves((params, start, restored)))
    lanes = max(lanes, *(leaf.shape[1] for leaf in jax.tree.leaves(steps)))
    hs = jax.ShapeDtypeStruct((steps.x.shape[0], lanes, *start.shape[1:]), start.dtype)
    outs = (hs, GRUPreActivations(hs, hs, hs, hs)) if static.keeps_p else (hs,)

    def run(static, outs, operands):
        numpy_states(static.how, jax.tree.leaves(outs), operands)

    return behind_a_callback("gru_states", run, static, operands, outs)


def tangents(static, operands):
    known, given = operands
    leaves = [known.w_h.shape[0], *(leaf.shape[1] for leaf in jax.tree.leaves(known[1:]))]
    for leaf in jax.tree.leaves(given):
        leaves.append(leaf.shape[1 if len(leaf.shape) == 4 else 0])
    steps, _, rows, features = known.h.shape
    whole = jax.ShapeDtypeStruct((steps, max(leaves), rows, features), known.h.dtype)
    row = jax.ShapeDtypeStruct(whole.shape[1:], whole.dtype)
    if static.wants is None:
        outs = (whole,)
    else:
        wants = static.wants
        v = GRUPreActivations(*(whole if want else None for want in wants.v)) if wants.v else None
        restored = None if not wants.d_restored else whole if wants.d_restored == "by step" else row
        outs = Linear(v, whole if wants.u else None, row if wants.dh_0 else None, restored)
    return behind_a_callback("gru_tangents", numpy_tangents, static, operands, outs)


def refuses(problem):
    reason = fused.refuses(problem)
    if reason:
        return reason
    if problem.platform not in (None, "cpu"):
        return "it runs on a CPU"
    if is_custom(problem.cell.options):
        return "it computes tanh and the logistic function alone"
    return ""


def serves(name, cell):
    """Whether a backend of the package serves a cell."""
    return not OURS[name].refuses(Problem(cell))


# The backends that the package has by itself.
OURS = dict(BACKENDS)

throwaway = register(Backend("throwaway", fused.run, refuses, states, tangents))
twin = register(
    Backend(
        "twin",
        fused.run,
        refuses,
        lambda static, operands: gru_states.program(static, operands, "gpu"),
        lambda static, operands: gru_tangents.program(static, operands, "gpu"),
    )
)
