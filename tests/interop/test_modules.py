"""What stands on a module beside its weights: converted, against what Flax computes with it, or refused by name."""

import flax.linen as linen
import flax.nnx as nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gru_jax
from gru_jax import interop
from tests.interop.weight_cases import run, worst

XS = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
TIME_MAJOR = np.moveaxis(XS, 0, 1)


def make(**options):
    return nnx.GRUCell(3, 4, rngs=nnx.Rngs(0), **options)


def swish(x):
    return x * jax.nn.sigmoid(x)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"activation_fn": jax.nn.relu},
        {"gate_fn": jax.nn.hard_sigmoid},
        {"activation_fn": swish, "gate_fn": lambda x: jax.nn.sigmoid(2 * x)},
    ],
)
def test_activations_are_those_of_the_module(options):
    module = make(**options)
    cell, params = interop.from_nnx(nnx.RNN(module))
    expected = nnx.RNN(module)(XS)
    assert worst(run(cell, params, TIME_MAJOR, None, backend="scan")[1], np.moveaxis(expected, 0, 1)) < 2e-6
    # The state says nothing of them, and the cell can be said.
    assert interop.from_nnx(nnx.state(module), cell=cell)[0].options == cell.options
    # And back, into a module that was made alike.
    other = nnx.GRUCell(3, 4, rngs=nnx.Rngs(1), **options)
    nnx.update(other, interop.to_nnx(cell, params))
    np.testing.assert_array_equal(nnx.RNN(other)(XS), expected)


class Doubles(nnx.GRUCell):
    """A cell whose weights look like a GRU's."""

    def __call__(self, carry, inputs):
        carry, y = super().__call__(carry, inputs)
        return 2 * carry, y


class DoublesOutputs(nnx.GRUCell):
    """The same in what it returns."""

    def __call__(self, carry, inputs):
        carry, y = super().__call__(carry, inputs)
        return carry, 2 * y


class NeedsMore(nnx.GRUCell):
    """A cell that nobody else can run."""

    def __call__(self, carry, inputs, time):
        return super().__call__(carry, time * inputs)


class Same(nnx.GRUCell):
    """A cell with another name."""


class Counts(nnx.GRUCell):
    """A cell that changes when it is run."""

    def __call__(self, carry, inputs):
        self.calls = nnx.Variable(getattr(self, "calls", 0) + 1)
        return super().__call__(carry, inputs)


def subclass(kind):
    return kind(3, 4, rngs=nnx.Rngs(0))


def changed(**attributes):
    module = make()
    for name, value in attributes.items():
        where = module
        *path, last = name.split("__")
        for part in path:
            where = getattr(where, part)
        setattr(where, last, value)
    return module


def doubled(*args, **options):
    return 2 * jax.lax.dot_general(*args, **options)


REFUSED = {
    "doubles": (
        lambda: subclass(Doubles),
        "a module that computes what a GRU of flax.nnx does, got Doubles, .* off by",
    ),
    "doubles outputs": (lambda: subclass(DoublesOutputs), "got DoublesOutputs, whose step is off by"),
    "needs more": (lambda: subclass(NeedsMore), "got NeedsMore, which fails when it is tried"),
    "dtype": (lambda: make(dtype=jnp.bfloat16), "^dtype: expected None or float32, as the weights are, got bfloat16"),
    "a map's dtype": (lambda: changed(dense_i__dtype=jnp.float16), "dense_i.dtype: expected None or float32"),
    "precision": (lambda: changed(dense_h__precision="highest"), "dense_h.precision: .* 'highest', .* to gru_jax.scan"),
    "product": (
        lambda: changed(dense_h__dot_general=doubled),
        "dense_h.dot_general: expected the default of .*, got .*doubled",
    ),
    "promotion": (lambda: make(promote_dtype=lambda a, **o: a), "promote_dtype: expected the default of flax.nnx, got"),
    "start": (lambda: changed(carry_init=nnx.initializers.ones), "carry_init: expected None or zeros, got .*ones"),
    "reverse": (lambda: nnx.RNN(make(), reverse=True), r"reverse: expected False, got True.*reverse=True\)"),
    "reverse, in order": (lambda: nnx.RNN(make(), reverse=True, keep_order=True), "reverse: expected False, got True"),
    "LSTM": (lambda: nnx.OptimizedLSTMCell(3, 4, rngs=nnx.Rngs(0)), "expected the keys of a GRU|LSTM"),
    "RNN": (lambda: nnx.SimpleCell(3, 4, rngs=nnx.Rngs(0)), "the weights of a plain RNN"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_weights_do_not_keep_is_refused_by_name(name):
    module, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        interop.from_nnx(module())


@pytest.mark.parametrize(
    "module",
    [
        lambda: make(dtype=jnp.float32),
        lambda: changed(carry_init=nnx.initializers.zeros),
        lambda: nnx.RNN(make(), time_major=True, return_carry=True, unroll=2, keep_order=True),
        lambda: subclass(Same),
    ],
)
def test_what_changes_no_number_is_taken(module):
    assert interop.from_nnx(module())[0] == gru_jax.gru(use_bias="input")


def test_a_module_stays_as_it_is():
    module = subclass(Counts)
    interop.from_nnx(module)
    assert not hasattr(module, "calls")


def two(**options):
    return nnx.Bidirectional(nnx.RNN(make()), nnx.RNN(nnx.GRUCell(3, 4, rngs=nnx.Rngs(1))), **options)


PAIR = [["forward_rnn/cell", "backward_rnn/cell"]]


@pytest.mark.parametrize("merge", [None, lambda a, b: jnp.concatenate([a, b], axis=-1)])
def test_two_directions(merge):
    module = two() if merge is None else two(merge_fn=merge)
    for prefix in (PAIR, [["forward_rnn", "backward_rnn"]]):
        cell, params = interop.from_nnx(module, prefix=prefix)
        ys = run(cell, params, TIME_MAJOR, None, backend="scan")[1]
        assert worst(ys, np.moveaxis(module(XS), 0, 1)) < 2e-6


@pytest.mark.parametrize("merge", [jnp.add, lambda a, b: jnp.concatenate([b, a], axis=-1)])
def test_two_directions_that_are_merged_otherwise(merge):
    with pytest.raises(ValueError, match="merge_fn: expected one that concatenates both directions, forward first"):
        interop.from_nnx(two(merge_fn=merge), prefix=PAIR)
    _, params = interop.from_nnx(two(merge_fn=merge), prefix="forward_rnn")
    assert params[0][0].w_h.shape == (4, 12)


def test_directions_in_the_wrong_order():
    with pytest.raises(ValueError, match="prefix: expected that of forward_rnn and then that of backward_rnn"):
        interop.from_nnx(two(), prefix=[PAIR[0][::-1]])


def test_layers_of_different_activations():
    class Model(nnx.Module):
        def __init__(self):
            self.one, self.other = make(), nnx.GRUCell(4, 4, activation_fn=jax.nn.relu, rngs=nnx.Rngs(0))

    with pytest.raises(ValueError, match="activation_fn, gate_fn: expected the same for all layers"):
        interop.from_nnx(Model(), prefix=["one", "other"])
    with pytest.raises(ValueError, match="cell: expected the activations of the module"):
        interop.from_nnx(Model(), prefix="one", cell=gru_jax.gru(activation=jax.nn.relu))


def test_cells_of_linen():
    module = linen.GRUCell(4, gate_fn=jax.nn.hard_sigmoid)
    carry, x = jnp.ones(4), jnp.asarray(XS[0, 0])
    variables = module.init(jax.random.key(0), carry, x)
    expected = module.apply(variables, carry, x)
    told = interop.from_linen(variables, cell=gru_jax.gru(gate_activation=jax.nn.hard_sigmoid))
    bound = interop.from_linen(module.bind(variables))
    bridged = nnx.bridge.lazy_init(nnx.bridge.ToNNX(module, rngs=nnx.Rngs(0)), carry, x)
    for cell, params in (told, bound):
        assert worst(cell(params[0][0], carry, x), expected) < 2e-6
    cell, params = interop.from_nnx(bridged)
    assert worst(cell(params[0][0], carry, x), bridged(carry, x)) < 2e-6
    with pytest.raises(TypeError, match="got GRUCell, which holds none; pass what its init returned"):
        interop.from_linen(module)
    with pytest.raises(ValueError, match=r"^dtype: expected None or float32"):
        interop.from_linen(linen.GRUCell(4, dtype=jnp.bfloat16).bind(variables))
    with pytest.raises(ValueError, match="cell: expected reset_after=True and update_gate='keep'"):
        interop.from_linen(variables, cell=gru_jax.gru(reset_after=False))
    with pytest.raises(TypeError, match=r"cell: expected gru_jax.gru.* got 'lstm'"):
        interop.from_linen(variables, cell=gru_jax.lstm())
    with pytest.raises(TypeError, match=r"cell: expected a gru_jax.Cell, got str"):
        interop.from_linen(variables, cell="gru")


class EquinoxCell:
    """What an `equinox.nn.GRUCell` has and computes."""

    def __init__(self, factor=1.0):
        rng = np.random.default_rng(0)
        self.weight_ih, self.weight_hh = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((12, 3), (12, 4)))
        self.factor = factor

    def __call__(self, x, h, *, key=None):
        i_r, i_z, i_n = jnp.split(self.weight_ih @ x, 3)
        h_r, h_z, h_n = jnp.split(self.weight_hh @ h, 3)
        r, z = jax.nn.sigmoid(i_r + h_r), jax.nn.sigmoid(i_z + h_z)
        n = jnp.tanh(i_n + r * h_n)
        return self.factor * (n + z * (h - n))


def test_modules_of_equinox_are_run():
    assert interop.from_equinox(EquinoxCell())[0] == gru_jax.gru(use_bias=False)
    with pytest.raises(ValueError, match="what a GRU of Equinox does, got EquinoxCell, whose step is off by"):
        interop.from_equinox(EquinoxCell(factor=1.1))


def test_boxes_are_opened():
    boxed = linen.with_partitioning(linen.initializers.lecun_normal(), (None, "model"))
    logical = linen.with_logical_partitioning(linen.initializers.normal(), ("hidden",))
    module = linen.GRUCell(4, kernel_init=boxed, recurrent_kernel_init=boxed, bias_init=logical)
    variables = module.init(jax.random.key(0), jnp.ones(4), jnp.ones(3))
    assert isinstance(variables["params"]["ir"]["kernel"], linen.Partitioned)
    back = interop.to_linen(*interop.from_linen(variables))
    assert jax.tree.all(jax.tree.map(np.array_equal, back, linen.meta.unbox(variables)["params"]))
    with jax.set_mesh(jax.make_mesh((1,), ("model",))):
        named = nnx.with_partitioning(nnx.initializers.lecun_normal(), (None, "model"))
        cell = make(kernel_init=named)
    for given in (cell, nnx.state(cell)):
        np.testing.assert_array_equal(interop.from_nnx(given)[1][0][0].w_i, cell.dense_i.kernel[...])
    alone = interop.from_haiku(
        {
            "gru": {
                "w_i": linen.Partitioned(np.ones((3, 12), np.float32), (None, None)),
                "w_h": np.ones((4, 12), np.float32),
                "b": np.ones(12, np.float32),
            }
        }
    )
    assert alone[1][0][0].w_i.shape == (3, 12)
