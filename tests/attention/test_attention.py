"""Attention and attention pooling: the equations in NumPy float64, masks, gradients, dtypes, batches, modules."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.test_util import check_grads

import gru_jax
import gru_jax.linen
import gru_jax.nnx

S, L, Q, K, A, V = 5, 3, 4, 6, 7, 2
KINDS = {
    "additive": (functools.partial(gru_jax.init_additive_attention, features=A), gru_jax.additive_attention),
    "dot_product": (gru_jax.init_dot_product_attention, gru_jax.dot_product_attention),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def case(kind, batch, *, many, dtype=np.float64):
    """Params with random biases, a query, keys, values and a mask with holes and, in a batch, an empty row."""
    rng = np.random.default_rng(0)
    make, attention = KINDS[kind]
    params = jax.tree.map(
        lambda p: jnp.asarray(rng.normal(size=p.shape), dtype), make(jax.random.key(0), Q, K, dtype=dtype)
    )
    query, keys, values = (
        rng.normal(size=shape).astype(dtype) for shape in [(*(L,) * many, *batch, Q), (S, *batch, K), (S, *batch, V)]
    )
    mask = rng.random((S, *batch)) < 0.6
    mask[0] = True
    if batch:
        mask[(slice(None), *(0 for _ in batch))] = False
    return attention, params, query, keys, values, mask


def softmax(scores, valid):
    raised = np.where(valid, np.exp(scores), 0)
    return raised / max(raised.sum(), 1e-300)


def score(kind, params, q, k):
    params = [np.asarray(p, np.float64) for p in params]
    if kind == "dot_product":
        return q @ params[0] @ k / np.sqrt(K)
    w_q, w_k, b, v = params
    return v @ np.tanh(q @ w_q + k @ w_k + b)


def reference(kind, params, query, keys, values, mask):
    """One query at a time; query (L, *B, Q)."""
    batch = keys.shape[1:-1]
    context, weights = np.zeros((len(query), *batch, values.shape[-1])), np.zeros((len(query), S, *batch))
    for step, *row in np.ndindex(len(query), *batch):
        here = (slice(None), *row)
        scores = np.array([score(kind, params, query[(step, *row)], k) for k in keys[here]])
        weights[(step, slice(None), *row)] = softmax(scores, mask[here])
        context[(step, *row)] = weights[(step, slice(None), *row)] @ values[here]
    return context, weights


@pytest.mark.parametrize(("batch", "many"), [((), False), ((3,), True), ((2, 3), True), ((2, 3), False)], ids=str)
@every_kind
def test_the_equations_in_float64(x64, kind, batch, many):
    attention, params, query, keys, values, mask = case(kind, batch, many=many)
    context, weights = jax.jit(attention)(params, query, keys, values, key_mask=mask)
    expected, shares = reference(kind, params, query if many else query[None], keys, values, mask)
    np.testing.assert_allclose(context, expected if many else expected[0], atol=1e-12)
    np.testing.assert_allclose(weights, shares if many else shares[0], atol=1e-12)
    assert weights.dtype == context.dtype == np.float64


@every_kind
def test_the_equations_in_float32_with_the_keys_as_values(kind):
    attention, params, query, keys, _, mask = case(kind, (3,), many=True, dtype=np.float32)
    context, weights = jax.jit(attention)(params, query, keys, key_mask=mask)
    expected, shares = reference(kind, params, query, keys, keys, mask)
    np.testing.assert_allclose(context, expected, atol=3e-6)
    np.testing.assert_allclose(weights, shares, atol=1e-6)


@every_kind
def test_without_a_mask_all_keys_count_and_weights_sum_to_one(kind):
    attention, params, query, keys, values, _ = case(kind, (3,), many=True, dtype=np.float32)
    attention = jax.jit(attention)
    everything = np.ones((S, 3), bool)
    plain = attention(params, query, keys, values)
    for got, same in zip(plain, attention(params, query, keys, values, key_mask=everything), strict=True):
        np.testing.assert_allclose(got, same, atol=1e-6)
    np.testing.assert_allclose(plain[1].sum(axis=1), 1, atol=1e-6)
    assert plain[1].min() > 0


@every_kind
def test_lengths_are_a_mask(kind):
    attention, params, query, keys, values, _ = case(kind, (3,), many=True, dtype=np.float32)
    lengths = np.array([5, 2, 0], np.int32)
    by_length = jax.jit(attention)(params, query, keys, values, key_lengths=lengths)
    by_mask = jax.jit(attention)(params, query, keys, values, key_mask=np.arange(S)[:, None] < lengths)
    for got, same in zip(by_length, by_mask, strict=True):
        np.testing.assert_array_equal(got, same)


@pytest.mark.parametrize("poison", [np.nan, np.inf])
@every_kind
def test_what_does_not_count_reaches_no_value_and_no_gradient(x64, kind, poison):
    attention, params, query, keys, values, mask = case(kind, (3,), many=True)
    # The row without any valid key, row 0, has to give zeros too.
    spoilt = [np.where(mask[..., None], array, poison) for array in (keys, values)]

    @jax.jit
    def run(params, query, keys, values):
        context, weights = attention(params, query, keys, values, key_mask=mask)
        return (context @ jnp.cos(jnp.arange(V))).sum(), (context, weights)

    gradients = jax.jit(jax.grad(run, argnums=(0, 1, 2, 3), has_aux=True))
    expected, (context, weights) = gradients(params, query, keys, values)
    got, (spoilt_context, spoilt_weights) = gradients(params, query, *spoilt)
    np.testing.assert_array_equal(context, spoilt_context)
    np.testing.assert_array_equal(weights, spoilt_weights)
    for one, other in zip(jax.tree.leaves(expected), jax.tree.leaves(got), strict=True):
        np.testing.assert_array_equal(one, other)
        assert np.isfinite(other).all()
    assert (np.asarray(weights)[:, ~mask] == 0).all()
    assert (np.asarray(context)[:, 0] == 0).all()
    assert (np.asarray(got[2])[~mask] == 0).all()


@every_kind
def test_gradients_are_those_of_finite_differences(x64, kind):
    attention, params, query, keys, values, mask = case(kind, (2,), many=True)
    run = jax.jit(lambda *arrays: attention(*arrays, key_mask=mask))
    check_grads(run, (params, query, keys, values), order=1, modes=("fwd", "rev"))


@every_kind
def test_scores_far_apart_do_not_overflow(kind):
    attention, params, query, keys, values, mask = case(kind, (3,), many=True, dtype=np.float32)
    params = jax.tree.map(lambda p: 1e4 * p, params)
    context, weights = jax.jit(attention)(params, query, keys, values, key_mask=mask)
    assert np.isfinite(context).all()
    np.testing.assert_allclose(weights[:, :, 1:].sum(axis=1), 1, atol=1e-6)


@every_kind
def test_half_precision_keeps_the_softmax_in_float32(kind):
    attention, params, query, keys, values, mask = case(kind, (3,), many=True, dtype=np.float32)
    half = [jnp.asarray(array, jnp.bfloat16) for array in (query, keys, values)]
    context, weights = jax.jit(attention)(params, *half, key_mask=mask)
    assert (context.dtype, weights.dtype) == (jnp.bfloat16, jnp.float32)
    full = jax.jit(attention)(params, query, keys, values, key_mask=mask)
    np.testing.assert_allclose(np.float32(context), full[0], atol=0.1)
    np.testing.assert_allclose(weights, full[1], atol=0.1)


@every_kind
def test_vmap_over_the_batch_is_a_batch(kind):
    attention, params, query, keys, values, mask = case(kind, (3,), many=True, dtype=np.float32)
    row = jax.jit(jax.vmap(lambda q, k, v, m: attention(params, q, k, v, key_mask=m), in_axes=1, out_axes=(1, 2)))
    whole = jax.jit(attention)(params, query, keys, values, key_mask=mask)
    for got, same in zip(row(query, keys, values, mask), whole, strict=True):
        np.testing.assert_allclose(got, same, atol=1e-6)


@pytest.mark.parametrize("batch", [(), (2, 3)], ids=str)
def test_pooling_in_float64(x64, batch):
    rng = np.random.default_rng(0)
    made = gru_jax.init_attention_pooling(jax.random.key(0), K, A, dtype=jnp.float64)
    params = jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape)), made)
    _, _, _, ys, _, mask = case("additive", batch, many=False)
    pooled, weights = jax.jit(gru_jax.attention_pooling)(params, ys, mask=mask)
    w, b, u = (np.asarray(p) for p in params)
    for row in np.ndindex(*batch):
        here = (slice(None), *row)
        expected = softmax(np.tanh(ys[here] @ w + b) @ u, mask[here])
        np.testing.assert_allclose(weights[here], expected, atol=1e-12)
        np.testing.assert_allclose(pooled[row], expected @ ys[here], atol=1e-12)


def test_padding_is_not_pooled():
    params = gru_jax.init_attention_pooling(jax.random.key(0), K, A)
    ys = np.random.default_rng(0).normal(size=(S, 3, K)).astype(np.float32)
    lengths = np.array([5, 2, 0], np.int32)
    spoilt = np.where((np.arange(S)[:, None] < lengths)[..., None], ys, np.nan)

    def run(ys):
        pooled, weights = gru_jax.attention_pooling(params, ys, seq_lengths=lengths)
        return jnp.sum(pooled**2), (pooled, weights)

    gradient = jax.jit(jax.grad(run, has_aux=True))
    expected, (pooled, weights) = gradient(ys)
    got, (same, same_weights) = gradient(spoilt)
    np.testing.assert_array_equal(pooled, same)
    np.testing.assert_array_equal(weights, same_weights)
    np.testing.assert_array_equal(expected, got)
    alone, _ = gru_jax.attention_pooling(params, ys[:2, 1])
    np.testing.assert_allclose(pooled[1], alone, atol=1e-6)
    assert (np.asarray(pooled[2]) == 0).all()


@every_kind
def test_modules_are_the_functions_to_the_bit(kind):
    attention, _, query, keys, values, mask = case(kind, (3,), many=True, dtype=np.float32)
    if kind == "additive":
        module = gru_jax.nnx.AdditiveAttention(Q, K, A, rngs=nnx.Rngs(0))
        linen = gru_jax.linen.AdditiveAttention(A)
    else:
        module = gru_jax.nnx.DotProductAttention(Q, K, rngs=nnx.Rngs(0))
        linen = gru_jax.linen.DotProductAttention()
    rows = [np.moveaxis(array, 0, 1) for array in (query, keys, values)]
    context, weights = attention(module.params, query, keys, values, key_mask=mask)
    expected = (np.moveaxis(context, 0, 1), np.transpose(weights, (2, 0, 1)))
    variables = {"params": nnx.to_pure_dict(nnx.state(module, nnx.Param))}
    assert jax.tree.map(jnp.shape, linen.init(jax.random.key(1), *rows)) == jax.tree.map(jnp.shape, variables)
    one = attention(module.params, query[0], keys, values, key_mask=mask)
    for run in (module, functools.partial(linen.apply, variables)):
        for got, want in zip(run(*rows, key_mask=mask.T), expected, strict=True):
            np.testing.assert_array_equal(got, want)
        got = run(rows[0][:, 0], *rows[1:], key_mask=mask.T)
        np.testing.assert_array_equal(got[0], one[0])
        np.testing.assert_array_equal(got[1], one[1].T)


def test_pooling_modules_are_the_function_to_the_bit():
    module = gru_jax.nnx.AttentionPooling(K, A, rngs=nnx.Rngs(0))
    linen = gru_jax.linen.AttentionPooling(A)
    ys, lengths = np.random.default_rng(0).normal(size=(3, S, K)).astype(np.float32), np.array([5, 2, 0], np.int32)
    pooled, weights = gru_jax.attention_pooling(module.params, np.moveaxis(ys, 1, 0), seq_lengths=lengths)
    variables = {"params": nnx.to_pure_dict(nnx.state(module, nnx.Param))}
    assert jax.tree.map(jnp.shape, linen.init(jax.random.key(1), ys)) == jax.tree.map(jnp.shape, variables)
    for run in (module, functools.partial(linen.apply, variables)):
        got = run(ys, seq_lengths=lengths)
        np.testing.assert_array_equal(got[0], pooled)
        np.testing.assert_array_equal(got[1], weights.T)
        masked = run(ys, mask=np.arange(S) < lengths[:, None])
        np.testing.assert_array_equal(masked[0], pooled)
