"""Flax NNX modules of attention; they own parameters and nothing else."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from gru_jax._attention import (
    AdditiveAttentionParams,
    DotProductAttentionParams,
    additive_attention,
    dot_product_attention,
    init_additive_attention,
    init_dot_product_attention,
)
from gru_jax._attention_layout import attend_batch_major, mask_time_first, time_first
from gru_jax._attention_pooling import AttentionPoolingParams, attention_pooling, init_attention_pooling
from gru_jax._stack import as_dict


class AdditiveAttention(nnx.Module):
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
        _own(self, init_additive_attention(params_key(rngs), query_features, key_features, features, dtype=param_dtype))

    @property
    def params(self) -> AdditiveAttentionParams:
        """As `gru_jax.additive_attention` takes them."""
        return _owned(self, AdditiveAttentionParams)

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
        return attend_batch_major(additive_attention, self.params, query, keys, values, key_lengths, key_mask)


class DotProductAttention(nnx.Module):
    """`gru_jax.dot_product_attention`, batch-major; parameters as in `gru_jax.linen.DotProductAttention`.

    Args:
      query_features: Q, the width of a query.
      key_features: K, the width of a key.
      param_dtype: the dtype of the parameters.
      rngs: the random stream "params".
    """

    def __init__(self, query_features: int, key_features: int, *, param_dtype: Any = jnp.float32, rngs: nnx.Rngs):
        _own(self, init_dot_product_attention(params_key(rngs), query_features, key_features, dtype=param_dtype))

    @property
    def params(self) -> DotProductAttentionParams:
        """As `gru_jax.dot_product_attention` takes them."""
        return _owned(self, DotProductAttentionParams)

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
        return attend_batch_major(dot_product_attention, self.params, query, keys, values, key_lengths, key_mask)


class AttentionPooling(nnx.Module):
    """`gru_jax.attention_pooling`, batch-major; parameters as in `gru_jax.linen.AttentionPooling`.

    Args:
      in_features: F, the width of one step.
      features: A, the width in which steps are judged.
      param_dtype: the dtype of the parameters.
      rngs: the random stream "params".
    """

    def __init__(self, in_features: int, features: int, *, param_dtype: Any = jnp.float32, rngs: nnx.Rngs):
        _own(self, init_attention_pooling(params_key(rngs), in_features, features, dtype=param_dtype))

    @property
    def params(self) -> AttentionPoolingParams:
        """As `gru_jax.attention_pooling` takes them."""
        return _owned(self, AttentionPoolingParams)

    def __call__(
        self, ys: jax.Array, *, seq_lengths: jax.Array | None = None, mask: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Pool ys `(*B, T, F)`, with mask `(*B, T)`, to `(*B, F)`; also weights `(*B, T)`."""
        mask = mask_time_first("mask", mask)
        ys = time_first("ys", ys)
        pooled, weights = attention_pooling(self.params, ys, seq_lengths=seq_lengths, mask=mask)
        return pooled, jnp.moveaxis(weights, 0, -1)


def params_key(rngs: Any) -> jax.Array:
    """A key for new parameters."""
    if not isinstance(rngs, nnx.Rngs):
        raise TypeError(f"rngs: expected an nnx.Rngs, got {rngs!r}; make one with nnx.Rngs(0).")
    return rngs.params()


def _own(module: nnx.Module, params: Any) -> None:
    for name, value in as_dict(params).items():
        setattr(module, name, nnx.Param(value))


def _owned(module: nnx.Module, kind: Any) -> Any:
    return kind(**{name: getattr(module, name)[...] for name in kind._fields})
