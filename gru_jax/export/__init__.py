"""Models that run without gru_jax: ONNX with real recurrent nodes, and what `jax.export` makes.

`onnx_model` is for onnxruntime and others that read ONNX; a model with more around the recurrent layers is built on
`Graph` and `add_layers`. `stablehlo` and `stablehlo_step` are for JAX alone, on any of its platforms, and for whatever
reads StableHLO. Both keep what `gru_jax.scan_layers` promises of ragged rows. ONNX needs the package onnx, files of
StableHLO need flatbuffers: `pip install "gru_jax[interop]"`.

May import `_backends`, `_cells`, `_layers`, `_scan` and `interop`.
"""

from gru_jax.export._onnx_graph import Graph
from gru_jax.export._onnx_layers import add_layers
from gru_jax.export._onnx_model import onnx_model, save_onnx
from gru_jax.export._stablehlo import stablehlo, stablehlo_step, without_locations
from gru_jax.export._stablehlo_file import load_stablehlo, save_stablehlo

__all__ = [
    "Graph",
    "add_layers",
    "load_stablehlo",
    "onnx_model",
    "save_onnx",
    "save_stablehlo",
    "stablehlo",
    "stablehlo_step",
    "without_locations",
]
