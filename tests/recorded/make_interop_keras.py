"""interop_keras.npz: keras.layers.GRU and Bidirectional of it, and their gradients. Run by make_interop_values.py.

xs are batch-major, (B, T, I). Weights are numbered in the order of `layer.get_weights()`: kernel, recurrent_kernel and,
with use_bias, bias; a Bidirectional has its forward layer's, then its backward layer's. States are (B, H); those of a
Bidirectional, a list in Keras, are stacked here, (2, B, H). Where there are lengths, Keras saw the mask they make: on
padding a GRU repeats its previous output, but a Bidirectional gives zeros (it sets zero_output_for_mask in its layers).
"""

import keras
import numpy as np
import torch

from tests.recorded import interop_check as check
from tests.recorded.interop_check import LENGTHS, B, H, I, T

FACTS = {
    "keras reset_after": check.Facts(
        gates="zrn", transposed=False, reset_after=True, update_gate="keep", padding="repeat",
        biases="bias (2, 3H): input's, then state's; or none",
    ),
    "keras reset before": check.Facts(
        gates="zrn", transposed=False, reset_after=False, update_gate="keep", padding="repeat",
        biases="bias (3H); or none",
    ),
}  # fmt: skip


def build(reset_after, use_bias, bidirectional, dtype):
    """A built Keras layer."""
    layer = keras.layers.GRU(
        H, reset_after=reset_after, use_bias=use_bias, return_sequences=True, return_state=True, dtype=dtype
    )
    layer = keras.layers.Bidirectional(layer, dtype=dtype) if bidirectional else layer
    layer.build((B, T, I))
    return layer


def record(layer, seed, *, bidirectional, ragged, factor):
    """What the layer stores and computes for random weights."""
    draw = check.Draw(seed)
    weights = draw.like(dict(enumerate(layer.get_weights())), factor=factor)
    layer.set_weights(list(weights.values()))
    dtype = weights[0].dtype
    xs = torch.tensor(draw(B, T, I, dtype=dtype, scale=1), requires_grad=True)
    initial = torch.tensor(draw(*(2,) * bidirectional, B, H, dtype=dtype, scale=1), requires_grad=True)
    mask = torch.tensor(np.arange(T) < LENGTHS[:, None]) if ragged else None
    ys, *final = layer(xs, mask=mask, initial_state=list(initial) if bidirectional else initial)
    final = torch.stack(final) if bidirectional else final[0]
    w_ys, w_final = (draw(*a.shape, dtype=dtype, scale=1) for a in (ys, final))
    loss = (torch.tensor(w_ys) * ys).sum() + (torch.tensor(w_final) * final).sum()
    gradients = torch.autograd.grad(loss, [xs, initial, *(v.value for v in layer.trainable_variables)])
    arrays = {f"weights/{i}": a for i, a in weights.items()}
    arrays |= {"xs": xs, "initial": initial, "ys": ys, "final": final, "w_ys": w_ys, "w_final": w_final}
    arrays |= {"lengths": LENGTHS} if ragged else {}
    arrays |= {"gradient/xs": gradients[0], "gradient/initial": gradients[1]}
    arrays |= {f"gradient/weights/{i}": a for i, a in enumerate(gradients[2:])}
    return {key: a.detach().numpy() if isinstance(a, torch.Tensor) else a for key, a in arrays.items()}


def layers_of(facts, weights, bidirectional):
    """[layer][direction] of the reference's parameters."""
    arrays = [weights[str(i)] for i in range(len(weights))]
    half = len(arrays) // (1 + bidirectional)
    directions = []
    for w_i, w_h, *bias in (arrays[i : i + half] for i in range(0, len(arrays), half)):
        biases = (bias[0] if facts.reset_after else [bias[0], None]) if bias else [None, None]
        directions.append(check.layer(facts, w_i, w_h, *biases))
    return [directions]


def prove(case, facts, arrays, *, bidirectional):
    """Hold a case against the reference, values and gradients."""
    saturated = "saturated" in case

    def outputs(weights, xs, initial, meant=facts):
        # The shape of the bias belongs to the weights, whatever their meaning.
        params = layers_of(meant._replace(reset_after=facts.reset_after), weights, bidirectional)
        if bidirectional:
            meant = meant._replace(padding="zero")
        else:
            initial = initial[None]
        ys, final = check.stack(meant, params, np.moveaxis(xs, 0, 1), initial, arrays.get("lengths"))
        return np.moveaxis(ys, 0, 1), final if bidirectional else final[0]

    inputs = check.weights_of(arrays), arrays["xs"], arrays["initial"]
    ys, final = outputs(*inputs)
    check.agree(case, arrays, {"ys": ys, "final": final}, saturated)
    check.agree_gradient(case, arrays, outputs, saturated)
    if "lengths" not in arrays and not bidirectional and not saturated and "nobias" not in case:
        check.only_these_facts(facts, arrays["ys"], lambda other: outputs(*inputs, other))


def cases():
    """Every case, proven."""
    found = {}

    def add(name, facts, bidirectional, *, use_bias=True, ragged=False, factor=1, dtype="float32"):
        layer = build(facts.reset_after, use_bias, bidirectional, dtype)
        case = "-".join(
            [
                "bidirectional" if bidirectional else "gru",
                "after" if facts.reset_after else "before",
                *(["bias" if use_bias else "nobias"]),
                *([name] if name else []),
            ]
        )
        found[case] = record(layer, len(found), bidirectional=bidirectional, ragged=ragged, factor=factor)
        prove(case, facts, found[case], bidirectional=bidirectional)

    for facts in FACTS.values():
        for bidirectional in (False, True):
            for use_bias in (True, False):
                add("", facts, bidirectional, use_bias=use_bias)
            add("ragged", facts, bidirectional, ragged=True)
        add("saturated", facts, False, factor=check.SATURATED)
        if facts.reset_after:
            # Not reset before: that takes a slice of the kernel, and Keras on PyTorch multiplies by it in float32.
            add("float64", facts, True, dtype="float64")
    return found


def main():
    check.write("keras", {"keras": keras.__version__, "torch": torch.__version__}, cases())
