"""How the recorded values of other libraries are drawn, proven and written.

Nothing is recorded on a library's word alone: each value is computed a second time in float64 by the equations of
DESIGN.md section 3 (tests/reference.py, which shares no code with gru_jax), under the conventions that the library is
believed to have. Random weights agree under the right conventions only, so agreement proves the conventions.
"""

import io
import itertools
import pathlib
import zipfile
from typing import NamedTuple

import numpy as np

from tests.reference import gru_step

T, B, I, H = 5, 3, 2, 4  # noqa: E741 - the letters of DESIGN.md
LENGTHS = np.array([5, 1, 3], np.int32)
# Saturated gates: far out, but not so far that float32 rounding grows over the steps.
SATURATED = 20


class Facts(NamedTuple):
    """What a library's weights mean: one row of the table that make_interop_values.py prints."""

    gates: str  # their order in a stack of 3H; n is the candidate
    transposed: bool  # True: matrices are (3H, in), W x; False: (in, 3H), x W
    reset_after: bool
    update_gate: str  # "keep": z near 1 keeps the old state; "write": it writes the candidate
    padding: str = "zero"  # outputs in the padding: "zero", "repeat" the one before, or "run" on; "-": knows none
    biases: str = ""  # in words, for the table


class Draw:
    """Random arrays on a grid of 1/32: exact in every dtype, and the files compress well."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def __call__(self, *shape, dtype=np.float32, scale=0.6):
        return (np.round(self.rng.normal(size=shape) * scale * 32) / 32).astype(dtype)

    def like(self, arrays, scale=0.6, factor=1):
        """A dict of random arrays of the shapes and dtypes of `arrays`, times `factor`."""
        drawn = {key: self(*a.shape, dtype=a.dtype, scale=scale) for key, a in arrays.items()}
        return {key: (a * factor).astype(a.dtype) for key, a in drawn.items()}


def layer(facts, w_i, w_h, b_i=None, b_h=None):
    """(w_i, w_h, b_i, b_h) with gates in the order r, z, n, as tests.reference has them; absent biases are zero."""
    if facts.transposed:
        w_i, w_h = w_i.T, w_h.T
    order = [facts.gates.index(gate) for gate in "rzn"]
    zero = np.zeros(w_h.shape[-1])
    arrays = (w_i, w_h, zero if b_i is None else b_i, zero if b_h is None else b_h)
    return tuple(np.concatenate([np.split(a, 3, axis=-1)[i] for i in order], axis=-1) for a in arrays)


def unroll(facts, params, xs, h, lengths=None, reverse=False):
    """Time-major xs (T, B, I) through one layer and direction: (ys, final)."""
    # Strict float64 (or complex128): float32 weights must not round what is computed here.
    params = [np.asarray(p, np.result_type(p, np.float64)) for p in params]
    xs, h = (np.asarray(a, np.result_type(a, np.float64)) for a in (xs, h))
    steps, y = [None] * len(xs), np.zeros_like(h)
    final = h
    for t in reversed(range(len(xs))) if reverse else range(len(xs)):
        new, _ = gru_step(params, h, xs[t], reset_after=facts.reset_after, update_gate=facts.update_gate)
        valid = np.ones((*xs.shape[1:2], 1), bool) if lengths is None else (t < lengths)[:, None]
        final = np.where(valid, new, final)
        h = new if facts.padding == "run" else final
        y = new if facts.padding == "run" else np.where(valid, new, y if facts.padding == "repeat" else 0)
        steps[t] = y
    return np.stack(steps), final


def stack(facts, layers, xs, initial, lengths=None):
    """`layers[layer][direction]` over xs, initial (L * D, B, H): (ys, final), directions concatenated."""
    finals, initial = [], iter(initial)
    for directions in layers:
        runs = [unroll(facts, p, xs, next(initial), lengths, reverse=d == 1) for d, p in enumerate(directions)]
        xs = np.concatenate([ys for ys, _ in runs], axis=-1)
        finals += [final for _, final in runs]
    return xs, np.stack(finals)


def tolerance(dtype, saturated):
    """Half of what the tests allow gru_jax, so that the library's own rounding leaves room."""
    if dtype == np.float64:
        return 5e-13
    return 2.5e-5 if saturated else 1e-6


def agree(case, found, expected, saturated=False):
    """Raise unless the library's arrays equal the reference's."""
    for what, ours in expected.items():
        theirs = np.asarray(found[what])
        assert theirs.shape == ours.shape, (case, what, theirs.shape, ours.shape)
        error = np.max(np.abs(theirs - ours), initial=0)
        assert error <= tolerance(theirs.dtype, saturated), (case, what, error)


def agree_gradient(case, arrays, outputs, saturated=False):
    """Raise unless the recorded gradients agree along one random direction with a complex step of the reference.

    `outputs(weights, xs, initial) -> (ys, final)` is the reference on the library's own arrays.
    """
    rng, step = np.random.default_rng(0), 1e-30
    inputs, slope = {}, 0.0
    for key, gradient in arrays.items():
        if key.startswith("gradient/"):
            direction = rng.normal(size=gradient.shape)
            inputs[key.removeprefix("gradient/")] = direction
            slope += np.sum(direction * gradient.astype(np.float64))
    moved = {key: arrays[key] + 1j * step * inputs[key] if key in inputs else arrays[key] for key in arrays}
    ys, final = outputs(weights_of(moved), moved["xs"], moved["initial"])
    expected = np.sum(arrays["w_ys"] * ys.imag / step) + np.sum(arrays["w_final"] * final.imag / step)
    # The sum of many slopes cancels; relative to their size, not to what is left.
    size = sum(np.linalg.norm(arrays[f"gradient/{key}"]) for key in inputs)
    limit = {True: 1e-12, False: 1e-4 if saturated else 2e-6}[arrays["xs"].dtype == np.float64]
    assert abs(slope - expected) <= limit * size, (case, slope, expected, size)


def weights_of(arrays):
    """The library's own keys and arrays, out of a case's."""
    return {key.removeprefix("weights/"): a for key, a in arrays.items() if key.startswith("weights/")}


def only_these_facts(facts, found, compute):
    """Raise unless, of all gate orders, reset orders and update signs, `facts` alone gives the library's outputs."""
    for order in itertools.permutations("rzn"):
        for reset_after, update_gate in itertools.product((True, False), ("keep", "write")):
            other = facts._replace(gates="".join(order), reset_after=reset_after, update_gate=update_gate)
            error = np.max(np.abs(compute(other)[0] - found))
            assert (error < 1e-5) == (other == facts), (other, error)
            assert error < 1e-5 or error > 1e-2, (other, error)


def write(name, versions, cases):
    """Write interop_NAME.npz beside this file."""
    flat = {"versions": np.array([f"{library} {version}" for library, version in versions.items()])}
    for case, arrays in cases.items():
        flat |= {f"{case}/{key}": np.asarray(array) for key, array in arrays.items()}
    path = pathlib.Path(__file__).parent / f"interop_{name}.npz"
    # As np.savez_compressed, but with no date and no zip64 fields: the same bytes again, and fewer.
    with zipfile.ZipFile(path, "w") as file:
        for key, array in flat.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, array, allow_pickle=False)
            file.writestr(zipfile.ZipInfo(f"{key}.npy"), member.getvalue(), zipfile.ZIP_DEFLATED, 9)
    print(f"{path.name}: {len(cases)} cases, {path.stat().st_size / 1000:.0f} kB")
