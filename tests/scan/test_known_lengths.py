"""Lengths from a closure: their values are known while a function is traced, and are looked at without tracing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gru_jax
import gru_jax.linen
import gru_jax.nnx

T, B, I, H, V = 5, 2, 3, 4, 6  # noqa: E741 - the letters of DESIGN.md
KEY, GRU = jax.random.key(0), gru_jax.gru()
LENGTHS, TOO_LONG = jnp.array([T, 2]), jnp.array([T + 1, 2])
XS = np.random.default_rng(0).normal(size=(T, B, I)).astype(np.float32)
ROWS = np.moveaxis(XS, 0, 1)
ADDITIVE = gru_jax.init_additive_attention(KEY, I, I, H)
DOT = gru_jax.init_dot_product_attention(KEY, I, I)
POOL = gru_jax.init_attention_pooling(KEY, I, H)
BOTH = gru_jax.init_encoder_decoder(GRU, KEY, I, I, H, V)
NNX = {
    "attention": gru_jax.nnx.AdditiveAttention(I, I, H, rngs=nnx.Rngs(0)),
    "pooling": gru_jax.nnx.AttentionPooling(I, H, rngs=nnx.Rngs(0)),
    "both": gru_jax.nnx.EncoderDecoder(I, I, H, V, rngs=nnx.Rngs(0)),
}
LINEN = {
    "attention": gru_jax.linen.AdditiveAttention(H),
    "pooling": gru_jax.linen.AttentionPooling(H),
    "both": gru_jax.linen.EncoderDecoder(H, V),
}


def linen(name, *args, **options):
    """A linen module on the parameters of the one of NNX."""
    return LINEN[name].apply({"params": nnx.to_pure_dict(nnx.state(NNX[name], nnx.Param))}, *args, **options)


ENTRIES = {
    "scan": lambda xs, n: gru_jax.scan(GRU, BOTH.encoder[0][0], xs, seq_lengths=n),
    "additive_attention": lambda xs, n: gru_jax.additive_attention(ADDITIVE, xs, xs, key_lengths=n),
    "dot_product_attention": lambda xs, n: gru_jax.dot_product_attention(DOT, xs, xs, key_lengths=n),
    "attention_pooling": lambda xs, n: gru_jax.attention_pooling(POOL, xs, seq_lengths=n),
    "encode": lambda xs, n: gru_jax.encode(GRU, BOTH, xs, seq_lengths=n),
    "nnx attention": lambda xs, n: NNX["attention"](ROWS, jnp.moveaxis(xs, 0, 1), key_lengths=n),
    "nnx pooling": lambda xs, n: NNX["pooling"](jnp.moveaxis(xs, 0, 1), seq_lengths=n),
    "nnx encoder-decoder": lambda xs, n: NNX["both"](jnp.moveaxis(xs, 0, 1), ROWS, seq_lengths=n),
    "linen attention": lambda xs, n: linen("attention", ROWS, jnp.moveaxis(xs, 0, 1), key_lengths=n),
    "linen pooling": lambda xs, n: linen("pooling", jnp.moveaxis(xs, 0, 1), seq_lengths=n),
    "linen encoder-decoder": lambda xs, n: linen("both", jnp.moveaxis(xs, 0, 1), ROWS, seq_lengths=n),
}
every_entry = pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)


@every_entry
def test_lengths_from_the_closure_are_those_of_the_argument(entry):
    given = jax.jit(entry)(XS, LENGTHS)
    closed = jax.jit(lambda xs: entry(xs, LENGTHS))(XS)
    _, looped = jax.lax.scan(lambda _, xs: (0, entry(xs, LENGTHS)), 0, XS[None])
    for one, other, inside in zip(*map(jax.tree.leaves, (given, closed, looped)), strict=True):
        np.testing.assert_allclose(other, one, atol=1e-6)
        np.testing.assert_allclose(inside[0], one, atol=1e-6)


def test_under_nnx_jit():
    run = nnx.jit(lambda module, xs: module(xs, ROWS, seq_lengths=LENGTHS)[0])
    np.testing.assert_allclose(run(NNX["both"], ROWS), NNX["both"](ROWS, ROWS, seq_lengths=LENGTHS)[0], atol=1e-6)


@every_entry
def test_they_are_still_checked(entry):
    with pytest.raises(ValueError, match=r"_lengths: expected lengths within 0\.\.5, the number of steps in .* 2\.\.6"):
        jax.eval_shape(lambda xs: entry(xs, TOO_LONG), XS)
