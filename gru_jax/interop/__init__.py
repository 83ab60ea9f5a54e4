"""Weights of other frameworks in and out, to the last digit or not at all.

Frameworks order the gates differently, reset before or after a product, keep or write with z, and have one bias or two.
`from_X` returns the cell with the params, because the equations are part of what weights mean; `to_X` is its inverse.
A conversion that cannot be exact raises and says why. Nothing here imports another framework, and nothing unpickles.

Each `from_X` copies. An absent bias is None, and stays so on the way back. Two biases that a format adds up become one:
the same function of the input, up to the rounding of that sum. A bias of 0 changes no digit.

May import `_cells`, `_layers` and `_scan`.
"""

from gru_jax.interop._cell_records import describe
from gru_jax.interop._keras import from_keras, to_keras
from gru_jax.interop._onnx import from_onnx, to_onnx
from gru_jax.interop._onnx_file import read_onnx
from gru_jax.interop._safetensors import load_safetensors, read_safetensors, save_safetensors, write_safetensors
from gru_jax.interop._torch import from_torch, to_torch
from gru_jax.interop._trees import (
    from_equinox,
    from_haiku,
    from_linen,
    from_nnx,
    to_equinox,
    to_haiku,
    to_linen,
    to_nnx,
)

__all__ = [
    "describe",
    "from_equinox",
    "from_haiku",
    "from_keras",
    "from_linen",
    "from_nnx",
    "from_onnx",
    "from_torch",
    "load_safetensors",
    "read_onnx",
    "read_safetensors",
    "save_safetensors",
    "to_equinox",
    "to_haiku",
    "to_keras",
    "to_linen",
    "to_nnx",
    "to_onnx",
    "to_torch",
    "write_safetensors",
]
