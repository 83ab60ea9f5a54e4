"""The convolutional GRU on its own: neighbourhoods, beginnings, stacks, Flax, mistakes. Laws: test_input_shapes."""

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gru_jax
from tests.cases import assert_close
from tests.input_cases import CONV, HEIGHT, KERNEL, WIDTH, I, conv_gru_step, run
from tests.refusals import refused

KEY = jax.random.key(0)
B, T = 2, 3
CELL = CONV[0].cell


@pytest.mark.parametrize(("reset_after", "update_gate"), [(True, "write"), (False, "keep")])
def test_one_pixel_is_the_gru(reset_after, update_gate, x64):
    """The same draws, states and gradients; the GRU's backend is another one too."""
    form = {"reset_after": reset_after, "update_gate": update_gate, "update_bias": 0.5}
    gru, conv = gru_jax.gru(**form), gru_jax.conv_gru(image_shape=(1, 1), kernel_shape=(1, 1), **form)
    params, wide = (cell.init(KEY, 3, 4, np.float64) for cell in (gru, conv))
    assert_close(jax.tree.map(lambda a, b: a.reshape(b.shape), wide, gru_jax.ConvGRUParams(*params)), params)
    xs = np.random.default_rng(0).normal(size=(T, B, 3))

    def loss(cell, xs):
        return lambda params: jnp.sum(gru_jax.scan(cell, params, xs, seq_lengths=np.array([3, 1]))[1] ** 2)

    pixels = xs[:, :, None, None]
    _, expected = gru_jax.scan(gru, params, xs)
    assert_close(gru_jax.scan(conv, wide, pixels)[1][:, :, 0, 0], expected, atol=1e-14)
    found = jax.jit(jax.grad(loss(conv, pixels)))(wide)
    expected = jax.jit(jax.grad(loss(gru, xs)))(params)
    for a, b in zip(found, expected, strict=True):
        assert_close(a.reshape(b.shape), b, atol=1e-13)


def test_a_pulse_spreads_by_the_kernel_a_step():
    """One lit pixel reaches one more place in each direction with every frame, and not farther."""
    cell = gru_jax.conv_gru(image_shape=(7, 7), bias_init=jax.nn.initializers.zeros)
    params = cell.init(KEY, 1, 2)
    xs = np.zeros((3, 7, 7, 1), np.float32)
    xs[0, 3, 3] = 1.0
    _, ys = gru_jax.scan(cell, params, xs)
    for t, reach in enumerate((1, 2, 3)):
        near = np.zeros((7, 7), bool)
        near[3 - reach : 4 + reach, 3 - reach : 4 + reach] = True
        assert np.array_equal(np.any(np.asarray(ys[t]) != 0, axis=-1), near)


def test_how_it_begins():
    """Each gate's input kernels have the variance 1 / (kh kw I), and its state kernels are orthonormal."""
    params = gru_jax.conv_gru(image_shape=(9, 9), update_bias=2.0).init(KEY, 8, 32)
    for gate in np.split(np.asarray(params.w_i), 3, axis=-1):
        assert np.isclose(gate.std(), (9 * 8) ** -0.5, rtol=0.05)
    for gate in np.split(np.asarray(params.w_h), 3, axis=-1):
        columns = gate.reshape(-1, 32)
        assert np.allclose(columns.T @ columns, np.eye(32), atol=1e-5)
    assert np.array_equal(params.b_i, np.repeat([0.0, 2.0, 0.0], 32))


def test_two_layers_of_two_directions(x64):
    """The layer above sees both directions of the one below, channel beside channel."""
    params = gru_jax.init_layers(CELL, KEY, I, (3, 2), bidirectional=True, dtype=np.float64)
    xs = CONV[0].xs((T, B))
    carry, ys = gru_jax.scan_layers(CELL, params, xs)
    below = xs
    for layer, width in zip(jax.tree.map(np.asarray, params), (3, 2), strict=True):
        zeros = np.zeros((B, HEIGHT, WIDTH, width))
        both = [
            run(
                lambda p, h, x: conv_gru_step(p, h, x, reset_after=True, update_gate="keep"),
                tuple(p),
                below,
                zeros,
                reverse=back,
            )
            for p, back in zip(layer, (False, True), strict=True)
        ]
        below = np.concatenate([out for _, out in both], axis=-1)
    assert_close(ys, below, atol=1e-12)
    assert_close(carry[1], [final for final, _ in both], atol=1e-12)


def test_functions_nnx_and_linen_agree_to_the_bit():
    xs = CONV[0].xs((B, T), dtype=np.float32)
    options = {"seq_lengths": np.array([3, 1]), "resets": np.eye(B, T, 1, bool)}
    module = gru_jax.nnx.GRU(I, (3, 2), cell=CELL, rngs=nnx.Rngs(0))
    linen = gru_jax.linen.GRU((3, 2), cell=CELL)
    variables = {"params": nnx.to_pure_dict(nnx.state(module, nnx.Param))}
    assert jax.tree.map(jnp.shape, linen.init(KEY, xs)) == jax.tree.map(jnp.shape, variables)
    time_first = {"seq_lengths": options["seq_lengths"], "resets": options["resets"].T}
    carry, ys = gru_jax.scan_layers(CELL, module.params, np.moveaxis(xs, 1, 0), **time_first)
    expected = carry, jnp.moveaxis(ys, 0, 1)
    assert expected[1].shape == (B, T, HEIGHT, WIDTH, 2)
    assert_close(module(xs, **options), expected)
    assert_close(linen.apply(variables, xs, **options), expected)


def test_flax_scans_the_cell_over_frames():
    xs = CONV[0].xs((B, T), dtype=np.float32)
    layer = nnx.RNN(gru_jax.nnx.GRUCell(I, 3, cell=CELL, rngs=nnx.Rngs(0)))
    _, expected = gru_jax.scan(CELL, layer.cell.params, np.moveaxis(xs, 1, 0))
    assert_close(layer(xs), np.moveaxis(np.asarray(expected), 0, 1), atol=1e-6)
    twin = flax.linen.RNN(gru_jax.linen.GRUCell(3, cell=CELL))
    variables = {"params": {"cell": nnx.to_pure_dict(nnx.state(layer.cell, nnx.Param))}}
    assert jax.tree.map(jnp.shape, twin.init(KEY, xs)) == jax.tree.map(jnp.shape, variables)
    assert_close(twin.apply(variables, xs), layer(xs), atol=1e-6)


FRAMES = np.zeros((T, B, HEIGHT, WIDTH, I), np.float32)
PARAMS = CELL.init(KEY, I, 3)
MISTAKES = {
    "no image shape": (lambda: gru_jax.conv_gru(image_shape=8), TypeError, ["image_shape:", "(height, width)", "8"]),
    "empty image": (lambda: gru_jax.conv_gru(image_shape=(8, 0)), ValueError, ["image_shape[1]:", ">= 1", "0"]),
    "kernel": (lambda: gru_jax.conv_gru(image_shape=(8, 8), kernel_shape=(3,)), TypeError, ["kernel_shape:", "(3,)"]),
    "update gate": (
        lambda: gru_jax.conv_gru(image_shape=(8, 8), update_gate="no"),
        ValueError,
        ["update_gate:", '"keep"', "'no'"],
    ),
    "frames of another size": (
        lambda: gru_jax.scan(CELL, PARAMS, np.zeros((T, B, 5, WIDTH, I), np.float32)),
        ValueError,
        ["xs:", "(T, *B, 2, 3, 2)", "(3, 2, 5, 3, 2)", "make the cell and its params for (5, 3, 2)"],
    ),
    "no channels": (
        lambda: gru_jax.scan(CELL, PARAMS, FRAMES[0, 0, ..., 0]),
        ValueError,
        ["xs:", "(T, *B, 2, 3, 2)", "(2, 3)", "add the missing axes"],
    ),
    "params of another kernel": (
        lambda: gru_jax.scan(gru_jax.conv_gru(image_shape=(HEIGHT, WIDTH)), PARAMS, FRAMES),
        ValueError,
        ["params.w_i:", "(kh, kw, I, 3H)", "kh = 3, kw = 3", str((*KERNEL, I, 9)), "init"],
    ),
    "params of a gru": (
        lambda: gru_jax.scan(CELL, gru_jax.gru().init(KEY, I, 3), FRAMES),
        TypeError,
        ["params:", "ConvGRUParams", "GRUParams", "init"],
    ),
    "a flat carry": (
        lambda: gru_jax.scan(CELL, PARAMS, FRAMES, np.zeros((B, 3), np.float32)),
        ValueError,
        ["carry:", "(2, 2, 3, 3)", "(2, 3)", "cell.carry"],
    ),
    "layers that do not fit": (
        lambda: gru_jax.scan_layers(CELL, ((PARAMS,), (PARAMS,)), FRAMES),
        ValueError,
        ["params[1][0]:", "width 3", "one for 2", "init_layers"],
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named(name):
    mistake, kind, words = MISTAKES[name]
    with refused(kind, words):
        mistake()
