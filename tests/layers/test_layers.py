"""Stacks: depth, direction, width and dropout, against scans put together by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gru_jax
from tests.cases import CASES, assert_close

T, B, I, H = 5, 3, 2, 4  # noqa: E741 - the letters of DESIGN.md
GRU = gru_jax.gru()


def inputs(seed=0):
    return np.random.default_rng(seed).normal(size=(T, B, I)).astype(np.float32)


@pytest.mark.parametrize("options", [{}, {"seq_lengths": np.array([5, 2, 0])}, {"resets": np.eye(T, B, -2, bool)}])
def test_a_bidirectional_stack_is_its_scans(options):
    params = gru_jax.init_layers(GRU, jax.random.key(0), I, (H, 6), bidirectional=True)
    carry, ys = gru_jax.scan_layers(GRU, params, inputs(), **options)
    xs = inputs()
    for layer, (forward, backward) in enumerate(params):
        c_f, y_f = gru_jax.scan(GRU, forward, xs, **options)
        c_b, y_b = gru_jax.scan(GRU, backward, xs, reverse=True, **options)
        xs = jnp.concatenate([y_f, y_b], axis=-1)
        assert_close(carry[layer], (c_f, c_b))
    assert_close(ys, xs)
    assert ys.shape == (T, B, 12)


@pytest.mark.parametrize("cell", [case.cell for case in CASES], ids=[case.name for case in CASES])
def test_every_cell_stacks(cell):
    params = gru_jax.init_layers(cell, jax.random.key(0), I, H, num_layers=3)
    start = jax.tree.map(lambda leaf: leaf + 0.5, tuple((cell.carry(p[0], batch_shape=(B,)),) for p in params))
    carry, ys = gru_jax.scan_layers(cell, params, inputs(), start)
    xs = inputs()
    for layer, (p,) in enumerate(params):
        final, xs = gru_jax.scan(cell, p, xs, start[layer][0])
        assert_close(carry[layer][0], final)
    assert_close(ys, xs)


def test_reverse_runs_every_layer_backwards():
    params = gru_jax.init_layers(GRU, jax.random.key(0), I, H, num_layers=2)
    _, ys = gru_jax.scan_layers(GRU, params, inputs(), reverse=True)
    _, flipped = gru_jax.scan_layers(GRU, params, inputs()[::-1])
    assert_close(ys, flipped[::-1], atol=1e-6)


def test_widths_and_shapes():
    params = gru_jax.init_layers(GRU, jax.random.key(0), I, [3, 5, 7], bidirectional=True, dtype=jnp.bfloat16)
    assert [[p.w_i.shape for p in layer] for layer in params] == [[(2, 9)] * 2, [(6, 15)] * 2, [(10, 21)] * 2]
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(jnp.bfloat16)}
    seen = [np.asarray(p.w_h, np.float32).tobytes() for layer in params for p in layer]
    assert len(set(seen)) == 6


def test_reset_carry_nests_like_the_params():
    params = gru_jax.init_layers(GRU, jax.random.key(0), I, H, num_layers=2)
    resets = np.zeros((T, B), bool)
    resets[2] = True
    restored = tuple((np.full(H, 0.3 * (layer + 1), np.float32),) for layer in range(2))
    _, ys = gru_jax.scan_layers(GRU, params, inputs(), resets=resets, reset_carry=restored)
    start = jax.tree.map(lambda leaf: np.broadcast_to(leaf, (B, H)), restored)
    _, expected = gru_jax.scan_layers(GRU, params, inputs()[2:], start)
    assert_close(ys[2:], expected, atol=1e-6)


def test_dropout_acts_between_layers_only():
    one = gru_jax.init_layers(GRU, jax.random.key(0), I, H)
    dropped = {"dropout_rate": 0.5, "dropout_key": jax.random.key(1)}
    assert_close(gru_jax.scan_layers(GRU, one, inputs(), **dropped), gru_jax.scan_layers(GRU, one, inputs()))
    two = gru_jax.init_layers(GRU, jax.random.key(0), I, H, num_layers=2)
    carry, ys = gru_jax.scan_layers(GRU, two, inputs(), **dropped)
    plain_carry, plain_ys = gru_jax.scan_layers(GRU, two, inputs())
    assert_close(carry[0], plain_carry[0])
    assert np.max(np.abs(ys - plain_ys)) > 1e-3
    assert np.all(ys != 0)


def test_dropout_zeroes_its_share_and_keeps_the_mean():
    """A second layer that shows its input: z = 0 keeps nothing, n = tanh(x) with x small."""
    width, rate = 50, 0.3
    params = gru_jax.init_layers(GRU, jax.random.key(0), I, width, num_layers=2)
    identity = np.zeros((width, 3 * width), np.float32)
    identity[:, 2 * width :] = 1e-3 * np.eye(width)
    show = gru_jax.GRUParams(
        w_i=identity,
        w_h=np.zeros((width, 3 * width), np.float32),
        b_i=np.repeat([0, -100, 0], width).astype(np.float32),
        b_h=np.zeros(3 * width, np.float32),
    )
    xs = np.random.default_rng(0).normal(size=(40, 20, I)).astype(np.float32)
    _, below = gru_jax.scan(GRU, params[0][0], xs)
    _, shown = gru_jax.scan_layers(GRU, (params[0], (show,)), xs, dropout_rate=rate, dropout_key=jax.random.key(1))
    seen = 1e3 * np.asarray(shown)
    kept = seen != 0
    assert np.mean(kept) == pytest.approx(1 - rate, abs=0.01)
    np.testing.assert_allclose(seen[kept], np.asarray(below)[kept] / (1 - rate), rtol=1e-4)


def test_dropout_is_a_function_of_its_key():
    params = gru_jax.init_layers(GRU, jax.random.key(0), I, H, num_layers=3)
    run = lambda seed: gru_jax.scan_layers(  # noqa: E731
        GRU, params, inputs(), dropout_rate=0.5, dropout_key=jax.random.key(seed)
    )[1]
    assert_close(run(0), run(0))
    assert np.any(run(0) != run(1))
    keyed = gru_jax.scan_layers(GRU, params, inputs(), dropout_rate=0.0, dropout_key=jax.random.key(0))
    assert_close(keyed, gru_jax.scan_layers(GRU, params, inputs()))


def test_nan_in_the_padding_reaches_no_layer():
    params = gru_jax.init_layers(GRU, jax.random.key(0), I, H, num_layers=2, bidirectional=True)
    lengths = np.array([5, 2, 0])
    xs = np.where((np.arange(T)[:, None] < lengths)[..., None], inputs(), np.float32(np.nan))

    def loss(params, xs):
        return jnp.sum(gru_jax.scan_layers(GRU, params, xs, seq_lengths=lengths)[1] ** 2)

    dirty, clean = (jax.value_and_grad(loss)(params, x) for x in (xs, inputs()))
    assert_close(dirty, clean)
