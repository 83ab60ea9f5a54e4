"""The recurrent layers that models have in common, and the pooling of their states."""

from typing import Any

import gru_jax.linen


def recurrent_layers(model: Any) -> gru_jax.linen.GRU:
    """The stack of a model, from its fields."""
    layers = model.num_layers if isinstance(model.features, int) else len(model.features)
    return gru_jax.linen.GRU(
        model.features,
        num_layers=model.num_layers,
        bidirectional=model.bidirectional,
        dropout_rate=model.dropout_rate if layers > 1 else 0.0,
        cell=model.cell,
        dtype=model.dtype,
        backend=model.backend,
    )


def attention_pooling(model: Any) -> gru_jax.linen.AttentionPooling:
    """Attention pooling that judges in as many features as the last layer of a model has."""
    width = model.features if isinstance(model.features, int) else model.features[-1]
    return gru_jax.linen.AttentionPooling((2 if model.bidirectional else 1) * width)
