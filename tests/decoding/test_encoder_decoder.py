"""The encoder-decoder: the equations in NumPy float64, stepping, padding, cutting, dropout, searching, Flax modules."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gru_jax
import gru_jax.linen
import gru_jax.nnx
from tests import reference

S, L, B, I, E, H, V = 5, 4, 3, 2, 3, 4, 6  # noqa: E741 - the letters of DESIGN.md
LENGTHS = np.array([5, 2, 3], np.int32)
CELLS = [gru_jax.gru(), gru_jax.gru(reset_after=False, update_gate="write"), gru_jax.lstm(), gru_jax.min_gru()]
LAYOUTS = [
    {"bidirectional": True, "attention": "additive"},
    {"num_layers": 2, "attention": "dot_product"},
]
every_layout = pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout["attention"])


def made(cell=CELLS[0], dtype=np.float32, **layout):
    """Params of the right shapes, all random, the biases too."""
    rng = np.random.default_rng(0)
    init = functools.partial(gru_jax.init_encoder_decoder, cell, dtype=dtype, **layout)
    shapes = jax.eval_shape(lambda key: init(key, I, E, H, V), jax.random.key(0))
    return jax.tree.map(lambda p: jnp.asarray(0.6 * rng.normal(size=p.shape), dtype), shapes)


def data(dtype=np.float32):
    rng = np.random.default_rng(1)
    return rng.normal(size=(S, B, I)).astype(dtype), rng.normal(size=(L, B, E)).astype(dtype)


@functools.partial(jax.jit, static_argnums=0)
def forced(cell, params, source, target, lengths=None):
    encoded = gru_jax.encode(cell, params, source, seq_lengths=lengths)
    return gru_jax.decode(cell, params, encoded, target)


def numpy_forced(params, source, target, lengths):
    """One row at a time, one layer with two directions, additive attention."""
    p = jax.tree.map(np.asarray, params)
    logits, weights = np.zeros((L, B, V)), np.zeros((L, S, B))
    for b, length in enumerate(lengths):
        xs, zero = source[:length, b], np.zeros(H)
        forward, ahead = reference.run_row(reference.gru_step, p.encoder[0][0], xs, zero)
        backward, back = reference.run_row(reference.gru_step, p.encoder[0][1], xs, zero, reverse=True)
        keys = np.concatenate([ahead, back], axis=-1)
        h = np.tanh(np.concatenate([forward, backward]) @ p.bridge[0][0].w + p.bridge[0][0].b)
        for t in range(L):
            h, _ = reference.gru_step(p.decoder[0][0], h, target[t, b])
            raised = np.exp(np.tanh(h @ p.attention.w_q + keys @ p.attention.w_k + p.attention.b) @ p.attention.v)
            weights[t, :length, b] = raised / raised.sum()
            context = weights[t, :length, b] @ keys
            logits[t, b] = np.tanh(np.concatenate([context, h]) @ p.w_c + p.b_c) @ p.w_o + p.b_o
    return logits, weights


def test_the_equations_in_float64(x64):
    params = made(dtype=np.float64, bidirectional=True)
    source, target = data(np.float64)
    _, logits, weights = forced(CELLS[0], params, source, target, LENGTHS)
    expected, shares = numpy_forced(params, source, target, LENGTHS)
    np.testing.assert_allclose(logits, expected, atol=1e-12)
    np.testing.assert_allclose(weights, shares, atol=1e-12)


@pytest.mark.parametrize(
    ("cell", "layout"), list(zip(CELLS, 2 * LAYOUTS, strict=True)), ids=lambda value: getattr(value, "name", "")
)
def test_stepping_is_teacher_forcing(cell, layout):
    params, (source, target) = made(cell, **layout), data()
    carry, logits, weights = forced(cell, params, source, target, LENGTHS)

    @jax.jit
    def stepped(params, source, target):
        encoded = gru_jax.encode(cell, params, source, seq_lengths=LENGTHS)

        def step(carry, x):
            carry, logits, weights = gru_jax.decode_step(cell, params, encoded, carry, x)
            return carry, (jax.nn.log_softmax(logits), weights)

        return jax.lax.scan(step, encoded.carry, target)

    last, (log_probs, same) = stepped(params, source, target)
    np.testing.assert_allclose(log_probs, jax.nn.log_softmax(logits), atol=1e-5)
    np.testing.assert_allclose(same, weights, atol=1e-5)
    for one, other in zip(jax.tree.leaves(carry), jax.tree.leaves(last), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_padded_source_is_the_source_alone():
    """Values, and gradients of what follows from one row; NaN in the padding reaches none of them."""
    params, (source, target) = made(**LAYOUTS[0]), data()
    lengths = np.array([5, 2, 2], np.int32)
    mask = np.arange(S)[:, None] < lengths
    spoilt = np.where(mask[..., None], source, np.nan)

    @functools.partial(jax.jit, static_argnames="padded")
    def loss(params, source, target, lengths=None, *, padded=True):
        _, logits, _ = forced(CELLS[0], params, source, target, lengths if padded else None)
        return jnp.sum(jnp.sin(logits)), logits

    gradient = jax.grad(loss, argnums=(0, 1), has_aux=True)
    (g_params, g_source), logits = gradient(params, spoilt, target, lengths)
    total = jax.tree.map(np.zeros_like, params)
    for rows, length in ((np.s_[:, :1], 5), (np.s_[:, 1:], 2)):
        (alone, at_source), one = gradient(params, source[:length][rows], target[rows], padded=False)
        total = jax.tree.map(np.add, total, alone)
        np.testing.assert_allclose(logits[rows], one, atol=2e-6)
        np.testing.assert_allclose(g_source[:length][rows], at_source, atol=2e-5)
    assert (np.asarray(g_source)[~mask] == 0).all()
    for one, other in zip(jax.tree.leaves(g_params), jax.tree.leaves(total), strict=True):
        np.testing.assert_allclose(one, other, atol=5e-5)


def test_a_mask_hides_holes_and_lengths_are_a_mask():
    params, (source, target) = made(**LAYOUTS[0]), data()

    @jax.jit
    def masked(mask):
        encoded = gru_jax.encode(CELLS[0], params, source, mask=mask)
        return gru_jax.decode(CELLS[0], params, encoded, target)[1:]

    by_length = forced(CELLS[0], params, source, target, LENGTHS)[1:]
    for one, other in zip(masked(np.arange(S)[:, None] < LENGTHS), by_length, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    hole = np.ones((S, B), bool)
    hole[2] = False
    logits, weights = masked(hole)
    _, without, _ = forced(CELLS[0], params, np.delete(source, 2, axis=0), target)
    np.testing.assert_allclose(logits, without, atol=2e-6)
    assert (np.asarray(weights)[:, 2] == 0).all()


def test_cutting_the_target_and_threading_the_carry_is_the_whole():
    params, (source, target) = made(**LAYOUTS[1]), data()

    @jax.jit
    def run(params, source, target):
        encoded = gru_jax.encode(CELLS[0], params, source)
        middle, *first = gru_jax.decode(CELLS[0], params, encoded, target[:1])
        return first, gru_jax.decode(CELLS[0], params, encoded, target[1:], middle)

    carry, logits, weights = forced(CELLS[0], params, source, target)
    first, (final, *second) = run(params, source, target)
    for whole, pieces in zip((logits, weights), zip(first, second, strict=True), strict=True):
        np.testing.assert_allclose(jnp.concatenate(pieces), whole, atol=1e-6)
    np.testing.assert_allclose(final[1][0], carry[1][0], atol=1e-6)


def test_a_beam_found_has_the_probability_that_teacher_forcing_gives_it():
    """Search through decode_step, with beams ahead of the batch; then read what was found by decode."""
    cell, end, steps = CELLS[0], 0, 6
    params, (source, _) = made(**LAYOUTS[0]), data()
    table = jnp.asarray(np.random.default_rng(2).normal(size=(V, E)), jnp.float32)

    @jax.jit
    def search(params, source):
        encoded = gru_jax.encode(cell, params, source, seq_lengths=LENGTHS)

        def step(tokens, state):
            carry, logits, weights = gru_jax.decode_step(cell, params, encoded, state[0], table[tokens])
            return jax.nn.log_softmax(logits), (carry, jnp.moveaxis(weights, -2, -1))

        return gru_jax.beam_search(
            step,
            (encoded.carry, jnp.zeros((B, S))),
            start_token=jnp.full((B,), end),
            end_token=end,
            beam_size=3,
            max_steps=steps,
            record=lambda state: state[1],
        )

    found = search(params, source)
    for k in range(3):
        target = jnp.concatenate([jnp.full((1, B), end), found.tokens[:-1, k]])
        _, logits, weights = forced(cell, params, source, table[target], LENGTHS)
        log_probs = jnp.take_along_axis(jax.nn.log_softmax(logits), found.tokens[:, k, :, None], axis=-1)[..., 0]
        read = np.arange(steps)[:, None] < np.asarray(found.lengths[k])
        np.testing.assert_allclose(np.where(read, log_probs, 0).sum(axis=0), found.scores[k], atol=1e-5)
        expected = np.where(read[..., None], np.moveaxis(weights, 1, 2), 0)
        np.testing.assert_allclose(found.record[:, k], expected, atol=1e-6)


def test_dropout_follows_its_key_and_also_acts_before_the_read_out():
    params, (source, target) = made(**LAYOUTS[0]), data()

    @jax.jit
    def dropped(seed):
        encoded = gru_jax.encode(CELLS[0], params, source)
        key = jax.random.key(seed)
        return gru_jax.decode(CELLS[0], params, encoded, target, dropout_rate=0.5, dropout_key=key)[1]

    np.testing.assert_array_equal(dropped(1), dropped(1))
    assert not np.array_equal(dropped(1), dropped(2))
    # One layer, so that nothing is dropped between layers: the read-out is linear in what is, and right in the mean.
    _, clean, _ = forced(CELLS[0], params, source, target)
    mean = np.mean(jax.vmap(dropped)(jnp.arange(2000)), axis=0)
    np.testing.assert_allclose(mean, clean, atol=0.12)


@pytest.mark.parametrize("attention", ["additive", "dot_product"])
def test_precision_is_that_of_every_product(attention):
    params, (source, target) = made(attention=attention), data()

    def run(params, source, target):
        encoded = gru_jax.encode(CELLS[0], params, source, precision="highest")
        _, logits, _ = gru_jax.decode(CELLS[0], params, encoded, target, precision="highest")
        return logits, gru_jax.decode_step(CELLS[0], params, encoded, None, target[0], precision="highest")[1]

    text = str(jax.make_jaxpr(run)(params, source, target))
    assert text.count("dot_general[") > 10
    assert text.count("dot_general[") == text.count("precision=(Precision.HIGHEST, Precision.HIGHEST)")


@pytest.mark.parametrize("attention", ["additive", "dot_product"])
def test_source_and_target_may_differ_in_dtype(attention):
    params, (source, target) = made(attention=attention), data()
    encoded = gru_jax.encode(CELLS[0], params, source)
    _, expected, _ = gru_jax.decode(CELLS[0], params, encoded, target)
    half = jnp.asarray(target, jnp.bfloat16)
    _, logits, _ = gru_jax.decode(CELLS[0], params, encoded, half)
    np.testing.assert_allclose(logits, expected, atol=0.1)
    _, one, _ = gru_jax.decode_step(CELLS[0], params, encoded, None, half[0])
    np.testing.assert_allclose(one, logits[0], atol=0.05)


def test_half_precision_gives_float32_logits():
    params, (source, target) = made(**LAYOUTS[0]), data()
    half = [jnp.asarray(array, jnp.bfloat16) for array in (source, target)]
    _, logits, weights = forced(CELLS[0], params, *half, LENGTHS)
    _, expected, _ = forced(CELLS[0], params, source, target, LENGTHS)
    assert logits.dtype == weights.dtype == jnp.float32
    np.testing.assert_allclose(logits, expected, atol=0.15)


def test_new_params_are_of_the_layout_and_differ_by_key():
    lstm = made(gru_jax.lstm(), bidirectional=True)
    assert lstm.encoder[0][1].w_i.shape == (I, 4 * H)
    assert lstm.decoder[0][0].w_i.shape == (E, 4 * H)
    assert [leaf.w.shape for leaf in lstm.bridge[0]] == [(2 * H, H), (2 * H, H)]
    assert (lstm.w_c.shape, lstm.w_o.shape, lstm.b_o.shape) == ((3 * H, H), (H, V), (V,))
    init = jax.jit(functools.partial(gru_jax.init_encoder_decoder, gru_jax.min_gru()), static_argnums=(1, 2, 3, 4))
    one, other = (init(jax.random.key(seed), I, E, H, V) for seed in (0, 1))
    for leaf, same in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert (leaf.ndim == 1 and np.all(leaf == 0)) != (not np.array_equal(leaf, same))


@every_layout
def test_linen_makes_the_parameters_that_nnx_has(layout):
    module = nnx.eval_shape(lambda: gru_jax.nnx.EncoderDecoder(I, E, H, V, rngs=nnx.Rngs(0), **layout))
    linen = gru_jax.linen.EncoderDecoder(H, V, **layout)
    rows = [np.moveaxis(array, 0, 1) for array in data()]
    shapes = jax.eval_shape(linen.init, jax.random.key(1), *rows)["params"]
    assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, nnx.to_pure_dict(nnx.state(module, nnx.Param)))
    bound = jax.eval_shape(lambda params: linen.bind({"params": params}).params, shapes)
    assert jax.tree.structure(bound) == jax.tree.structure(made(**layout))


def test_modules_are_the_functions_to_the_bit():
    cell, layout = gru_jax.lstm(), LAYOUTS[0]
    module = gru_jax.nnx.EncoderDecoder(I, E, H, V, cell=cell, rngs=nnx.Rngs(0), **layout)
    linen = gru_jax.linen.EncoderDecoder(H, V, cell=cell, **layout)
    rows = [np.moveaxis(array, 0, 1) for array in data()]
    variables = {"params": nnx.to_pure_dict(nnx.state(module, nnx.Param))}
    # Not compiled as one: XLA may fuse the same sums in another order.
    source, target = data()
    encoded = gru_jax.encode(cell, module.params, source, seq_lengths=LENGTHS)
    _, logits, weights = gru_jax.decode(cell, module.params, encoded, target)
    mask = np.arange(S) < LENGTHS[:, None]
    for run in (linen.apply, lambda _, *args, **options: module(*args, **options)):
        for padding in ({"seq_lengths": LENGTHS}, {"mask": mask}):
            got = run(variables, *rows, **padding)
            np.testing.assert_array_equal(got[0], np.moveaxis(logits, 0, 1))
            np.testing.assert_array_equal(got[1], np.transpose(weights, (2, 0, 1)))

    def step(encode, step):
        encoded = encode(rows[0], seq_lengths=LENGTHS)
        carry = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), encoded.carry)
        return step(encoded, carry, jnp.stack([rows[1][:, 0], rows[1][:, 1]]))

    by_nnx = step(module.encode, module.step)
    methods = (functools.partial(linen.apply, variables, method=name) for name in ("encode", "step"))
    for one, other in zip(jax.tree.leaves(by_nnx), jax.tree.leaves(step(*methods)), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(by_nnx[1][0], np.moveaxis(logits, 0, 1)[:, 0], atol=1e-5)
    np.testing.assert_allclose(by_nnx[2][0], np.transpose(weights, (2, 0, 1))[:, 0], atol=1e-5)


def test_modules_drop_out_in_training_only():
    cell = gru_jax.min_gru()
    rows = [np.moveaxis(array, 0, 1) for array in data()]
    module = gru_jax.nnx.EncoderDecoder(I, E, H, V, dropout_rate=0.5, cell=cell, rngs=nnx.Rngs(0))
    linen = gru_jax.linen.EncoderDecoder(H, V, dropout_rate=0.5, cell=cell)
    variables = {"params": nnx.to_pure_dict(nnx.state(module, nnx.Param))}
    assert not np.array_equal(module(*rows)[0], module(*rows)[0])
    module.eval()
    plain = module(*rows)[0]
    np.testing.assert_array_equal(linen.apply(variables, *rows, deterministic=True)[0], plain)
    dropped = [linen.apply(variables, *rows, rngs={"dropout": jax.random.key(seed)})[0] for seed in (0, 0, 1)]
    np.testing.assert_array_equal(dropped[0], dropped[1])
    assert not np.array_equal(dropped[0], dropped[2])
