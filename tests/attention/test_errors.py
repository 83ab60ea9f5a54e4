"""Mistakes in calls of attention, searches and the encoder-decoder are named, with the way out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gru_jax
import gru_jax.linen
import gru_jax.nnx

S, Q, K, A = 5, 4, 6, 7
ADDITIVE = gru_jax.init_additive_attention(jax.random.key(0), Q, K, A)
DOT = gru_jax.init_dot_product_attention(jax.random.key(0), Q, K)
POOL = gru_jax.init_attention_pooling(jax.random.key(0), K, A)
QUERY, KEYS = np.zeros((2, Q), np.float32), np.zeros((S, 2, K), np.float32)
CHAIN = jnp.log(jnp.array([[0.1, 0.6, 0.3], [0.5, 0.1, 0.4], [0.2, 0.2, 0.6]]))
GRU, KEY, ZERO = gru_jax.gru(), jax.random.key(0), jnp.int32(0)
XS = np.zeros((5, 2, 3), np.float32)
STACK = gru_jax.init_layers(GRU, KEY, 3, 4)
BOTH = gru_jax.init_encoder_decoder(GRU, KEY, 3, 3, 4, 5)
MATRIX_CELL = GRU.replace(carry=lambda params, batch_shape=(): jnp.zeros((*batch_shape, 4, 4)))


def search(step=lambda tokens, state: (CHAIN[tokens], state), state=ZERO, **options):
    options = {"start_token": 0, "end_token": 2, "beam_size": 2, "max_steps": 4} | options
    return gru_jax.beam_search(step, state, **options)


def init(cell=GRU, source_features=3, outputs=5, **options):
    return gru_jax.init_encoder_decoder(cell, KEY, source_features, 3, 4, outputs, **options)


def nnx_attention(query=QUERY, keys=KEYS, values=None, mask=None):
    """Batch-major: its keys are (2, S, K)."""
    module = gru_jax.nnx.AdditiveAttention(Q, K, A, rngs=nnx.Rngs(0))
    return module(query, np.moveaxis(keys, 0, 1), values, key_mask=mask)


def stored(kind, attributes, others, *inputs):
    """A linen module on the parameters of one with other attributes."""
    return kind(*attributes).apply(kind(*others).init(KEY, *inputs), *inputs)


MISTAKES = [
    (lambda: gru_jax.additive_attention(DOT, QUERY, KEYS), TypeError, "params: expected AdditiveAttentionParams, got Dot"),
    (lambda: gru_jax.additive_attention(ADDITIVE._replace(b=ADDITIVE.b[1:]), QUERY, KEYS), ValueError, r"params\.b: .* got \(6,\)"),
    (lambda: gru_jax.dot_product_attention(DOT, QUERY[:, 1:], KEYS), ValueError, r"query: expected .* with 4 features.* got \(2, 3\)"),
    (lambda: gru_jax.dot_product_attention(DOT, QUERY[:1], KEYS), ValueError, r"query: .*\*B = \(2,\).* got \(1, 4\)"),
    (lambda: gru_jax.dot_product_attention(DOT, QUERY, KEYS[..., 1:]), ValueError, r"keys: expected .* with 6 features.* got \(5, 2, 5\)"),
    (lambda: gru_jax.dot_product_attention(DOT, QUERY, KEYS, KEYS[1:]), ValueError, r"values: expected .* got \(4, 2, 6\)"),
    (lambda: gru_jax.dot_product_attention(DOT, QUERY, KEYS.astype(int)), TypeError, "keys: expected a float array, got int"),
    (lambda: gru_jax.dot_product_attention(DOT, QUERY, KEYS, key_lengths=np.array([6, 0])), ValueError, r"key_lengths: expected lengths within 0\.\.5.* got 0\.\.6"),
    (lambda: gru_jax.dot_product_attention(DOT, QUERY, KEYS, key_lengths=np.array([1.0, 0])), TypeError, "key_lengths: expected integers"),
    (lambda: gru_jax.dot_product_attention(DOT, QUERY, KEYS, key_lengths=np.array([1])), ValueError, r"key_lengths: expected shape \(2,\).* got \(1,\)"),
    (lambda: gru_jax.dot_product_attention(DOT, QUERY, KEYS, key_mask=np.ones((2, S), bool)), ValueError, r"key_mask: expected shape \(5, 2\)"),
    (lambda: gru_jax.dot_product_attention(DOT, QUERY, KEYS, key_mask=np.ones((S, 2))), TypeError, "key_mask: expected bool"),
    (lambda: gru_jax.dot_product_attention(DOT, QUERY, KEYS, key_mask=np.ones((S, 2), bool), key_lengths=np.array([1, 1])), ValueError, "key_mask and key_lengths: expected at most one"),
    (lambda: gru_jax.attention_pooling(POOL, KEYS[..., 1:]), ValueError, r"ys: expected .* with 6 features.* got \(5, 2, 5\)"),
    (lambda: gru_jax.attention_pooling(POOL, KEYS, seq_lengths=np.array([1])), ValueError, r"seq_lengths: expected shape \(2,\)"),
    (lambda: gru_jax.attention_pooling(POOL, KEYS, seq_lengths=np.array([6, 3])), ValueError, r"seq_lengths: expected lengths within 0\.\.5, the number of steps in ys, got 3\.\.6; pad ys"),
    (lambda: gru_jax.attention_pooling(ADDITIVE, KEYS), TypeError, "params: expected AttentionPoolingParams"),
    (lambda: gru_jax.init_additive_attention(jax.random.key(0), Q, K, 0), ValueError, "features: expected an integer >= 1, got 0"),
    (lambda: gru_jax.init_dot_product_attention(jax.random.key(0), Q, 2.0), TypeError, "key_features: expected an integer"),
    (lambda: gru_jax.linen.DotProductAttention().init(jax.random.key(0), QUERY, KEYS[0, 0]), ValueError, r"keys: expected shape \(\*B, S, K\) with 6 features.* got \(6,\)"),
    (lambda: gru_jax.linen.DotProductAttention().apply({}, QUERY, KEYS), ValueError, "params: expected the parameters of DotProductAttention, got none"),
    (lambda: gru_jax.nnx.AttentionPooling(K, A, rngs=0), TypeError, "rngs: expected an nnx.Rngs, got 0"),
    (lambda: search(step=0), TypeError, "step: expected a function .* got 0"),
    (lambda: search(step=lambda tokens, state: CHAIN[tokens]), TypeError, r"step: expected it to return \(log_probs, state\)"),
    (lambda: search(step=lambda tokens, state: (CHAIN[0], state)), ValueError, r"step: expected log_probs of shape \(2, 'V'\).* got \(3,\)"),
    (lambda: search(step=lambda tokens, state: (CHAIN[tokens] > 0, state)), TypeError, "step: expected float log_probs, got bool"),
    (lambda: search(step=lambda tokens, state: (CHAIN[tokens], state.astype(float))), TypeError, "step: expected a new state like .* int32.*float32"),
    (lambda: search(state=jnp.zeros((3,)), start_token=jnp.zeros((4,), int)), ValueError, r"state: expected shape \(\*B, ...\) with \*B = \(4,\).* got \(3,\)"),
    (lambda: search(start_token=0.5), TypeError, "start_token: expected an array, got float"),
    (lambda: search(end_token=3), ValueError, r"end_token: expected a token within 0\.\.2.* got 3"),
    (lambda: search(end_token=jnp.int32(1)), TypeError, "end_token: expected an integer"),
    (lambda: search(beam_size=0), ValueError, "beam_size: expected an integer >= 1, got 0"),
    (lambda: search(max_steps=2.0), TypeError, "max_steps: expected an integer"),
    (lambda: search(length_penalty=-1.0), ValueError, "length_penalty: expected a number >= 0, got -1.0"),
    (lambda: search(length_penalty="1"), TypeError, "length_penalty: expected a number >= 0, got '1'"),
    (lambda: search(record=1), TypeError, "record: expected None or a function"),
    (lambda: search(record=lambda state: jnp.zeros((5,))), ValueError, r"record: expected leaves of shape \(2, '...'\).* got \(5,\)"),
    (lambda: init(attention="dot"), ValueError, 'attention: expected "additive" or "dot_product", got \'dot\''),
    (lambda: init(outputs=0), ValueError, "outputs: expected an integer >= 1, got 0"),
    (lambda: init(source_features=True), TypeError, "source_features: expected an integer"),
    (lambda: init(cell=MATRIX_CELL), ValueError, r"cell: expected one whose carry is vectors.* got \(4, 4\)"),
    (lambda: gru_jax.encode(GRU, STACK, XS), TypeError, "params: expected EncoderDecoderParams, got tuple"),
    (lambda: gru_jax.encode(GRU, BOTH, XS[..., 1:]), ValueError, r"xs: expected shape .* got \(5, 2, 2\)"),
    (lambda: gru_jax.encode(GRU, BOTH, XS, seq_lengths=np.array([6, 1])), ValueError, r"seq_lengths: expected lengths within 0\.\.5"),
    (lambda: gru_jax.decode(GRU, BOTH, XS, XS), TypeError, "encoded: expected Encoded, got ndarray"),
    (lambda: gru_jax.decode(GRU, BOTH, gru_jax.encode(GRU, BOTH, XS), XS[:, :1]), ValueError, r"xs: expected .*\*B = \(2,\), the batch of the encoded source, got \(5, 1, 3\)"),
    (lambda: gru_jax.decode_step(GRU, BOTH, gru_jax.encode(GRU, BOTH, XS), XS, XS[0]), TypeError, r"carry: expected carry\[layer\]\[direction\]"),
    (lambda: gru_jax.decode_step(GRU, BOTH, gru_jax.encode(GRU, BOTH, XS), gru_jax.encode(GRU, BOTH, XS).carry, ((XS[0],),)), TypeError, r"x: expected an array, got tuple"),
    (lambda: gru_jax.linen.EncoderDecoder(4, 5).apply({}, XS, method="encode"), ValueError, "params: expected parameters, got none"),
    (lambda: gru_jax.nnx.EncoderDecoder(3, 3, 4, 5, rngs=nnx.Rngs(0))(XS[0, 0], XS), ValueError, r"source: expected shape \(\*B, S, I\) with 3 features.* got \(3,\)"),
    (lambda: nnx_attention(mask=np.ones((S, 2), bool)), ValueError, r"key_mask: expected shape \(2, 5\), \(\*B, S\) as in keys, got \(5, 2\); put the time axis after"),
    (lambda: nnx_attention(mask=np.bool_(True)), ValueError, r"key_mask: expected shape \(2, 5\).* got \(\)"),
    (lambda: nnx_attention(values=np.ones(5, np.float32)), ValueError, r"values: expected shape \(\*B, S, V\), \(2, 5, 'V'\).* got \(5,\)"),
    (lambda: nnx_attention(query=np.ones((3, 3, Q), np.float32)), ValueError, r"query: expected shape \(\*B, Q\) or \(\*B, L, Q\) with \*B = \(2,\).* got \(3, 3, 4\)"),
    (lambda: gru_jax.nnx.AttentionPooling(K, A, rngs=nnx.Rngs(0))(KEYS, mask=np.ones((2, S), bool)), ValueError, r"mask: expected shape \(5, 2\), \(\*B, T\) as in ys, got \(2, 5\)"),
    (lambda: gru_jax.nnx.EncoderDecoder(3, 3, 4, 5, rngs=nnx.Rngs(0))(XS, XS[:4]), ValueError, r"target: expected .*\*B = \(5,\), the batch of the source, got \(4, 2, 3\)"),
    (lambda: gru_jax.nnx.EncoderDecoder(3, 3, 4, 5, rngs=nnx.Rngs(0))(XS, XS, mask=np.ones((2, 5), bool)), ValueError, r"mask: expected shape \(5, 2\), \(\*B, S\) as in source, got \(2, 5\)"),
    (lambda: gru_jax.nnx.EncoderDecoder(3, 3, 4, 5, dropout_rate=0.5, rngs=nnx.Rngs(params=0))(XS, XS), ValueError, r'rngs: expected a stream "dropout" .* got none'),
    (lambda: gru_jax.nnx.EncoderDecoder(3, 3, 4, 5, dropout_rate=0.5, rngs=nnx.Rngs(0))(XS, XS, rngs=nnx.Rngs(params=0)), ValueError, r'rngs: expected a stream "dropout" .* got params'),
    (lambda: stored(gru_jax.linen.AdditiveAttention, (9,), (8,), QUERY, QUERY[:, None]), ValueError, r"params\['b'\]: expected shape \(9,\), the features of this module, got \(8,\)"),
    (lambda: stored(gru_jax.linen.AttentionPooling, (9,), (8,), KEYS), ValueError, r"params\['b'\]: expected shape \(9,\)"),
    (lambda: stored(gru_jax.linen.EncoderDecoder, (4, 6), (4, 5), XS, XS), ValueError, r"params\['b_o'\]: expected one of shape \(6,\), got one of shape \(5,\)"),
    (lambda: stored(gru_jax.linen.EncoderDecoder, (4, 5, 2), (4, 5), XS, XS), ValueError, r"params\['bridge/layer_1/leaf_0/b'\]: expected one of shape \(4,\), got none; load"),
    (lambda: stored(gru_jax.linen.EncoderDecoder, (4, 5, 1, False, "dot_product"), (4, 5), XS, XS), ValueError, r"params\['attention/w'\]: expected one of shape \(4, 4\), got none"),
    (lambda: gru_jax.linen.EncoderDecoder(4, 5).apply({"params": {"w_o": XS}}, XS, XS), ValueError, "params: expected attention, b_c, .* got w_o"),
    (lambda: gru_jax.decode_step(gru_jax.gru, BOTH, gru_jax.encode(GRU, BOTH, XS), None, XS[0]), TypeError, "cell: expected a gru_jax.Cell"),
    (lambda: gru_jax.decode_step(GRU, BOTH, gru_jax.encode(GRU, BOTH, XS), None, XS[0, 0]), ValueError, r"x: expected .*\*B = \(2,\).* got \(3,\)"),
    (lambda: gru_jax.decode_step(GRU, init(bidirectional=True), gru_jax.encode(GRU, BOTH, XS), None, XS[0]), ValueError, "encoded: expected keys and values of 4 and 8 features.* got 4 and 4"),
    (lambda: init(cell=gru_jax.gru_d()), ValueError, r"cell: expected one that reads one array at a step, got 'gru_d'"),
    (lambda: search(start_token=True), TypeError, "start_token: expected a token.* got True"),
    (lambda: search(start_token=2**40), TypeError, "start_token: expected a token, an int of 32 bits"),
]  # fmt: skip


@pytest.mark.parametrize(("mistake", "error", "message"), MISTAKES, ids=[message for *_, message in MISTAKES])
def test_mistakes_are_named(mistake, error, message):
    with pytest.raises(error, match=message):
        mistake()
