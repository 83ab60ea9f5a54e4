"""Write torch_gru.npz: what torch.nn.GRU and torch.nn.LSTM compute, for tests/scan/test_torch_values.py.

Run it where PyTorch is installed (`pip install torch==2.13.0`): python tests/recorded/make_torch_values.py
Each configuration is recorded in float64: weights as in the state dict, inputs, lengths, initial state, outputs,
final state, and the gradients of sum(output * weight) + sum(final * weight) to every parameter, input and state.
"""

import pathlib

import numpy as np
import torch

T, B, I, H = 7, 4, 3, 5  # noqa: E741 - the letters of DESIGN.md
CONFIGURATIONS = [
    (kind, layers, bidirectional, packed)
    for kind in ("GRU", "LSTM")
    for layers in (1, 2, 3)
    for bidirectional in (False, True)
    for packed in (False, True)
    if kind == "GRU" or layers < 3
]


def record(kind, layers, bidirectional, packed):
    """One configuration as a flat dict of arrays."""
    torch.manual_seed(layers + 10 * bidirectional + 100 * packed)
    directions = 2 if bidirectional else 1
    model = getattr(torch.nn, kind)(I, H, num_layers=layers, bidirectional=bidirectional).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.6)
    xs = torch.randn(T, B, I, dtype=torch.float64, requires_grad=True)
    states = [
        torch.randn(layers * directions, B, H, dtype=torch.float64, requires_grad=True)
        for _ in range(2 if kind == "LSTM" else 1)
    ]
    lengths = torch.tensor([7, 5, 2, 1] if packed else [T] * B)
    start = tuple(states) if kind == "LSTM" else states[0]
    if packed:
        inputs = torch.nn.utils.rnn.pack_padded_sequence(xs, lengths)
        ys, final = model(inputs, start)
        ys, _ = torch.nn.utils.rnn.pad_packed_sequence(ys, total_length=T)
    else:
        ys, final = model(xs, start)
    finals = final if kind == "LSTM" else (final,)
    weights = [torch.randn_like(leaf) for leaf in (ys, *finals)]
    sum((w * leaf).sum() for w, leaf in zip(weights, (ys, *finals), strict=True)).backward()

    arrays = {"xs": xs, "lengths": lengths, "ys": ys, "gradient.xs": xs.grad, "weight.ys": weights[0]}
    for letter, state, last, weight in zip("hc", states, finals, weights[1:], strict=False):
        arrays |= {letter: state, f"gradient.{letter}": state.grad, f"final.{letter}": last, f"weight.{letter}": weight}
    for name, parameter in model.named_parameters():
        arrays |= {f"params.{name}": parameter, f"gradient.{name}": parameter.grad}
    return {name: array.detach().numpy() for name, array in arrays.items()}


if __name__ == "__main__":
    everything = {"torch": np.array(torch.__version__)}
    for configuration in CONFIGURATIONS:
        name = "{}-{}-{}-{}".format(*configuration)
        everything |= {f"{name}/{key}": value for key, value in record(*configuration).items()}
    np.savez_compressed(pathlib.Path(__file__).parent / "torch_gru.npz", **everything)
