"""Flax linen modules of attention; they own parameters and nothing else."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gru_jax._attention.attention import (
    AdditiveAttentionParams,
    DotProductAttentionParams,
    checked_attention,
    init_additive_attention,
    init_dot_product_attention,
)
from gru_jax._attention.pooling import checked_pooling, init_attention_pooling
from gru_jax._attention.weights import BATCH_MAJOR
from gru_jax._cells.checks import check_array
from gru_jax._flax.linen.params import declare, params_key
from gru_jax._flax.param_names import as_dict


class AdditiveAttention(nn.Module):
    """`gru_jax.additive_attention`, batch-major.

    Attributes:
      features: A, the width in which query and key meet.
      param_dtype: the dtype of the parameters.
    """

    features: int
    param_dtype: Any = jnp.float32

    @nn.compact
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
        widths = width_of("query", query), width_of("keys", keys)
        params = _own(self, lambda key: init_additive_attention(key, *widths, self.features, dtype=self.param_dtype))
        _check_features(self.features, params.b)
        kind = AdditiveAttentionParams
        return checked_attention(kind, params, query, keys, values, key_lengths, key_mask, BATCH_MAJOR)


class DotProductAttention(nn.Module):
    """`gru_jax.dot_product_attention`, batch-major.

    Attributes:
      param_dtype: the dtype of the parameters.
    """

    param_dtype: Any = jnp.float32

    @nn.compact
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
        widths = width_of("query", query), width_of("keys", keys)
        params = _own(self, lambda key: init_dot_product_attention(key, *widths, dtype=self.param_dtype))
        kind = DotProductAttentionParams
        return checked_attention(kind, params, query, keys, values, key_lengths, key_mask, BATCH_MAJOR)


class AttentionPooling(nn.Module):
    """`gru_jax.attention_pooling`, batch-major.

    Attributes:
      features: A, the width in which steps are judged.
      param_dtype: the dtype of the parameters.

    Example:
      >>> import gru_jax, jax, jax.numpy as jnp
      >>> pool, ys = gru_jax.linen.AttentionPooling(8), jnp.ones((2, 5, 4))
      >>> pooled, weights = pool.apply(pool.init(jax.random.key(0), ys), ys, seq_lengths=jnp.array([5, 2]))
      >>> pooled.shape, weights[1].tolist()
      ((2, 4), [0.5, 0.5, 0.0, 0.0, 0.0])
    """

    features: int
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, ys: jax.Array, *, seq_lengths: jax.Array | None = None, mask: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Pool ys `(*B, T, F)`, with mask `(*B, T)`, to `(*B, F)`; also weights `(*B, T)`."""
        width = width_of("ys", ys, axes=2)
        params = _own(self, lambda key: init_attention_pooling(key, width, self.features, dtype=self.param_dtype))
        _check_features(self.features, params.b)
        return checked_pooling(params, ys, seq_lengths, mask, BATCH_MAJOR)


def _own(module: nn.Module, init: Callable[[jax.Array], Any]) -> Any:
    """A module's params, a flat NamedTuple. Stored ones come as they are, so that our own checks see a wrong width."""
    kind = type(jax.eval_shape(init, jax.random.key(0)))
    if all(module.has_variable("params", name) for name in kind._fields):
        return kind(**{name: nn.meta.unbox(module.get_variable("params", name)) for name in kind._fields})
    return kind(**declare(module, as_dict(init(params_key(module)))))


def _check_features(features: int, bias: jax.Array) -> None:
    """Check that stored parameters have the module's width, which no input shows."""
    if bias.shape != (features,):
        raise ValueError(
            f"params['b']: expected shape ({features},), the features of this module, got {bias.shape}; "
            "load parameters of a module with the same features."
        )


def width_of(name: str, array: Any, axes: int = 1) -> int:
    """The size of an array's last axis; raises for an array of fewer than `axes` axes."""
    shape = check_array(name, array).shape
    if len(shape) < axes:
        letters = "(*B, T, features)" if axes == 2 else "(*B, features)"
        raise ValueError(f"{name}: expected shape {letters}, got {shape}; add the missing axes.")
    return shape[-1]
