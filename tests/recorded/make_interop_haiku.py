"""interop_haiku.npz: haiku.GRU, alone and two deep. Run by make_interop_values.py.

Time-major, as hk.dynamic_unroll is: xs (T, B, I). The state of one layer is (B, H); those of a DeepRNN, a tuple in
Haiku, are stacked here, (2, B, H). Keys are "<module>/<parameter>", as hk.transform nests them.
"""

from importlib.metadata import version

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from tests.recorded import interop_check as check
from tests.recorded.interop_check import B, H, I, T

FACTS = check.Facts(
    gates="zrn",
    transposed=False,
    reset_after=False,
    update_gate="write",
    padding="-",
    biases="b (3H), one for both sides",
)


def forward(deep, xs, initial):
    """(ys, final) of one GRU, or of two on top of each other."""
    core = hk.DeepRNN([hk.GRU(H), hk.GRU(H)]) if deep else hk.GRU(H)
    ys, final = hk.dynamic_unroll(core, xs, tuple(initial) if deep else initial)
    return ys, jnp.stack(final) if deep else final


def record(seed, *, deep=False, factor=1, dtype=np.float32):
    """What Haiku stores and computes for random weights."""
    draw = check.Draw(seed)
    xs, initial = draw(T, B, I, dtype=dtype, scale=1), draw(*(2,) * deep, B, H, dtype=dtype, scale=1)
    run = hk.without_apply_rng(hk.transform(lambda *inputs: forward(deep, *inputs)))
    made = run.init(jax.random.key(0), xs, initial)
    shapes = {f"{module}/{name}": np.asarray(a) for module, names in made.items() for name, a in names.items()}
    weights = draw.like(shapes, factor=factor)
    params = {module: {name: jnp.asarray(weights[f"{module}/{name}"]) for name in made[module]} for module in made}
    ys, final = run.apply(params, xs, initial)
    arrays = {f"weights/{key}": a for key, a in weights.items()} | {"xs": xs, "initial": initial}
    return arrays | {"ys": np.asarray(ys), "final": np.asarray(final)}


def prove(case, arrays):
    """Hold a case against the reference."""
    weights, deep = check.weights_of(arrays), arrays["initial"].ndim == 3
    modules = sorted({key.rsplit("/", 1)[0] for key in weights})

    def outputs(facts=FACTS):
        layers = [[check.layer(facts, *(weights[f"{m}/{name}"] for name in ("w_i", "w_h", "b")))] for m in modules]
        ys, final = check.stack(facts, layers, arrays["xs"], arrays["initial"] if deep else arrays["initial"][None])
        return ys, final if deep else final[0]

    ys, final = outputs()
    check.agree(case, arrays, {"ys": ys, "final": final}, "saturated" in case)
    if case == "gru":
        check.only_these_facts(FACTS, arrays["ys"], outputs)


def cases():
    """Every case, proven."""
    how = {"gru": {}, "deep": {"deep": True}, "saturated": {"factor": check.SATURATED}}
    found = {case: record(seed, **options) for seed, (case, options) in enumerate(how.items())}
    with jax.enable_x64(True):
        found["float64"] = record(len(found), dtype=np.float64)
    for case, arrays in found.items():
        print(f"haiku {case}: {sorted(check.weights_of(arrays))}")
        prove(case, arrays)
    return found


def main():
    check.write("haiku", {"dm-haiku": version("dm-haiku"), "jax": jax.__version__}, cases())
