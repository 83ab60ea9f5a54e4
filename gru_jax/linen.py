"""Flax linen modules over the pure functions; they own parameters and nothing else."""

import gru_jax._flax.package  # noqa: F401 - first, since it says what to install
from gru_jax._flax.linen.attention import AdditiveAttention, AttentionPooling, DotProductAttention
from gru_jax._flax.linen.encoder_decoder import EncoderDecoder
from gru_jax._flax.linen.gru import GRU
from gru_jax._flax.linen.gru_cell import GRUCell
from gru_jax._flax.linen.params import as_params, as_variables

__all__ = [
    "GRU",
    "AdditiveAttention",
    "AttentionPooling",
    "DotProductAttention",
    "EncoderDecoder",
    "GRUCell",
    "as_params",
    "as_variables",
]
