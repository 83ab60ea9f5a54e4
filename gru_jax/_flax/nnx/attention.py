"""Flax NNX modules of attention; they own parameters and nothing else."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from gru_jax._attention.attention import (
    AdditiveAttentionParams,
    DotProductAttentionParams,
    checked_attention,
    init_additive_attention,
    init_dot_product_attention,
)
from gru_jax._attention.pooling import checked_pooling, init_attention_pooling
from gru_jax._attention.weights import BATCH_MAJOR
from gru_jax._flax.nnx.params import OwnsParams
from gru_jax._flax.nnx.rngs import stream


class AdditiveAttention(OwnsParams):
    """`gru_jax.additive_attention`, batch-major; parameters as in `gru_jax.linen.AdditiveAttention`.

    Args:
      query_features: Q, the width of a query.
      key_features: K, the width of a key.
      features: A, the width in which the two meet.
      param_dtype: the dtype of the parameters.
      rngs: the random stream "params".
    """

    def __init__(
        self,
        query_features: int,
        key_features: int,
        features: int,
        *,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        key = stream(rngs, "params")()
        self._own(init_additive_attention(key, query_features, key_features, features, dtype=param_dtype))

    def __call__(
        self,
        query: jax.Array,
        keys: jax.Array,
        values: jax.Array | None = None,
        *,
        key_lengths: jax.Array | None = None,
        key_mask: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Attend: query `(*B, Q)` or `(*B, L, Q)`, keys `(*B, S, K)`, values `(*B, S, V)`, key_mask `(*B, S)`.

        Returns context `(*B, V)` or `(*B, L, V)` and weights `(*B, S)` or `(*B, L, S)`. Raises as the function does.
        """
        kind = AdditiveAttentionParams
        return checked_attention(kind, self.params, query, keys, values, key_lengths, key_mask, BATCH_MAJOR)


class DotProductAttention(OwnsParams):
    """`gru_jax.dot_product_attention`, batch-major; parameters as in `gru_jax.linen.DotProductAttention`.

    Args:
      query_features: Q, the width of a query.
      key_features: K, the width of a key.
      param_dtype: the dtype of the parameters.
      rngs: the random stream "params".
    """

    def __init__(self, query_features: int, key_features: int, *, param_dtype: Any = jnp.float32, rngs: nnx.Rngs):
        key = stream(rngs, "params")()
        self._own(init_dot_product_attention(key, query_features, key_features, dtype=param_dtype))

    def __call__(
        self,
        query: jax.Array,
        keys: jax.Array,
        values: jax.Array | None = None,
        *,
        key_lengths: jax.Array | None = None,
        key_mask: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Attend, with shapes as in `AdditiveAttention`."""
        kind = DotProductAttentionParams
        return checked_attention(kind, self.params, query, keys, values, key_lengths, key_mask, BATCH_MAJOR)


class AttentionPooling(OwnsParams):
    """`gru_jax.attention_pooling`, batch-major; parameters as in `gru_jax.linen.AttentionPooling`.

    Args:
      in_features: F, the width of one step.
      features: A, the width in which steps are judged.
      param_dtype: the dtype of the parameters.
      rngs: the random stream "params".
    """

    def __init__(self, in_features: int, features: int, *, param_dtype: Any = jnp.float32, rngs: nnx.Rngs):
        self._own(init_attention_pooling(stream(rngs, "params")(), in_features, features, dtype=param_dtype))

    def __call__(
        self, ys: jax.Array, *, seq_lengths: jax.Array | None = None, mask: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Pool ys `(*B, T, F)`, with mask `(*B, T)`, to `(*B, F)`; also weights `(*B, T)`."""
        return checked_pooling(self.params, ys, seq_lengths, mask, BATCH_MAJOR)
