"""Flax NNX modules over the pure functions; they own parameters and nothing else."""

import gru_jax._flax_package  # noqa: F401 - first, since it says what to install
from gru_jax._nnx_attention import AdditiveAttention, AttentionPooling, DotProductAttention
from gru_jax._nnx_encoder_decoder import EncoderDecoder
from gru_jax._nnx_gru import GRU
from gru_jax._nnx_gru_cell import GRUCell

__all__ = ["GRU", "AdditiveAttention", "AttentionPooling", "DotProductAttention", "EncoderDecoder", "GRUCell"]
