"""Flax NNX modules over the pure functions; they own parameters and nothing else."""

import gru_jax._flax.package  # noqa: F401 - first, since it says what to install
from gru_jax._flax.nnx.attention import AdditiveAttention, AttentionPooling, DotProductAttention
from gru_jax._flax.nnx.encoder_decoder import EncoderDecoder
from gru_jax._flax.nnx.gru import GRU
from gru_jax._flax.nnx.gru_cell import GRUCell

__all__ = ["GRU", "AdditiveAttention", "AttentionPooling", "DotProductAttention", "EncoderDecoder", "GRUCell"]
