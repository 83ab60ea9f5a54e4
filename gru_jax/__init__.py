"""The GRU for JAX: exact, fast, complete, usable from a config file.

Cells are records of pure functions; `scan` runs one over time and `scan_layers` runs a stack of them. Some parts load
on first use, so that importing gru_jax needs JAX alone: `gru_jax.nnx` and `gru_jax.linen` (Flax modules),
`gru_jax.interop` (weights of other frameworks) and `gru_jax.export` (models that run elsewhere).
"""

import importlib
from typing import Any

from gru_jax._attention.attention import (
    AdditiveAttentionParams,
    AttentionMemory,
    DotProductAttentionParams,
    additive_attention,
    dot_product_attention,
    init_additive_attention,
    init_dot_product_attention,
)
from gru_jax._attention.pooling import AttentionPoolingParams, attention_pooling, init_attention_pooling
from gru_jax._cells.cell import Cell
from gru_jax._cells.conv_gru import ConvGRUParams, conv_gru
from gru_jax._cells.gru import GRUOptions, GRUParams, gru
from gru_jax._cells.gru_d import GRUDCarry, GRUDInputs, GRUDParams, gru_d
from gru_jax._cells.lstm import LSTMCarry, LSTMParams, lstm
from gru_jax._cells.min_gru import MinGRUOptions, MinGRUParams, min_gru
from gru_jax._cells.rnn import RNNParams, rnn
from gru_jax._cells.time_gaps import time_gaps
from gru_jax._cells.version import __version__ as __version__
from gru_jax._decoding.beam_search import beam_search
from gru_jax._decoding.encoder_decoder import Encoded, decode, decode_step, encode
from gru_jax._decoding.params import BridgeParams, EncoderDecoderParams, init_encoder_decoder
from gru_jax._decoding.search import Hypotheses, greedy_search
from gru_jax._layers.layers import init_layers, scan_layers
from gru_jax._layers.steps import carry_layers, step_layers
from gru_jax._scan.choice import backend_for
from gru_jax._scan.scan import scan

__all__ = [
    "AdditiveAttentionParams",
    "AttentionMemory",
    "AttentionPoolingParams",
    "BridgeParams",
    "Cell",
    "ConvGRUParams",
    "DotProductAttentionParams",
    "Encoded",
    "EncoderDecoderParams",
    "GRUDCarry",
    "GRUDInputs",
    "GRUDParams",
    "GRUOptions",
    "GRUParams",
    "Hypotheses",
    "LSTMCarry",
    "LSTMParams",
    "MinGRUOptions",
    "MinGRUParams",
    "RNNParams",
    "additive_attention",
    "attention_pooling",
    "backend_for",
    "beam_search",
    "carry_layers",
    "conv_gru",
    "decode",
    "decode_step",
    "dot_product_attention",
    "encode",
    "export",
    "greedy_search",
    "gru",
    "gru_d",
    "init_additive_attention",
    "init_attention_pooling",
    "init_dot_product_attention",
    "init_encoder_decoder",
    "init_layers",
    "interop",
    "linen",
    "lstm",
    "min_gru",
    "nnx",
    "rnn",
    "scan",
    "scan_layers",
    "step_layers",
    "time_gaps",
]


def __getattr__(name: str) -> Any:
    if name in ("export", "interop", "linen", "nnx"):
        return importlib.import_module(f"gru_jax.{name}")
    raise AttributeError(f"module 'gru_jax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
