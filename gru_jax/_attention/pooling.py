"""Attention pooling: one vector for a sequence, the mean of its steps weighted by how telling each is."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gru_jax._attention.weights import (
    TIME_MAJOR,
    Layout,
    check_attention_params,
    check_width,
    masked_softmax,
    valid_keys,
    weighted_sum,
    zero_where_invalid,
)
from gru_jax._cells.checks import check_dtype, check_key, check_positive
from gru_jax._cells.initializers import lecun_normal
from gru_jax._cells.precision import add_bias, carry_dtype, compute_params, matmul


class AttentionPoolingParams(NamedTuple):
    """Pooling by u · tanh(y W + b).

    Attributes:
      w: `(F, A)`, applied to each step.
      b: `(A,)`.
      u: `(A,)`, the query that all sequences share.
    """

    w: jax.Array
    b: jax.Array
    u: jax.Array


def init_attention_pooling(
    key: jax.Array, in_features: int, features: int, *, dtype: Any = jnp.float32
) -> AttentionPoolingParams:
    """Params for `attention_pooling`.

    Args:
      key: a random key.
      in_features: F, the width of one step.
      features: A, the width in which steps are judged.
      dtype: of the params.

    Returns:
      `AttentionPoolingParams`, w and u lecun_normal, b zero.

    Raises:
      TypeError, ValueError: naming the argument that does not fit.
    """
    check_key("key", key)
    f = check_positive("in_features", in_features, remedy="pass the width of one step")
    a = check_positive("features", features, remedy="pass the width in which steps are judged")
    dtype = check_dtype("dtype", dtype)
    k_w, k_u = jax.random.split(key)
    return AttentionPoolingParams(
        w=lecun_normal(k_w, (f, a), dtype), b=jnp.zeros((a,), dtype), u=lecun_normal(k_u, (a, 1), dtype)[:, 0]
    )


def attention_pooling(
    params: AttentionPoolingParams,
    ys: jax.Array,
    *,
    seq_lengths: jax.Array | None = None,
    mask: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Pool a sequence into one vector.

        score_t = u · tanh(y_t W + b)
        weights = softmax over t of score
        pooled  = Σ_t weights_t y_t

    Padded steps get weight 0 exactly, and no value, gradient or NaN of theirs reaches anything; a row without valid
    steps is pooled to 0. Scores and softmax are float32 (float64 for float64) whatever ys is.

    Args:
      params: what `init_attention_pooling` returned.
      ys: `(T, *B, F)`, for example what `gru_jax.scan_layers` returned.
      seq_lengths: int `(*B,)`: row b is `ys[:seq_lengths[b]]` and the rest is padding.
      mask: bool `(T, *B)`, False = padding; not together with `seq_lengths`.

    Returns:
      pooled `(*B, F)` in the dtype of ys, and weights `(T, *B)`.

    Raises:
      TypeError, ValueError: naming the argument that does not fit.

    Source: Yang et al. 2016, "Hierarchical attention networks for document classification", equations 5 to 7.

    Example:
      >>> import gru_jax, jax, jax.numpy as jnp
      >>> params = gru_jax.init_attention_pooling(jax.random.key(0), 4, 8)
      >>> pooled, weights = gru_jax.attention_pooling(params, jnp.ones((5, 2, 4)), seq_lengths=jnp.array([5, 2]))
      >>> pooled.shape, weights[:, 1].tolist()
      ((2, 4), [0.5, 0.5, 0.0, 0.0, 0.0])
    """
    return checked_pooling(params, ys, seq_lengths, mask, TIME_MAJOR)


def checked_pooling(params: Any, ys: Any, lengths: Any, mask: Any, layout: Layout) -> tuple[jax.Array, jax.Array]:
    """`attention_pooling`, where ys, the mask and the weights have this layout."""
    shapes = {"w": ("F", "A"), "b": ("A",), "u": ("A",)}
    sizes = check_attention_params(AttentionPoolingParams, params, shapes)
    ys = check_width("ys", ys, layout.letters("T", "F"), sizes["F"], 2)
    params = jax.tree.map(jnp.asarray, params)
    if carry_dtype(params.w.dtype) != carry_dtype(ys.dtype):
        raise TypeError(
            f"ys: expected the precision of the params ({params.w.dtype}), got {ys.dtype}; "
            "float64 does not mix with narrower floats: cast with .astype."
        )
    steps, batch = layout.split(ys.shape[:-1])
    names = "seq_lengths", "mask"
    valid = valid_keys(lengths, mask, steps, batch, names=names, layout=layout, like=("T", "ys"))
    return _in_layout(layout, params, ys, valid)


# One program: axes are moved before padding is zeroed, and jax_debug_nans must not see the NaN that it may hold.
@functools.partial(jax.jit, static_argnums=0, inline=True)
def _in_layout(layout: Layout, params: Any, ys: jax.Array, valid: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    ys = zero_where_invalid(layout.time_first(ys), valid)
    batch = ys.shape[1:-1]
    params = compute_params(params, ys.dtype)
    weights = masked_softmax(jnp.matmul(jnp.tanh(add_bias(matmul(ys, params.w), params.b)), params.u), valid, axis=0)
    return weighted_sum(weights, ys, batch), jnp.moveaxis(weights, 0, -1) if layout.batch_major else weights
