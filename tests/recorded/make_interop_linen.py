"""interop_linen.npz: flax.linen.GRUCell, stepped by itself and inside flax.linen.RNN. Run by make_interop_values.py.

xs are batch-major, (B, T, I), as RNN takes them; states are (B, H). A cell by itself (cases "cell...") has the keys
"ir/kernel", ...; inside an RNN they are "cell/ir/kernel", .... With lengths RNN returns the carry of the last valid
step and computes on over the padding: ys is as it came.
"""

import flax
import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from tests.recorded import interop_check as check
from tests.recorded.interop_check import LENGTHS, B, H, I, T

FACTS = check.Facts(
    gates="rzn", transposed=False, reset_after=True, update_gate="keep", padding="run",
    biases="ir, iz, in: (H); hn: (H); hr, hz: none; one kernel a gate",
)  # fmt: skip


def layers_of(weights, prefix):
    """The one layer of the reference, by linen's names."""
    w_i, w_h = (np.concatenate([weights[f"{prefix}{side}{g}/kernel"] for g in "rzn"], axis=-1) for side in "ih")
    b_i = np.concatenate([weights[f"{prefix}i{gate}/bias"] for gate in "rzn"])
    b_h = np.concatenate([np.zeros(2 * H), weights[f"{prefix}hn/bias"]])
    return w_i, w_h, b_i, b_h


def record(seed, *, rnn=False, ragged=False, factor=1, dtype=jnp.float32):
    """What linen stores and computes for random weights."""
    draw = check.Draw(seed)
    cell = flax.linen.GRUCell(H, dtype=dtype, param_dtype=dtype)
    xs, initial = (draw(*shape, dtype=np.dtype(dtype), scale=1) for shape in ((B, T, I), (B, H)))
    module = flax.linen.RNN(cell, return_carry=True) if rnn else cell
    made = module.init(jax.random.key(0), xs) if rnn else module.init(jax.random.key(0), initial, xs[:, 0])
    shapes = flatten_dict(jax.tree.map(np.asarray, made["params"]), sep="/")
    weights = draw.like(shapes, factor=factor)
    variables = {"params": unflatten_dict(weights, sep="/")}
    if rnn:
        final, ys = module.apply(variables, xs, initial_carry=initial, seq_lengths=LENGTHS if ragged else None)
    else:
        final, ys = jax.lax.scan(lambda h, x: module.apply(variables, h, x), initial, jnp.moveaxis(xs, 1, 0))
        ys = jnp.moveaxis(ys, 0, 1)
    arrays = {f"weights/{key}": a for key, a in weights.items()} | {"xs": xs, "initial": initial}
    return arrays | ({"lengths": LENGTHS} if ragged else {}) | {"ys": np.asarray(ys), "final": np.asarray(final)}


def prove(case, arrays):
    """Hold a case against the reference."""
    params = layers_of(check.weights_of(arrays), "" if case.startswith("cell") else "cell/")
    xs = np.moveaxis(arrays["xs"], 1, 0)

    def outputs(facts=FACTS):
        # The names say which gate is which, so only a misnamed pair could be told here.
        ys, final = check.unroll(facts, check.layer(facts, *params), xs, arrays["initial"], arrays.get("lengths"))
        return np.moveaxis(ys, 0, 1), final

    ys, final = outputs()
    check.agree(case, arrays, {"ys": ys, "final": final}, "saturated" in case)
    if case == "cell":
        check.only_these_facts(FACTS, arrays["ys"], outputs)


def cases():
    """Every case, proven."""
    how = {
        "cell": {},
        "cell_saturated": {"factor": check.SATURATED},
        "rnn": {"rnn": True},
        "rnn_ragged": {"rnn": True, "ragged": True},
    }
    found = {case: record(seed, **options) for seed, (case, options) in enumerate(how.items())}
    with jax.enable_x64(True):
        found["cell_float64"] = record(len(found), dtype=jnp.float64)
    for case, arrays in found.items():
        prove(case, arrays)
    return found


def main():
    check.write("linen", {"flax": flax.__version__, "jax": jax.__version__}, cases())
