"""The equations of DESIGN.md section 3 in NumPy, one row and one step at a time: slow, and plainly right.

Shares no code with gru_jax. Works on float64, and on complex128 for derivatives by complex step:
f'(x) = Im f(x + ih) / h, exact to rounding for h = 1e-30, since nothing is subtracted.
"""

import numpy as np


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def gates(matrix, count):
    # np.split does the same and takes ten times as long, most of the time of a step.
    width = matrix.shape[-1] // count
    return [matrix[..., k * width : (k + 1) * width] for k in range(count)]


def gru_step(params, h, x, reset_after=True, update_gate="keep", activation=np.tanh, gate_activation=sigmoid):
    none = np.zeros(params[1].shape[-1])
    W_ir, W_iz, W_in = gates(params[0], 3)
    W_hr, W_hz, W_hn = gates(params[1], 3)
    b_ir, b_iz, b_in = gates(none if params[2] is None else params[2], 3)
    b_hr, b_hz, b_hn = gates(none if params[3] is None else params[3], 3)
    r = gate_activation(x @ W_ir + b_ir + h @ W_hr + b_hr)
    z = gate_activation(x @ W_iz + b_iz + h @ W_hz + b_hz)
    if reset_after:
        n = activation(x @ W_in + b_in + r * (h @ W_hn + b_hn))
    else:
        n = activation(x @ W_in + b_in + (r * h) @ W_hn + b_hn)
    h = z * h + (1 - z) * n if update_gate == "keep" else (1 - z) * h + z * n
    return h, h


def lstm_step(params, carry, x):
    h, c = carry
    W_ii, W_if, W_ig, W_io = gates(params[0], 4)
    W_hi, W_hf, W_hg, W_ho = gates(params[1], 4)
    b_ii, b_if, b_ig, b_io = gates(params[2], 4)
    b_hi, b_hf, b_hg, b_ho = gates(params[3], 4)
    i = sigmoid(x @ W_ii + b_ii + h @ W_hi + b_hi)
    f = sigmoid(x @ W_if + b_if + h @ W_hf + b_hf)
    g = np.tanh(x @ W_ig + b_ig + h @ W_hg + b_hg)
    o = sigmoid(x @ W_io + b_io + h @ W_ho + b_ho)
    c = f * c + i * g
    h = o * np.tanh(c)
    return (h, c), h


def rnn_step(params, h, x):
    W_i, W_h, b_i, b_h = params
    h = np.tanh(x @ W_i + b_i + h @ W_h + b_h)
    return h, h


def min_gru_step(params, h, x, update_gate="write"):
    W_iz, W_in = gates(params[0], 2)
    b_iz, b_in = gates(params[1], 2)
    z = sigmoid(x @ W_iz + b_iz)
    n = x @ W_in + b_in
    h = z * h + (1 - z) * n if update_gate == "keep" else (1 - z) * h + z * n
    return h, h


def run_row(step, params, xs, carry, valid=None, resets=None, reset_carry=None, reverse=False):
    """One row: xs (T, I), carry a tuple of (H,) arrays or one array. Padding is skipped as if it were not there.

    reset_carry is like the carry, or a function that gives one for the index of a reset.
    """
    steps = [t for t in range(len(xs)) if valid is None or valid[t]]
    features = (carry[0] if isinstance(carry, tuple) else carry).shape[-1]
    ys = [np.zeros(features)] * len(xs)
    if reverse:
        steps = steps[::-1]
    for k, t in enumerate(steps):
        if resets is not None and (k > 0 and resets[steps[k - 1]] if reverse else resets[t]):
            carry = reset_carry(steps[k - 1] if reverse else t) if callable(reset_carry) else reset_carry
        carry, ys[t] = step(params, carry, xs[t])
    return carry, np.stack(ys) if ys else np.zeros((0, features))


def run(step, params, xs, carry, valid=None, resets=None, reset_carry=None, reverse=False):
    """A batch: xs (T, B, I), carry leaves (B, H), valid and resets (T, B), reset_carry leaves (B, H) or (T, B, H)."""
    rows = []
    by_step = reset_carry is not None and np.ndim(flat(reset_carry)[0]) > np.ndim(flat(carry)[0])
    for b in range(xs.shape[1]):
        pick = lambda tree, b=b: tuple(leaf[b] for leaf in tree) if isinstance(tree, tuple) else tree[b]  # noqa: E731
        rows.append(
            run_row(
                step,
                params,
                xs[:, b],
                pick(carry),
                None if valid is None else valid[:, b],
                None if resets is None else resets[:, b],
                None if reset_carry is None else at_step(reset_carry, b) if by_step else pick(reset_carry),
                reverse,
            )
        )
    if isinstance(carry, tuple):
        final = tuple(np.stack([row[0][i] for row in rows]) for i in range(len(carry)))
    else:
        final = np.stack([row[0] for row in rows])
    return final, np.stack([row[1] for row in rows], axis=1)


def flat(carry):
    return carry if isinstance(carry, tuple) else (carry,)


def at_step(carry, row):
    """What one row's reset at each index restores."""
    return lambda t: tuple(leaf[t, row] for leaf in carry) if isinstance(carry, tuple) else carry[t, row]


def complex_step(f, arrays, which):
    """The gradient of a real function of several arrays with respect to arrays[which], entry by entry."""
    gradient = np.zeros(arrays[which].shape)
    for index in np.ndindex(gradient.shape):
        moved = [a.astype(complex) for a in arrays]
        moved[which][index] += 1e-30j
        gradient[index] = f(*moved).imag / 1e-30
    return gradient
