"""Weights into and out of the Flax modules: set, made from, as variables, without biases, in boxes, of own cells."""

import copy
import pickle
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gru_jax
from tests.cases import assert_close
from tests.refusals import refused

B, T, I, H = 3, 5, 2, 4  # noqa: E741 - the letters of DESIGN.md
KEY = jax.random.key(0)
XS = np.random.default_rng(0).normal(size=(B, T, I)).astype(np.float32)
LAYOUTS = [{"features": H}, {"features": (3, 4), "bidirectional": True}]


def layers(cell, features, bidirectional=False, seed=3):
    return gru_jax.init_layers(cell, jax.random.key(seed), I, features, bidirectional=bidirectional)


def expected(cell, params):
    """What the functions make of these params."""
    carry, ys = gru_jax.scan_layers(cell, params, XS.swapaxes(0, 1))
    return carry, jnp.moveaxis(ys, 0, 1)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("cell", [gru_jax.gru(), gru_jax.lstm()], ids=lambda cell: cell.name)
def test_weights_go_into_modules_and_come_back(cell, layout):
    params = layers(cell, **layout)
    made = gru_jax.nnx.GRU.from_params(cell, params)
    assert (made.in_features, made.bidirectional) == (I, layout.get("bidirectional", False))
    assert_close(made(XS), expected(cell, params))
    told = gru_jax.nnx.GRU(I, cell=cell, **layout, rngs=nnx.Rngs(0))
    told.params = params
    assert_close(told(XS), expected(cell, params))
    assert jax.tree.structure(told.params) == jax.tree.structure(params)
    variables = gru_jax.linen.as_variables(params)
    assert_close(gru_jax.linen.GRU(cell=cell, **layout).apply(variables, XS), expected(cell, params))
    back = gru_jax.linen.as_params(variables, cell=cell)
    assert jax.tree.structure(back) == jax.tree.structure(params)
    assert_close(back, params)
    assert_close(gru_jax.linen.as_params(variables["params"], cell=cell), params)


def test_weights_of_the_other_modules():
    cell = gru_jax.gru()
    params = cell.init(KEY, I, H)
    variables = gru_jax.linen.as_variables(params)
    module = gru_jax.nnx.GRUCell.from_params(cell, params)
    carry, x = jnp.ones((B, H)), XS[:, 0]
    assert_close(module(carry, x), cell(params, carry, x))
    assert_close(gru_jax.linen.GRUCell(H).apply(variables, carry, x), cell(params, carry, x))
    assert_close(gru_jax.linen.as_params(variables), params)
    whole = gru_jax.init_encoder_decoder(cell, KEY, I, I, H, 7, bidirectional=True)
    tree = gru_jax.linen.as_variables(whole)
    assert_close(gru_jax.linen.as_params(tree), whole)
    model = gru_jax.nnx.EncoderDecoder(I, I, H, 7, bidirectional=True, rngs=nnx.Rngs(1))
    model.params = whole
    assert_close(model(XS, XS), gru_jax.linen.EncoderDecoder(H, 7, bidirectional=True).apply(tree, XS, XS))
    pool = gru_jax.init_attention_pooling(KEY, I, H)
    pooling = gru_jax.nnx.AttentionPooling(I, H, rngs=nnx.Rngs(1))
    pooling.params = pool
    assert_close(pooling.params, pool)
    assert_close(gru_jax.linen.AttentionPooling(H).apply(gru_jax.linen.as_variables(pool), XS), pooling(XS))


def test_params_restored_as_dicts_and_lists_can_be_set():
    module = gru_jax.nnx.GRU(I, H, rngs=nnx.Rngs(0))
    params = layers(module.cell, H)
    module.params = [[{name: np.asarray(leaf) for name, leaf in p._asdict().items()} for p in row] for row in params]
    assert_close(module.params, params)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        (lambda: layers(gru_jax.gru(), 5), ["params[0][0].w_i:", "(2, 12)", "(2, 15)", "from_params"]),
        (lambda: layers(gru_jax.gru(), (H, H)), ["params:", "1.0.w_i", "from_params"]),
        (lambda: layers(gru_jax.gru(use_bias="input"), H), ["params[0][0].b_h:", "(12,)", "none", "from_params"]),
        (
            lambda: jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), layers(gru_jax.gru(), H)),
            ["params[0][0].w_i:", "float32", "bfloat16", "astype"],
        ),
        (lambda: None, ["params[0][0].w_i:", "none"]),
        (lambda: layers(gru_jax.gru(), H)[0][0]._replace(w_i="no"), ["params[0][0].w_i:", "none"]),
    ],
)
def test_params_that_do_not_fit_are_not_set(params, words):
    module = gru_jax.nnx.GRU(I, H, rngs=nnx.Rngs(0))
    before = module.params
    with refused((TypeError, ValueError), words):
        module.params = params()
    assert_close(module.params, before)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: gru_jax.nnx.GRU.from_params(gru_jax.gru(), p[0][0]), ["params:", "[layer][direction]", "GRUParams"]),
        (lambda p: gru_jax.nnx.GRU.from_params(gru_jax.gru, p), ["cell:", "gru_jax.gru()"]),
        (lambda p: gru_jax.nnx.GRU.from_params(gru_jax.gru(), (p[0], p[0])), ["params[1][0]:", "4", "2"]),
        (lambda p: gru_jax.nnx.GRU.from_params(gru_jax.lstm(), p), ["LSTMParams", "GRUParams"]),
        (lambda p: gru_jax.linen.as_variables(3), ["params:", "[layer][direction]", "int"]),
        (lambda p: gru_jax.linen.as_params(3), ["variables:", "dict", "int"]),
        (
            lambda p: gru_jax.linen.as_params({"params": {"rnn": {}, "dense": {}}}),
            ["variables:", "layer_0", "dense, rnn", "['dense']"],
        ),
        (
            lambda p: gru_jax.linen.as_params(gru_jax.linen.as_variables(p), cell=gru_jax.min_gru()),
            ["params['layer_0']['forward']:", "b_i, w_i", "b_h, b_i, w_h, w_i"],
        ),
        (
            lambda p: gru_jax.linen.GRU(3).apply(gru_jax.linen.as_variables(p), XS),
            ["params['layer_0']['forward']['w_i']:", "(2, 9)", "(2, 12)", "features"],
        ),
        (
            lambda p: gru_jax.linen.GRU(H, num_layers=2).apply(gru_jax.linen.as_variables(p), XS),
            ["params:", "layer_0, layer_1", "got layer_0", "layers"],
        ),
    ],
)
def test_weights_that_do_not_fit_are_named(make, words):
    with refused((TypeError, ValueError), words):
        make(layers(gru_jax.gru(), H))


@pytest.mark.parametrize(("use_bias", "names"), [(False, ["w_h", "w_i"]), ("input", ["b_i", "w_h", "w_i"])])
def test_a_bias_that_is_not_there_has_no_parameter(use_bias, names):
    cell = gru_jax.gru(use_bias=use_bias)
    module = gru_jax.nnx.GRU(I, H, cell=cell, rngs=nnx.Rngs(0))
    tree = nnx.to_pure_dict(nnx.state(module, nnx.Param))
    assert sorted(tree["layer_0"]["forward"]) == names
    model = gru_jax.linen.GRU(H, cell=cell)
    assert sorted(model.init(KEY, XS)["params"]["layer_0"]["forward"]) == names
    assert_close(model.apply({"params": tree}, XS), expected(cell, module.params))
    assert_close(module(XS), expected(cell, module.params))
    back = gru_jax.linen.as_params({"params": tree}, cell=cell)
    assert back[0][0].b_h is None
    gradients = nnx.grad(lambda module: jnp.sum(module(XS)[1]))(module)
    assert sorted(nnx.to_pure_dict(gradients)["layer_0"]["forward"]) == names
    # Params without a bias make a module without it, whatever the cell's own begin with.
    assert jax.tree.structure(gru_jax.nnx.GRU.from_params(gru_jax.gru(), back).params) == jax.tree.structure(back)
    for other, stored in (
        (gru_jax.linen.GRU(H), tree),
        (model, gru_jax.linen.as_variables(layers(gru_jax.gru(), H))["params"]),
    ):
        with pytest.raises(ValueError, match=r"params\['layer_0'\]\['forward'\]: expected .*w_i.*biases"):
            other.apply({"params": stored}, XS)


LINEN_BOX = nn.with_partitioning(jax.nn.initializers.lecun_normal(), ("in", "gates"))
LOGICAL_BOX = nn.with_logical_partitioning(jax.nn.initializers.lecun_normal(), ("in", "gates"))
NNX_BOX = nnx.with_partitioning(jax.nn.initializers.lecun_normal(), ("in", "gates"))
BIAS_BOX = nn.with_partitioning(jax.nn.initializers.zeros, ("gates",))
SPECS = {"w_i": ("in", "gates"), "w_h": ("in", "gates"), "b_i": ("gates",), "b_h": ("gates",)}


def specs(tree):
    return {name: tuple(spec) for name, spec in tree["layer_0"]["forward"].items()}


@pytest.mark.parametrize("init", [LINEN_BOX, LOGICAL_BOX, NNX_BOX], ids=["linen", "logical", "nnx"])
def test_names_of_axes_stay_on_the_weights_of_all_gates(init):
    cell = gru_jax.gru(kernel_init=init, recurrent_init=init, bias_init=BIAS_BOX, update_bias=1.0)
    # Functions see arrays, in whatever the initialiser puts them.
    assert cell.init(KEY, I, H).b_i[H] == 1.0
    model = gru_jax.linen.GRU(H, cell=cell)
    variables = model.init(KEY, XS)
    assert specs(nn.get_partition_spec(variables)["params"]) == SPECS
    assert specs(nn.get_partition_spec(jax.eval_shape(model.init, KEY, XS))["params"]) == SPECS
    assert_close(model.apply(variables, XS), model.apply(nn.meta.unbox(variables), XS))
    params = gru_jax.linen.as_params(variables, cell=cell)
    assert_close(model.apply(variables, XS), expected(cell, params))
    with nnx.use_eager_sharding(False):
        module = gru_jax.nnx.GRU(I, H, cell=cell, rngs=nnx.Rngs(0))
        shapes = nnx.eval_shape(lambda: gru_jax.nnx.GRU(I, H, cell=cell, rngs=nnx.Rngs(0)))
    for made in (module, shapes):
        assert specs(nnx.to_pure_dict(nnx.get_partition_spec(nnx.state(made, nnx.Param)))) == SPECS
    module.params = params
    assert_close(module(XS), expected(cell, params))
    assert specs(nnx.to_pure_dict(nnx.get_partition_spec(nnx.state(module, nnx.Param)))) == SPECS


def test_boxes_of_cells_and_encoder_decoders():
    cell = gru_jax.gru(kernel_init=LINEN_BOX)
    one = gru_jax.nnx.GRUCell(I, H, cell=cell, rngs=nnx.Rngs(0))
    assert one.w_i.get_metadata()["out_sharding"] == ("in", "gates")
    variables = gru_jax.linen.GRUCell(H, cell=cell).init(KEY, jnp.zeros((B, H)), XS[:, 0])
    assert variables["params"]["w_i"].names == ("in", "gates")
    whole = gru_jax.nnx.EncoderDecoder(I, I, H, 7, cell=cell, rngs=nnx.Rngs(0))
    assert whole.decoder["layer_0"]["forward"]["w_i"].get_metadata()["out_sharding"] == ("in", "gates")
    tree = gru_jax.linen.EncoderDecoder(H, 7, cell=cell).init(KEY, XS, XS)["params"]
    assert tree["encoder"]["layer_0"]["forward"]["w_i"].names == ("in", "gates")


class Inner(NamedTuple):
    w: jax.Array
    b: list


class Nested(NamedTuple):
    inner: Inner
    decay: jax.Array


def nested_init(key, in_features, features, dtype=jnp.float32):
    w = jax.random.normal(key, (in_features, features), dtype)
    return Nested(Inner(w, [jnp.zeros(features, dtype), jnp.ones(features, dtype)]), jnp.full(features, 0.5, dtype))


def beside(params, array):
    """Without promotion of ranks, which tests refuse."""
    return jnp.broadcast_to(params, array.shape)


def nested_project(params, x):
    g = x @ params.inner.w
    return g + beside(params.inner.b[0] + params.inner.b[1], g)


def nested_step(params, h, g):
    h = jnp.tanh(beside(params.decay, h) * h + g)
    return h, h


NESTED = gru_jax.Cell(
    name="nested",
    init=nested_init,
    carry=lambda params, batch_shape=(): jnp.zeros((*batch_shape, params.decay.shape[0]), jnp.float32),
    project=nested_project,
    step=nested_step,
)


def test_params_of_own_cells_may_nest():
    params = layers(NESTED, (3, H))
    module = gru_jax.nnx.GRU(I, (3, H), cell=NESTED, rngs=nnx.Rngs(0))
    module.params = params
    tree = nnx.to_pure_dict(nnx.state(module, nnx.Param))
    assert sorted(tree["layer_0"]["forward"]["inner"]) == ["b", "w"]
    model = gru_jax.linen.GRU((3, H), cell=NESTED)
    assert jax.tree.map(jnp.shape, model.init(KEY, XS)["params"]) == jax.tree.map(jnp.shape, tree)
    h = {1: np.zeros((B, 3)), 2: np.zeros((B, H))}
    for t in range(T):
        below = XS[:, t]
        for layer, (p,) in enumerate(params, start=1):
            h[layer] = below = np.tanh(0.5 * h[layer] + below @ np.asarray(p.inner.w) + 1.0)
    for carry, ys in (module(XS), model.apply({"params": tree}, XS), expected(NESTED, params)):
        assert_close(ys[:, -1], h[2], atol=2e-6)
        assert_close(carry[1][0], h[2], atol=2e-6)
    made = gru_jax.nnx.GRU.from_params(NESTED, params)
    assert (made.in_features, made.features) == (I, (3, H))
    assert_close(gru_jax.linen.as_params(gru_jax.linen.as_variables(params), cell=NESTED), params)
    cell = nn.RNN(gru_jax.linen.GRUCell(H, cell=NESTED))
    assert cell.apply(cell.init(KEY, XS), XS).shape == (B, T, H)
    assert nnx.RNN(gru_jax.nnx.GRUCell(I, H, cell=NESTED, rngs=nnx.Rngs(0)))(XS).shape == (B, T, H)


@pytest.mark.parametrize(
    "make",
    [
        lambda cell: gru_jax.nnx.GRU(I, H, cell=cell, rngs=nnx.Rngs(0)),
        lambda cell: gru_jax.linen.GRU(H, cell=cell).init(KEY, XS),
        lambda cell: gru_jax.nnx.GRUCell(I, H, cell=cell, rngs=nnx.Rngs(0)),
    ],
)
def test_own_cells_that_return_what_is_no_array_are_told(make):
    cell = NESTED.replace(init=lambda *args: nested_init(*args)._replace(decay=0.5))
    with pytest.raises(TypeError, match=r"cell: expected the init of 'nested' to return arrays, got float at .*decay"):
        make(cell)


def test_modules_are_copied_and_pickled():
    module = gru_jax.nnx.GRU(I, H, num_layers=2, dropout_rate=0.5, deterministic=True, rngs=nnx.Rngs(0))
    model = gru_jax.linen.GRU(H)
    for twin in (
        pickle.loads(pickle.dumps(module)),
        copy.deepcopy(module),
        nnx.clone(module),
        jax.tree.map(lambda x: x, module),
    ):
        assert_close(twin(XS), module(XS))
    assert pickle.loads(pickle.dumps(model)) == model
