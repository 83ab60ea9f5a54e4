"""interop_nnx.npz: flax.nnx.GRUCell in its parameter layouts. Run by make_interop_values.py.

xs are batch-major, (B, T, I), as nnx.RNN takes them; states are (B, H). Inside an RNN the keys begin with "cell/".
Every Flax that had the cell (0.10.0 to 0.12.8) fuses the gates and has no hidden bias, whatever its docstring says: the
library itself computed the cases fused... and rnn.... Its other layouts:

- fused_bias: the library's own cell, its dense_h replaced by a Linear that has a bias (3H). The forward is Flax's.
- fused_hn_bias: the candidate's bias as one more parameter, hn_bias (H), as proposed (google/flax pull request 5595,
  open in September 2026). The forward is this file's.
- separate: flax.linen.GRUCell through nnx.bridge.ToNNX: one kernel a gate, and hn/bias. The forward is Flax's.
- separate_no_bias: the same without hn/bias, from six nnx.Linear. The forward is this file's.
"""

import flax
import flax.linen
import flax.nnx as nnx
import jax
import jax.numpy as jnp
import numpy as np

from tests.recorded import interop_check as check
from tests.recorded.interop_check import LENGTHS, B, H, I, T

FACTS = {
    "nnx fused": check.Facts(
        gates="rzn", transposed=False, reset_after=True, update_gate="keep", padding="run",
        biases="dense_i/bias (3H); dense_h/bias (3H) or hn_bias (H) or neither",
    ),
    "nnx separate": check.Facts(
        gates="rzn", transposed=False, reset_after=True, update_gate="keep", padding="run",
        biases="ir, iz, in: (H); hn: (H) or none; one kernel a gate",
    ),
}  # fmt: skip


class FusedWithCandidateBias(nnx.GRUCell):
    """The layout of google/flax pull request 5595."""

    def __init__(self, *args, rngs, **options):
        super().__init__(*args, rngs=rngs, **options)
        self.hn_bias = nnx.Param(jnp.zeros(self.hidden_features, self.param_dtype))

    def __call__(self, carry, inputs):
        x_r, x_z, x_n = jnp.split(self.dense_i(inputs), 3, axis=-1)
        h_r, h_z, h_n = jnp.split(self.dense_h(carry), 3, axis=-1)
        r, z = jax.nn.sigmoid(x_r + h_r), jax.nn.sigmoid(x_z + h_z)
        carry = (1 - z) * jnp.tanh(x_n + r * (h_n + self.hn_bias[...])) + z * carry
        return carry, carry


class Separate(nnx.Module):
    """linen's names without a hidden bias."""

    def __init__(self, in_features, features, *, rngs):
        for gate in "rzn":
            setattr(self, f"i{gate}", nnx.Linear(in_features, features, rngs=rngs))
            setattr(self, f"h{gate}", nnx.Linear(features, features, use_bias=False, rngs=rngs))

    def __call__(self, carry, inputs):
        r, z = (jax.nn.sigmoid(getattr(self, f"i{g}")(inputs) + getattr(self, f"h{g}")(carry)) for g in "rz")
        # "in" is a word of Python, not a name.
        carry = (1 - z) * jnp.tanh(getattr(self, "in")(inputs) + r * self.hn(carry)) + z * carry
        return carry, carry


def fused(**options):
    return nnx.GRUCell(I, H, rngs=nnx.Rngs(0), **options)


def fused_bias():
    cell = fused()
    cell.dense_h = nnx.Linear(H, 3 * H, rngs=nnx.Rngs(0))
    return cell


def separate():
    cell = nnx.bridge.ToNNX(flax.linen.GRUCell(H), rngs=nnx.Rngs(0))
    return nnx.bridge.lazy_init(cell, jnp.zeros((B, H)), jnp.zeros((B, I)))


def record(seed, cell, *, rnn=False, ragged=False, factor=1):
    """What nnx stores and computes for random weights."""
    draw = check.Draw(seed)
    module = nnx.RNN(cell, return_carry=True) if rnn else cell
    state = nnx.to_flat_state(nnx.state(module, nnx.Param))
    weights = draw.like({"/".join(path): np.asarray(leaf[...]) for path, leaf in state}, factor=factor)
    flat = [(path, leaf.replace(jnp.asarray(weights["/".join(path)]))) for path, leaf in state]
    nnx.update(module, nnx.from_flat_state(flat))
    dtype = next(iter(weights.values())).dtype
    xs, initial = (draw(*shape, dtype=dtype, scale=1) for shape in ((B, T, I), (B, H)))
    if rnn:
        final, ys = module(xs, initial_carry=initial, seq_lengths=LENGTHS if ragged else None)
    else:
        final, ys = jnp.asarray(initial), []
        for t in range(T):
            final, y = module(final, jnp.asarray(xs[:, t]))
            ys.append(y)
        ys = jnp.stack(ys, axis=1)
    arrays = {f"weights/{key}": a for key, a in weights.items()} | {"xs": xs, "initial": initial}
    return arrays | ({"lengths": LENGTHS} if ragged else {}) | {"ys": np.asarray(ys), "final": np.asarray(final)}


def layers_of(weights, prefix):
    """The one layer of the reference, by whichever names are there."""
    weights = {key.removeprefix(prefix): np.asarray(a, np.float64) for key, a in weights.items()}
    if "dense_i/kernel" in weights:
        candidate = np.concatenate([np.zeros(2 * H), weights.get("hn_bias", np.zeros(H))])
        b_h = weights.get("dense_h/bias", candidate)
        return weights["dense_i/kernel"], weights["dense_h/kernel"], weights["dense_i/bias"], b_h
    w_i, w_h = (np.concatenate([weights[f"{side}{gate}/kernel"] for gate in "rzn"], axis=-1) for side in "ih")
    b_i = np.concatenate([weights[f"i{gate}/bias"] for gate in "rzn"])
    return w_i, w_h, b_i, np.concatenate([np.zeros(2 * H), weights.get("hn/bias", np.zeros(H))])


def prove(case, arrays):
    """Hold a case against the reference."""
    params = layers_of(check.weights_of(arrays), "cell/" if case.startswith("rnn") else "")
    meant = FACTS["nnx separate" if case.startswith("separate") else "nnx fused"]
    xs = np.moveaxis(arrays["xs"], 1, 0)

    def outputs(facts):
        ys, final = check.unroll(facts, check.layer(facts, *params), xs, arrays["initial"], arrays.get("lengths"))
        return np.moveaxis(ys, 0, 1), final

    ys, final = outputs(meant)
    check.agree(case, arrays, {"ys": ys, "final": final}, "saturated" in case)
    if case in ("fused", "separate"):
        check.only_these_facts(meant, arrays["ys"], outputs)


def cases():
    """Every case, proven."""
    how = {
        "fused": (fused(), {}),
        "fused_saturated": (fused(), {"factor": check.SATURATED}),
        "rnn": (fused(), {"rnn": True}),
        "rnn_ragged": (fused(), {"rnn": True, "ragged": True}),
        "fused_bias": (fused_bias(), {}),
        "fused_hn_bias": (FusedWithCandidateBias(I, H, rngs=nnx.Rngs(0)), {}),
        "separate": (separate(), {}),
        "separate_no_bias": (Separate(I, H, rngs=nnx.Rngs(0)), {}),
    }
    found = {case: record(seed, cell, **options) for seed, (case, (cell, options)) in enumerate(how.items())}
    with jax.enable_x64(True):
        found["fused_float64"] = record(len(found), fused(param_dtype=jnp.float64))
    for case, arrays in found.items():
        print(f"nnx {case}: { {k: a.shape for k, a in check.weights_of(arrays).items()} }")
        prove(case, arrays)
    return found


def main():
    check.write("nnx", {"flax": flax.__version__, "jax": jax.__version__}, cases())
