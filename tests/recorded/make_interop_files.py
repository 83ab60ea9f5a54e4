"""Write interop_files/: one torch.nn.GRU as files of other people's making, for the tests of gru_jax.interop's readers.

Run it where PyTorch, onnx and safetensors are: python tests/recorded/make_interop_files.py (torch 2.13.0, onnx 1.23.2,
safetensors 0.8.0). `gru.safetensors` and `gru.pt` hold the state dict, below the prefix `encoder.` with something else
beside it, `gru.onnx` what torch.onnx.export makes of it, `bfloat16.safetensors` the state dict in bfloat16, and
`values.npz` the state dict in NumPy, inputs and outputs.
"""

import pathlib
import warnings

import numpy as np
import safetensors.torch
import torch

T, B, I, H = 6, 3, 2, 4  # noqa: E741 - the letters of DESIGN.md


class Model(torch.nn.Module):
    """A GRU inside of something larger."""

    def __init__(self):
        super().__init__()
        self.encoder = torch.nn.GRU(I, H, num_layers=2, bidirectional=True)
        self.register_buffer("steps_seen", torch.tensor(7))

    def forward(self, xs):
        """All outputs and the last states."""
        return self.encoder(xs)


if __name__ == "__main__":
    folder = pathlib.Path(__file__).with_name("interop_files")
    folder.mkdir(exist_ok=True)
    torch.manual_seed(3)
    model = Model().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.6)
    state = model.state_dict()
    safetensors.torch.save_file(state, folder / "gru.safetensors")
    narrow = {key: tensor.bfloat16() for key, tensor in state.items() if tensor.is_floating_point()}
    safetensors.torch.save_file(narrow, folder / "bfloat16.safetensors")
    torch.save(state, folder / "gru.pt")
    xs = torch.randn(T, B, I)
    with warnings.catch_warnings():
        # The exporter that needs no further package is announced to go one day.
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (xs,), folder / "gru.onnx", dynamo=False, input_names=["xs"])
    with torch.no_grad():
        ys, _ = model(xs)
    arrays = {f"params.{key}": tensor.numpy() for key, tensor in state.items()}
    np.savez(folder / "values.npz", xs=xs.numpy(), ys=ys.numpy(), **arrays)
