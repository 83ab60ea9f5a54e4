"""The GRU for JAX: exact, fast, complete, usable from a config file.

Cells are records of pure functions; `scan` runs one over time and `scan_layers` runs a stack of them. The Flax modules
`gru_jax.nnx` and `gru_jax.linen` load when they are first used, so that importing this needs JAX alone.
"""

import importlib
from typing import Any

from gru_jax._cells.cell import Cell
from gru_jax._cells.gru import GRUOptions, GRUParams, gru
from gru_jax._cells.lstm import LSTMCarry, LSTMParams, lstm
from gru_jax._cells.min_gru import MinGRUOptions, MinGRUParams, min_gru
from gru_jax._cells.rnn import RNNParams, rnn
from gru_jax._choice import backend_for
from gru_jax._layers import init_layers, scan_layers
from gru_jax._scan import scan

__version__ = "0.1.0"

__all__ = [
    "Cell",
    "GRUOptions",
    "GRUParams",
    "LSTMCarry",
    "LSTMParams",
    "MinGRUOptions",
    "MinGRUParams",
    "RNNParams",
    "backend_for",
    "gru",
    "init_layers",
    "linen",
    "lstm",
    "min_gru",
    "nnx",
    "rnn",
    "scan",
    "scan_layers",
]


def __getattr__(name: str) -> Any:
    if name in ("linen", "nnx"):
        return importlib.import_module(f"gru_jax.{name}")
    raise AttributeError(f"module 'gru_jax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
