"""interop_equinox.npz: equinox.nn.GRUCell. Run by make_interop_values.py.

The cell takes one step of one row; here it is mapped over rows and scanned over time: xs (T, B, I), states (B, H).
Keys are the cell's fields.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from tests.recorded import interop_check as check
from tests.recorded.interop_check import B, H, I, T

FACTS = check.Facts(
    gates="rzn",
    transposed=True,
    reset_after=True,
    update_gate="keep",
    padding="-",
    biases="bias (3H) and bias_n (H); or neither",
)
FIELDS = ("weight_ih", "weight_hh", "bias", "bias_n")


def record(seed, *, use_bias=True, factor=1, dtype=np.float32):
    """What Equinox stores and computes for random weights."""
    draw = check.Draw(seed)
    cell = eqx.nn.GRUCell(I, H, use_bias=use_bias, dtype=dtype, key=jax.random.key(0))
    fields = {name: getattr(cell, name) for name in FIELDS if getattr(cell, name) is not None}
    weights = draw.like({name: np.asarray(a) for name, a in fields.items()}, factor=factor)
    cell = eqx.tree_at(
        lambda c: [getattr(c, name) for name in weights], cell, [jnp.asarray(a) for a in weights.values()]
    )
    xs, initial = draw(T, B, I, dtype=dtype, scale=1), draw(B, H, dtype=dtype, scale=1)

    def step(h, x):
        h = jax.vmap(cell)(x, h)
        return h, h

    final, ys = jax.lax.scan(step, jnp.asarray(initial), jnp.asarray(xs))
    arrays = {f"weights/{key}": a for key, a in weights.items()} | {"xs": xs, "initial": initial}
    return arrays | {"ys": np.asarray(ys), "final": np.asarray(final)}


def prove(case, arrays):
    """Hold a case against the reference."""
    w_i, w_h, b_i, b_n = (check.weights_of(arrays).get(name) for name in FIELDS)

    def outputs(facts=FACTS):
        # bias_n is the candidate's by its name, wherever the candidate is in the stacks.
        b_h = None if b_n is None else np.zeros((3, H))
        if b_h is not None:
            b_h[facts.gates.index("n")] = b_n
        params = check.layer(facts, w_i, w_h, b_i, None if b_h is None else b_h.ravel())
        return check.unroll(facts, params, arrays["xs"], arrays["initial"])

    ys, final = outputs()
    check.agree(case, arrays, {"ys": ys, "final": final}, "saturated" in case)
    if case == "bias-float32":
        check.only_these_facts(FACTS, arrays["ys"], outputs)


def cases():
    """Every case, proven."""
    found = {"saturated": record(0, factor=check.SATURATED)}
    for dtype in (np.float32, np.float64):
        for use_bias in (True, False):
            with jax.enable_x64(dtype == np.float64):
                case = f"{'bias' if use_bias else 'nobias'}-{np.dtype(dtype).name}"
                found[case] = record(len(found), use_bias=use_bias, dtype=dtype)
    for case, arrays in found.items():
        prove(case, arrays)
    return found


def main():
    check.write("equinox", {"equinox": eqx.__version__, "jax": jax.__version__}, cases())
