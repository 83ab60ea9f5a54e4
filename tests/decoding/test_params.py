"""Params of the encoder-decoder that do not fit together are named, traced ones too; those that fit pass everywhere."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gru_jax
import gru_jax.linen
import gru_jax.nnx

S, L, B, I, E, H, V = 5, 4, 2, 3, 2, 4, 7  # noqa: E741 - the letters of DESIGN.md
GRU, KEY = gru_jax.gru(), jax.random.key(0)
PARAMS = gru_jax.init_encoder_decoder(GRU, KEY, I, E, H, V, bidirectional=True)
XS, TARGET = np.ones((S, B, I), np.float32), np.ones((L, B, E), np.float32)
DENSE = PARAMS.bridge[0][0]
CALLS = {
    "encode": lambda params: gru_jax.encode(GRU, params, XS),
    "decode": lambda params: gru_jax.decode(GRU, params, gru_jax.encode(GRU, PARAMS, XS), TARGET)[1],
    "decode_step": lambda params: gru_jax.decode_step(GRU, params, gru_jax.encode(GRU, PARAMS, XS), None, TARGET[0])[1],
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


def stack(features=H, in_features=E, **options):
    return gru_jax.init_layers(GRU, KEY, in_features, features, **options)


# What replaces which field, and what is said of it.
MISTAKES = {
    "w_o cut": ({"w_o": PARAMS.w_o[:3]}, ValueError, r"params\.w_o: expected shape \(H, V\) with H = 4.* got \(3, 7\)"),
    "b_o cut": ({"b_o": PARAMS.b_o[:3]}, ValueError, r"params\.b_o: expected shape \(V,\) with .*V = 7, got \(3,\)"),
    "b_o of one": ({"b_o": PARAMS.b_o[:1]}, ValueError, r"params\.b_o: expected shape \(V,\) .* got \(1,\)"),
    "w_c cut": ({"w_c": PARAMS.w_c[:8]}, ValueError, r"params\.w_c: .* \(DH\+H, H\) .*DH\+H = 12, got \(8, 4\)"),
    "b_c of two axes": ({"b_c": PARAMS.b_c[None]}, ValueError, r"params\.b_c: expected shape \(H,\), got \(1, 4\)"),
    "no w_c": ({"w_c": None}, TypeError, r"params\.w_c: expected an array, got NoneType"),
    "w_c of lists": ({"w_c": [[1.0]]}, TypeError, r"params\.w_c: expected an array, got list"),
    "no attention": ({"attention": None}, TypeError, r"params\.attention: expected AdditiveAttentionParams or DotP"),
    "attention cut": (
        {"attention": PARAMS.attention._replace(v=PARAMS.attention.v[1:])},
        ValueError,
        r"params\.attention\.v: expected shape \(A,\) .*A = 4.* got \(3,\)",
    ),
    "attention for one direction": (
        {"attention": gru_jax.init_dot_product_attention(KEY, H, H)},
        ValueError,
        r"params\.w_c: expected shape .* DH\+H = 8, got \(12, 4\)",
    ),
    "empty bridge": ({"bridge": ()}, TypeError, r"params\.bridge: expected params\.bridge\[layer\]\[leaf\].* of \[1\]"),
    "no bridge": ({"bridge": None}, TypeError, r"params\.bridge: expected .* got NoneType"),
    "bridge without rows": ({"bridge": (DENSE,)}, TypeError, r"params\.bridge: expected params\.bridge\[layer\]"),
    "bridge of two leaves": ({"bridge": ((DENSE, DENSE),)}, TypeError, r"params\.bridge: expected params\.bridge"),
    "bridge cut": (
        {"bridge": ((DENSE._replace(w=DENSE.w[:H]),),)},
        ValueError,
        r"params\.bridge\[0\]\[0\]\.w: expected shape \(DH, H\) with DH = 8, H = 4, got \(4, 4\)",
    ),
    "no encoder": ({"encoder": None}, TypeError, r"params\.encoder: expected params\.encoder\[layer\]\[direction\]"),
    "encoder of one direction": (
        {"encoder": stack(in_features=I)},
        ValueError,
        r"params\.bridge\[0\]\[0\]\.w: .* DH = 4, H = 4, got \(8, 4\)",
    ),
    "decoder of two directions": (
        {"decoder": stack(bidirectional=True)},
        ValueError,
        r"params\.decoder: expected one direction in each of 1 layers.* got \[2\] directions",
    ),
    "decoder of two layers": ({"decoder": stack((H, H))}, ValueError, r"params\.decoder: .* 1 layers.* got \[1, 1\]"),
    "params of another cell": (
        {"decoder": gru_jax.init_layers(gru_jax.lstm(), KEY, E, H)},
        TypeError,
        "params: expected GRUParams for the cell 'gru', got LSTMParams",
    ),
}


@every_call
@pytest.mark.parametrize(("replaced", "error", "message"), MISTAKES.values(), ids=MISTAKES)
def test_params_that_do_not_fit_are_named(call, replaced, error, message):
    with pytest.raises(error, match=message):
        call(PARAMS._replace(**replaced))


@every_call
def test_so_are_traced_ones(call):
    with pytest.raises(ValueError, match=r"params\.b_o: expected shape \(V,\)"):
        jax.eval_shape(call, PARAMS._replace(b_o=PARAMS.b_o[:1]))
    with pytest.raises(ValueError, match=r"params\.w_i: expected .* got \(1, 3, 12\); for an ensemble .* jax\.vmap"):
        jax.eval_shape(call, jax.tree.map(lambda leaf: leaf[None], PARAMS))


def test_what_a_cell_writes_is_as_wide_as_what_reads_it():
    """The width of a custom cell's output is not that of its carry."""
    half = GRU.replace(step=lambda *args: (lambda carry, y: (carry, y[..., :2]))(*GRU.step(*args)))
    encoded = gru_jax.encode(GRU, PARAMS, XS)
    with pytest.raises(ValueError, match=r"params\.encoder: expected a last layer that writes 8 features.* writes 4"):
        gru_jax.encode(half, PARAMS, XS)
    with pytest.raises(ValueError, match=r"params\.decoder: expected a last layer that writes 4 features.* writes 2"):
        gru_jax.decode(half, PARAMS, encoded, TARGET)


@pytest.mark.parametrize("name", ["foo", "reverse", "resets", "reset_carry"])
def test_options_that_mean_nothing_are_named(name):
    with pytest.raises(
        TypeError, match=rf"{name}: expected one of .*encode.*dropout_rate.*remat, backend, got '{name}'"
    ):
        gru_jax.encode(GRU, PARAMS, XS, **{name: True})
    with pytest.raises(TypeError, match=rf"{name}: expected one of .*decode.*seq_lengths, mask.*, got '{name}'"):
        gru_jax.decode(GRU, PARAMS, gru_jax.encode(GRU, PARAMS, XS), TARGET, **{name: True})


def test_options_that_are_documented_are_taken():
    options = {"unroll": 2, "remat": 2, "backend": "scan"}

    @jax.jit
    def run(key):
        encoded = gru_jax.encode(GRU, PARAMS, XS, dropout_rate=0.5, dropout_key=key, **options)
        lengths = gru_jax.decode(GRU, PARAMS, encoded, TARGET, seq_lengths=jnp.array([L, 2]), **options)
        mask = np.arange(L)[:, None] < np.array([L, 2])
        return lengths, gru_jax.decode(GRU, PARAMS, encoded, TARGET, mask=mask, **options)

    for one, other in zip(*map(jax.tree.leaves, run(KEY)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_params_that_fit_pass_every_transformation():
    @functools.partial(jax.jit, static_argnames="cell")
    def logits(params, cell=GRU):
        return gru_jax.decode(cell, params, gru_jax.encode(cell, params, XS), TARGET)[1]

    loss = lambda params: jnp.sum(jnp.sin(logits(params)))  # noqa: E731
    other = gru_jax.init_encoder_decoder(GRU, jax.random.key(1), I, E, H, V, bidirectional=True)
    ensemble = jax.tree.map(lambda *leaves: jnp.stack(leaves), PARAMS, other)
    gradients = jax.vmap(jax.grad(loss))(ensemble)
    for k, params in enumerate((PARAMS, other)):
        np.testing.assert_allclose(jax.vmap(logits)(ensemble)[k], logits(params), atol=1e-6)
        for many, one in zip(jax.tree.leaves(gradients), jax.tree.leaves(jax.grad(loss)(params)), strict=True):
            np.testing.assert_allclose(many[k], one, atol=1e-5)
    assert jax.eval_shape(logits, PARAMS).shape == (L, B, V)
    # Attention as wide as one likes: nothing else depends on it.
    wide = PARAMS._replace(attention=gru_jax.init_additive_attention(KEY, H, 2 * H, 9))
    assert jax.eval_shape(logits, wide).shape == (L, B, V)
    of_lstm = functools.partial(gru_jax.init_encoder_decoder, gru_jax.lstm(), KEY, I, E, (H, 3), V)
    assert jax.eval_shape(lambda: logits(of_lstm(), cell=gru_jax.lstm())).shape == (L, B, V)


def test_modules_check_them_too():
    module = gru_jax.nnx.EncoderDecoder(I, E, H, V, rngs=nnx.Rngs(0))
    module.b_o = nnx.Param(jnp.zeros(1))
    rows = np.moveaxis(XS, 0, 1), np.moveaxis(TARGET, 0, 1)
    with pytest.raises(ValueError, match=r"params\.b_o: expected shape \(V,\)"):
        nnx.jit(lambda module, *rows: module(*rows))(module, *rows)
    stored = {"params": nnx.to_pure_dict(nnx.state(module, nnx.Param))}
    with pytest.raises(ValueError, match=r"params\['b_o'\]: expected one of shape \(7,\), got one of shape \(1,\)"):
        gru_jax.linen.EncoderDecoder(H, V).apply(stored, *rows)
