"""Weights of gru_jax's own modules: as modules, as states, as plain trees, and within others."""

import flax.linen as linen
import flax.nnx as nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gru_jax
import gru_jax.linen
import gru_jax.nnx
from gru_jax import interop

XS = jnp.ones((2, 5, 3))
CELLS = {
    "gru": gru_jax.gru(),
    "write": gru_jax.gru(reset_after=False, update_gate="write"),
    "relu": gru_jax.gru(activation=jax.nn.relu),
    "lstm": gru_jax.lstm(),
    "rnn": gru_jax.rnn(),
    "min_gru": gru_jax.min_gru(),
}


def same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    return jax.tree.all(jax.tree.map(np.array_equal, found, expected))


@pytest.mark.parametrize("name", CELLS)
def test_a_stack_as_module_state_and_tree(name):
    cell = CELLS[name]
    module = gru_jax.nnx.GRU(3, 4, num_layers=2, bidirectional=True, dropout_rate=0.5, cell=cell, rngs=nnx.Rngs(0))
    found, params = interop.from_nnx(module)
    assert found is cell
    assert same(params, module.params)
    state = nnx.state(module, nnx.Param)
    for tree in (state, nnx.to_pure_dict(state), {"params": nnx.to_pure_dict(state)}):
        for convert in (interop.from_nnx, interop.from_linen):
            found, params = convert(tree, cell=cell)
            assert found is cell
            assert same(params, module.params)


@pytest.mark.parametrize("name", CELLS)
def test_one_cell(name):
    cell = CELLS[name]
    module = gru_jax.nnx.GRUCell(3, 4, cell=cell, rngs=nnx.Rngs(0))
    expected = ((module.params,),)
    for given in (module, nnx.RNN(module)):
        found, params = interop.from_nnx(given)
        assert found is cell
        assert same(params, expected)
    assert same(interop.from_nnx(nnx.state(module), cell=cell)[1], expected)
    assert same(interop.from_linen({"params": {"cell": nnx.to_pure_dict(nnx.state(module))}}, cell=cell)[1], expected)


def test_variables_of_linen():
    module = gru_jax.linen.GRU(4, num_layers=2)
    variables = module.init(jax.random.key(0), XS)
    cell, params = interop.from_linen(variables)
    assert cell == gru_jax.gru()
    _, ys = gru_jax.scan_layers(cell, params, jnp.swapaxes(XS, 0, 1))
    np.testing.assert_array_equal(jnp.swapaxes(ys, 0, 1), module.apply(variables, XS)[1])
    write = gru_jax.linen.GRU(4, cell=CELLS["write"])
    bound = write.bind(write.init(jax.random.key(0), XS))
    assert interop.from_linen(bound)[0] is CELLS["write"]


def test_within_a_larger_model():
    class Model(nnx.Module):
        def __init__(self):
            self.encoder = gru_jax.nnx.GRU(3, 4, num_layers=2, cell=CELLS["write"], rngs=nnx.Rngs(0))
            self.head = nnx.Linear(4, 2, rngs=nnx.Rngs(0))

    model = Model()
    with pytest.raises(ValueError, match="pass prefix='encoder'"):
        interop.from_nnx(model)
    cell, params = interop.from_nnx(model, prefix="encoder")
    assert cell is CELLS["write"]
    assert same(params, model.encoder.params)
    assert same(interop.from_nnx(nnx.state(model), prefix="encoder", cell=cell)[1], model.encoder.params)
    cells = [gru_jax.nnx.GRUCell(3, 4, rngs=nnx.Rngs(seed)) for seed in (0, 1)]
    both = nnx.Bidirectional(*map(nnx.RNN, cells))
    with pytest.raises(ValueError, match=r"pass prefix=\[\['forward_rnn/cell', 'backward_rnn/cell'\]\]"):
        interop.from_nnx(both)
    _, params = interop.from_nnx(both, prefix=[["forward_rnn/cell", "backward_rnn/cell"]])
    assert same(params, (tuple(cell.params for cell in cells),))


@pytest.mark.parametrize("use_bias", [False, "input"])
def test_trees_without_biases(use_bias):
    params = gru_jax.init_layers(gru_jax.gru(use_bias=use_bias), jax.random.key(0), 3, 4, num_layers=2)
    tree = {
        f"layer_{i}": {"forward": {name: leaf for name, leaf in own._asdict().items() if leaf is not None}}
        for i, (own,) in enumerate(params)
    }
    cell, found = interop.from_linen(tree)
    assert cell == gru_jax.gru(use_bias=use_bias)
    assert same(found, params)


TREE = nnx.to_pure_dict(nnx.state(gru_jax.nnx.GRU(3, 4, num_layers=2, bidirectional=True, rngs=nnx.Rngs(0)), nnx.Param))
LSTM = nnx.to_pure_dict(nnx.state(gru_jax.nnx.GRU(3, 4, cell=gru_jax.lstm(), rngs=nnx.Rngs(0))))


def without(tree, *path):
    if len(path) == 1:
        return {key: value for key, value in tree.items() if key != path[0]}
    return tree | {path[0]: without(tree[path[0]], *path[1:])}


@pytest.mark.parametrize(
    ("tree", "options", "message"),
    [
        (LSTM, {}, r"layer_0/forward/w_i: expected shape \(I, 3H\), got \(3, 16\); .*cell="),
        (TREE, {"cell": gru_jax.lstm()}, r"layer_0/forward/w_\w: expected shape .*; .*cell="),
        (without(TREE, "layer_0"), {}, "layer_0/forward/w_.: expected this tensor, found none"),
        (without(TREE, "layer_1", "forward", "w_h"), {}, "layer_1/forward/w_h: expected this tensor, found none"),
        (TREE | {"head": TREE["layer_0"]["forward"]["w_i"]}, {}, "expected no such tensor|pass prefix"),
        (TREE, {"cell": "gru"}, "cell: expected a gru_jax.Cell, got str"),
        (TREE, {"cell": gru_jax.gru().replace(name="mine")}, "cell: expected one of gru, .* got 'mine'"),
    ],
)
def test_trees_that_do_not_fit(tree, options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        interop.from_linen(tree, **options)


def test_the_cell_of_a_module_is_its_own():
    module = gru_jax.nnx.GRU(3, 4, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="cell: expected that of the module"):
        interop.from_nnx(module, cell=gru_jax.lstm())
    with pytest.raises(ValueError, match="reverse: expected False"):
        interop.from_nnx(nnx.RNN(gru_jax.nnx.GRUCell(3, 4, rngs=nnx.Rngs(0)), reverse=True))


@pytest.mark.parametrize("kind", [gru_jax.nnx.GRU, gru_jax.nnx.GRUCell])
def test_a_dtype_that_weights_do_not_keep(kind):
    with pytest.raises(ValueError, match=r"^dtype: expected None or float32, as the weights are, got bfloat16"):
        interop.from_nnx(kind(3, 4, dtype=jnp.bfloat16, rngs=nnx.Rngs(0)))
    narrow = kind(3, 4, dtype=jnp.bfloat16, param_dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    assert jax.tree.leaves(interop.from_nnx(narrow)[1])[0].dtype == jnp.bfloat16


def test_boxes_of_our_own_trees_are_opened():
    boxed = jax.tree.map(lambda leaf: linen.Partitioned(leaf, (None,) * leaf.ndim), TREE)
    assert same(interop.from_linen(boxed)[1], interop.from_linen(TREE)[1])
