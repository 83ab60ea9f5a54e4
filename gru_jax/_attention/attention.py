"""Attention: a mean of values, weighted by how well each one's key suits a query.

Scores are additive or scaled dot products. Arrays are time-major: keys `(S, *B, K)`, query `(*B, Q)` or `(L, *B, Q)`.
"""

import functools
import math
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
from gru_jax._cells.checks import check_dtype, check_float_array, check_key, check_positive
from gru_jax._cells.initializers import lecun_normal
from gru_jax._cells.precision import add_bias, carry_dtype, compute_params, matmul


class AdditiveAttentionParams(NamedTuple):
    """Attention by v · tanh(q W_q + k W_k + b).

    Attributes:
      w_q: `(Q, A)`, applied to the query.
      w_k: `(K, A)`, applied to each key.
      b: `(A,)`.
      v: `(A,)`.
    """

    w_q: jax.Array
    w_k: jax.Array
    b: jax.Array
    v: jax.Array


class DotProductAttentionParams(NamedTuple):
    """Attention by q W · k / √K.

    Attributes:
      w: `(Q, K)`, applied to the query.
    """

    w: jax.Array


AttentionParams = AdditiveAttentionParams | DotProductAttentionParams

ATTENTION_SHAPES: dict[type, dict[str, tuple[str, ...]]] = {
    AdditiveAttentionParams: {"w_q": ("Q", "A"), "w_k": ("K", "A"), "b": ("A",), "v": ("A",)},
    DotProductAttentionParams: {"w": ("Q", "K")},
}


class AttentionMemory(NamedTuple):
    """Keys and values as every query needs them, computed once.

    Attributes:
      keys: `(S, *B, A)`: k W_k + b for additive attention, `(S, *B, K)`, k itself, for dot products.
      values: `(S, *B, V)`.
      valid: bool `(S, *B)`, True where a key counts, or None where all do.
    """

    keys: jax.Array
    values: jax.Array
    valid: jax.Array | None


def init_additive_attention(
    key: jax.Array, query_features: int, key_features: int, features: int, *, dtype: Any = jnp.float32
) -> AdditiveAttentionParams:
    """Params for `additive_attention`.

    Args:
      key: a random key.
      query_features: Q, the width of a query.
      key_features: K, the width of a key.
      features: A, the width in which the two meet.
      dtype: of the params.

    Returns:
      `AdditiveAttentionParams`, matrices and v lecun_normal, b zero.

    Raises:
      TypeError, ValueError: naming the argument that does not fit.
    """
    check_key("key", key)
    q = check_positive("query_features", query_features, remedy="pass the width of a query")
    k = check_positive("key_features", key_features, remedy="pass the width of a key")
    a = check_positive("features", features, remedy="pass the width in which query and key meet")
    k_q, k_k, k_v = jax.random.split(key, 3)
    dtype = check_dtype("dtype", dtype)
    return AdditiveAttentionParams(
        w_q=lecun_normal(k_q, (q, a), dtype),
        w_k=lecun_normal(k_k, (k, a), dtype),
        b=jnp.zeros((a,), dtype),
        v=lecun_normal(k_v, (a, 1), dtype)[:, 0],
    )


def init_dot_product_attention(
    key: jax.Array, query_features: int, key_features: int, *, dtype: Any = jnp.float32
) -> DotProductAttentionParams:
    """Params for `dot_product_attention`.

    Args:
      key: a random key.
      query_features: Q, the width of a query.
      key_features: K, the width of a key.
      dtype: of the params.

    Returns:
      `DotProductAttentionParams`, w lecun_normal.

    Raises:
      TypeError, ValueError: naming the argument that does not fit.
    """
    check_key("key", key)
    q = check_positive("query_features", query_features, remedy="pass the width of a query")
    k = check_positive("key_features", key_features, remedy="pass the width of a key")
    return DotProductAttentionParams(lecun_normal(key, (q, k), check_dtype("dtype", dtype)))


def additive_attention(
    params: AdditiveAttentionParams,
    query: jax.Array,
    keys: jax.Array,
    values: jax.Array | None = None,
    *,
    key_lengths: jax.Array | None = None,
    key_mask: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Attend by a layer over query and key.

        score_s = v · tanh(q W_q + k_s W_k + b)
        weights = softmax over s of score
        context = Σ_s weights_s values_s

    Keys that do not count get weight 0 exactly, and no value, gradient or NaN of theirs reaches anything. Where no key
    counts, context and weights are 0. Scores and softmax are float32 (float64 for float64) whatever the inputs are.

    Args:
      params: what `init_additive_attention` returned.
      query: `(*B, Q)`, or `(L, *B, Q)` and so on: L queries for the same keys.
      keys: `(S, *B, K)`.
      values: `(S, *B, V)`; None: the keys.
      key_lengths: int `(*B,)`: only `keys[:key_lengths[b]]` count in row b.
      key_mask: bool `(S, *B)`, False = does not count; not together with `key_lengths`.

    Returns:
      context `(*B, V)` in the dtype of the values, and weights `(S, *B)`; for many queries `(L, *B, V)`, `(L, S, *B)`.

    Raises:
      TypeError, ValueError: naming the argument that does not fit.

    Source: Bahdanau, Cho & Bengio 2015, "Neural machine translation by jointly learning to align and translate",
    appendix A.1.2.

    Example:
      >>> import gru_jax, jax, jax.numpy as jnp
      >>> params = gru_jax.init_additive_attention(jax.random.key(0), 3, 4, 8)
      >>> keys, lengths = jnp.ones((5, 2, 4)), jnp.array([5, 2])
      >>> context, weights = gru_jax.additive_attention(params, jnp.ones((2, 3)), keys, key_lengths=lengths)
      >>> context.shape, weights[:, 1].tolist()
      ((2, 4), [0.5, 0.5, 0.0, 0.0, 0.0])
    """
    return checked_attention(AdditiveAttentionParams, params, query, keys, values, key_lengths, key_mask, TIME_MAJOR)


def dot_product_attention(
    params: DotProductAttentionParams,
    query: jax.Array,
    keys: jax.Array,
    values: jax.Array | None = None,
    *,
    key_lengths: jax.Array | None = None,
    key_mask: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Attend by scaled dot products with a learned projection.

        score_s = q W · k_s / √K
        weights = softmax over s of score
        context = Σ_s weights_s values_s

    Args:
      params: what `init_dot_product_attention` returned.
      query: `(*B, Q)`, or `(L, *B, Q)` and so on: L queries for the same keys.
      keys: `(S, *B, K)`.
      values: `(S, *B, V)`; None: the keys.
      key_lengths: int `(*B,)`: only `keys[:key_lengths[b]]` count in row b.
      key_mask: bool `(S, *B)`, False = does not count; not together with `key_lengths`.

    Returns:
      context and weights, with masks and dtypes as in `additive_attention`.

    Raises:
      TypeError, ValueError: naming the argument that does not fit.

    Source: Luong, Pham & Manning 2015, "Effective approaches to attention-based neural machine translation", the score
    "general" of equation 8; the scale is that of Vaswani et al. 2017.

    Example:
      >>> import gru_jax, jax, jax.numpy as jnp
      >>> params = gru_jax.init_dot_product_attention(jax.random.key(0), 3, 4)
      >>> context, weights = gru_jax.dot_product_attention(params, jnp.ones((7, 2, 3)), jnp.ones((5, 2, 4)))
      >>> context.shape, weights.shape
      ((7, 2, 4), (7, 5, 2))
    """
    return checked_attention(DotProductAttentionParams, params, query, keys, values, key_lengths, key_mask, TIME_MAJOR)


def remember(params: AttentionParams, keys: jax.Array, values: jax.Array, valid: jax.Array | None) -> AttentionMemory:
    """The memory of these keys and values: all that does not depend on the query, computed once."""
    keys, values = (zero_where_invalid(part, valid) for part in (keys, values))
    if isinstance(params, AdditiveAttentionParams):
        params = compute_params(params, keys.dtype)
        keys = add_bias(matmul(keys, params.w_k), params.b)
    return AttentionMemory(keys, values, valid)


def attend(params: AttentionParams, query: jax.Array, memory: AttentionMemory) -> tuple[jax.Array, jax.Array]:
    """Context `(*Q, *B, V)` and weights `(*Q, S, *B)` of a query `(*Q, *B, F)`."""
    batch = memory.keys.shape[1:-1]
    ahead = query.ndim - 1 - len(batch)
    params = compute_params(params, query.dtype)
    if isinstance(params, AdditiveAttentionParams):
        keys = jnp.expand_dims(memory.keys, tuple(range(ahead)))
        met = jnp.tanh(jnp.expand_dims(matmul(query, params.w_q), ahead) + keys)
        scores = jnp.matmul(met, params.v)
    else:
        scores = _dot_products(matmul(query, params.w), memory.keys, batch)
    valid = None if memory.valid is None else jnp.expand_dims(memory.valid, tuple(range(ahead)))
    weights = masked_softmax(scores, valid, axis=ahead)
    return weighted_sum(weights, memory.values, batch), weights


def _dot_products(query: jax.Array, keys: jax.Array, batch: tuple[int, ...]) -> jax.Array:
    steps, width, rows = keys.shape[0], keys.shape[-1], math.prod(batch)
    leading = query.shape[: query.ndim - 1 - len(batch)]
    scores = jnp.einsum(
        "qbk,sbk->qsb",
        jnp.astype(query, keys.dtype).reshape(math.prod(leading), rows, width),
        keys.reshape(steps, rows, width),
        preferred_element_type=carry_dtype(keys.dtype),
    )
    return scores.reshape(*leading, steps, *batch) / math.sqrt(width)


def checked_attention(
    kind: type, params: Any, query: Any, keys: Any, values: Any, lengths: Any, mask: Any, layout: Layout
) -> tuple[jax.Array, jax.Array]:
    """Context and weights of attention with params of this kind; all arrays, also those returned, have this layout."""
    sizes = check_attention_params(kind, params, ATTENTION_SHAPES[kind])
    params = jax.tree.map(jnp.asarray, params)
    keys = check_width("keys", keys, layout.letters("S", "K"), sizes["K"], 2)
    steps, batch = layout.split(keys.shape[:-1])
    query = _check_query(query, sizes["Q"], batch, layout)
    values = keys if values is None else check_float_array("values", values)
    if values.shape[:-1] != keys.shape[:-1] or values.ndim != keys.ndim:
        raise ValueError(
            f"values: expected shape {layout.letters('S', 'V')}, {(*keys.shape[:-1], 'V')} as in the keys, "
            f"got {values.shape}; pass one value for each key."
        )
    precisions = {carry_dtype(leaf.dtype) for leaf in (*params, query, keys, values)}
    if len(precisions) > 1:
        raise TypeError(
            f"query, keys and values: expected the precision of the params ({params[0].dtype}), got {query.dtype}, "
            f"{keys.dtype} and {values.dtype}; float64 does not mix with narrower floats: cast with .astype."
        )
    names = "key_lengths", "key_mask"
    valid = valid_keys(lengths, mask, steps, batch, names=names, layout=layout, like=("S", "keys"))
    return _in_layout(layout, params, query, keys, values, valid)


# One program: axes are moved before padding is zeroed, and jax_debug_nans must not see the NaN that it may hold.
@functools.partial(jax.jit, static_argnums=0, inline=True)
def _in_layout(
    layout: Layout, params: Any, query: jax.Array, keys: jax.Array, values: jax.Array, valid: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    memory = remember(params, layout.time_first(keys), layout.time_first(values), valid)
    if not layout.batch_major:
        return attend(params, query, memory)
    if query.ndim < keys.ndim:
        context, weights = attend(params, query, memory)
        return context, jnp.moveaxis(weights, 0, -1)
    context, weights = attend(params, layout.time_first(query), memory)
    return jnp.moveaxis(context, 0, -2), jnp.moveaxis(weights, (0, 1), (-2, -1))


def _check_query(query: Any, width: int, batch: tuple[int, ...], layout: Layout) -> jax.Array:
    """The query, checked: one for each row, or many, on any axes before the batch or, batch-major, on one after it."""
    letters = f"(*B, Q) or {layout.letters('L', 'Q')}"
    query = check_width("query", query, letters, width, 1 + len(batch))
    one = query.shape[:-1] == batch
    many = query.shape[:-2] == batch if layout.batch_major else query.shape[query.ndim - 1 - len(batch) : -1] == batch
    if not (one or many):
        raise ValueError(
            f"query: expected shape {letters} with *B = {batch}, the batch of the keys, got {query.shape}; "
            f"put the time axis {layout.place}, or broadcast one of the two over the batch."
        )
    return query
