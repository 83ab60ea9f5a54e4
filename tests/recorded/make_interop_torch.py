"""interop_torch.npz: torch.nn.GRU and GRUCell, and their gradients. Run by make_interop_values.py.

xs are time-major, (T, B, I); states are torch's (layers * directions, B, H). A GRUCell takes one step: xs (B, I),
states (B, H), and ys is final. Where there are lengths, the library saw pack_padded_sequence.
The two dtypes of one configuration have the same weights and inputs. Deep stacks have their gradients in float64 with
biases only: they are most of the file.
"""

import zlib

import numpy as np
import torch

from tests.recorded import interop_check as check
from tests.recorded.interop_check import LENGTHS, B, H, I, T

FACTS = check.Facts(
    gates="rzn", transposed=True, reset_after=True, update_gate="keep", biases="bias_ih (3H), bias_hh (3H), or neither"
)


KINDS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def layers_of(facts, weights, prefix, suffixes):
    """[layer][direction] of the reference's parameters, by torch's names, which end in `suffixes[layer][direction]`."""
    return [
        [check.layer(facts, *(weights.get(f"{prefix}{kind}{suffix}") for kind in KINDS)) for suffix in directions]
        for directions in suffixes
    ]


def suffixes(layers, directions):
    return [[f"_l{i}{d}" for d in ("", "_reverse")[:directions]] for i in range(layers)]


class Tagger(torch.nn.Module):
    """A model with a GRU inside, for a state dict with other keys before and after."""

    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(5, I)
        self.encoder = torch.nn.ModuleDict(
            {"rnn": torch.nn.GRU(I, H, bidirectional=True), "norm": torch.nn.LayerNorm(2 * H)}
        )
        self.head = torch.nn.Linear(2 * H, 2)


def run(module, xs, initial):
    """(ys, final) of a GRU or a GRUCell."""
    if isinstance(module, torch.nn.GRUCell):
        h = module(xs, initial)
        return h, h
    packed = torch.nn.utils.rnn.pack_padded_sequence(xs, torch.tensor(LENGTHS), enforce_sorted=False)
    ys, final = module(packed, initial)
    return torch.nn.utils.rnn.pad_packed_sequence(ys, total_length=T)[0], final


def record(owner, module, seed, *, prefix="", layers=1, directions=1, factor=1):
    """One case: `module` is `owner` or inside it, at `prefix`."""
    draw = check.Draw(seed)
    dtype = next(module.parameters()).detach().numpy().dtype
    weights = draw.like({key: a.numpy() for key, a in owner.state_dict().items()}, factor=factor)
    owner.load_state_dict({key: torch.tensor(a) for key, a in weights.items()})
    one_step = isinstance(module, torch.nn.GRUCell)
    xs = torch.tensor(draw(*(B, I) if one_step else (T, B, I), dtype=dtype, scale=1), requires_grad=True)
    shape = (B, H) if one_step else (layers * directions, B, H)
    initial = torch.tensor(draw(*shape, dtype=dtype, scale=1), requires_grad=True)
    ys, final = run(module, xs, initial)
    arrays = {f"weights/{key}": a for key, a in weights.items()}
    arrays |= {"xs": xs, "initial": initial, "ys": ys, "final": final}
    arrays |= {} if one_step else {"lengths": LENGTHS}
    if layers == 1 or (dtype == np.float64 and module.bias):
        w_ys, w_final = (draw(*a.shape, dtype=dtype, scale=1) for a in (ys, final))
        ((torch.tensor(w_ys) * ys).sum() + (torch.tensor(w_final) * final).sum()).backward()
        arrays |= {"w_ys": w_ys, "w_final": w_final, "gradient/xs": xs.grad, "gradient/initial": initial.grad}
        arrays |= {f"gradient/weights/{prefix}{key}": p.grad for key, p in module.named_parameters()}
    return {key: a.detach().numpy() if isinstance(a, torch.Tensor) else a for key, a in arrays.items()}


def prove(case, arrays, *, prefix="", layers=1, directions=1):
    """Hold a case against the reference, values and gradients."""
    one_step = arrays["xs"].ndim == 2
    names = [[""]] if one_step else suffixes(layers, directions)

    def outputs(weights, xs, initial, facts=FACTS):
        params = layers_of(facts, weights, prefix, names)
        if one_step:
            return tuple(a[0] for a in check.stack(facts, params, xs[None], initial[None]))
        return check.stack(facts, params, xs, initial, arrays.get("lengths"))

    inputs = check.weights_of(arrays), arrays["xs"], arrays["initial"]
    ys, final = outputs(*inputs)
    saturated = "saturated" in case
    check.agree(case, arrays, {"ys": ys, "final": final}, saturated)
    if "w_ys" in arrays:
        check.agree_gradient(case, arrays, outputs, saturated)
    if (layers, directions, saturated) == (1, 1, False) and arrays["xs"].dtype == np.float64 and "nobias" not in case:
        check.only_these_facts(FACTS, arrays["ys"], lambda other: outputs(*inputs, other))


def cases():
    """Every case, proven."""
    found = {}

    def add(case, owner, module, *, factor=1, **where):
        # The seed is the configuration's, not the dtype's.
        found[case] = record(owner, module, zlib.crc32(case.rsplit("-float")[0].encode()), factor=factor, **where)
        prove(case, found[case], **where)

    for name, dtype in (("float32", torch.float32), ("float64", torch.float64)):
        for bias in (True, False):
            suffix = f"{'bias' if bias else 'nobias'}-{name}"
            for layers in (1, 2, 3):
                for directions in (1, 2):
                    model = torch.nn.GRU(I, H, layers, bias=bias, bidirectional=directions == 2, dtype=dtype)
                    add(f"gru-{layers}-{directions}-{suffix}", model, model, layers=layers, directions=directions)
            model = torch.nn.GRUCell(I, H, bias=bias, dtype=dtype)
            add(f"cell-{suffix}", model, model)
    model = Tagger()
    add("inside", model, model.encoder["rnn"], prefix="encoder.rnn.", directions=2)
    for directions in (1, 2):
        model = torch.nn.GRU(I, H, bidirectional=directions == 2)
        add(f"saturated-{directions}", model, model, factor=check.SATURATED, directions=directions)
    return found


def main():
    check.write("torch", {"torch": torch.__version__}, cases())
