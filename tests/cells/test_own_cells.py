"""Cells of the user's own: params that nest, and mistakes in their functions, told like any other mistake."""

import pickle
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gru_jax
from tests.cases import EQUATIONS, H, I

XS = np.random.default_rng(0).normal(size=(4, 2, I)).astype(np.float32)


class Rates(NamedTuple):
    rise: jax.Array
    fall: jax.Array


class Params(NamedTuple):
    w: jax.Array
    rates: Rates


def init(key, in_features, features, dtype=jnp.float32):
    return Params(jax.random.normal(key, (in_features, features), dtype), Rates(*jnp.array([0.5, 0.25], dtype)))


def zeros(params, batch_shape=()):
    return jnp.zeros((*batch_shape, params.w.shape[-1]))


def project(params, x):
    return x @ params.w


def step(params, h, a):
    h = h + jnp.where(a > h, params.rates.rise, params.rates.fall) * (a - h)
    return h, h


CELL = gru_jax.Cell("follower", init, zeros, project, step)
PARAMS = init(jax.random.key(0), I, H)


def test_params_that_nest():
    w, (rise, fall) = jax.tree.map(np.asarray, PARAMS)
    h, expected = np.zeros((2, H)), []
    for x in XS:
        a = x @ w
        h = h + np.where(a > h, rise, fall) * (a - h)
        expected.append(h)
    np.testing.assert_allclose(gru_jax.scan(CELL, PARAMS, XS)[1], expected, atol=1e-6)
    stack = gru_jax.init_layers(CELL, jax.random.key(0), I, H, num_layers=2)
    _, y = gru_jax.step_layers(CELL, stack, gru_jax.carry_layers(CELL, stack, (2,)), XS[0])
    np.testing.assert_allclose(gru_jax.scan_layers(CELL, stack, XS[:1])[1][0], y, atol=1e-6)


MISTAKES = {
    "the state alone": (
        lambda p, h, a: h + a,
        TypeError,
        r"step: expected the pair \(carry, y\) from the cell 'follow",
    ),
    "three values": (lambda p, h, a: (h, h, h), TypeError, "step: .*got 3 values"),
    "a pair that is a state": (lambda p, h, a: Rates(h, a), TypeError, r"got Rates\(rise, fall\)"),
    "another carry": (lambda p, h, a: ((h, a), a), TypeError, "step: expected a new carry like the one that it got"),
    "another width": (lambda p, h, a: (h[..., :1], a), TypeError, "step: expected carry as it was.*float32"),
    "another dtype": (lambda p, h, a: (h.astype(jnp.bfloat16), a), TypeError, r"got bfloat16.*astype\(jnp.float32\)"),
    "no array": (lambda p, h, a: (h, (h, a)), TypeError, "step: expected y to be one array"),
    "no y": (lambda p, h, a: (h, None), TypeError, "step: expected y to be one array.*got"),
    "y of all rows": (lambda p, h, a: (h, h.sum(0)), ValueError, r"step: expected y to be floats of shape \(2, \.\.\."),
    "y of integers": (lambda p, h, a: (h, h.astype(int)), ValueError, "step: expected y to be floats"),
}


@pytest.mark.parametrize("name", MISTAKES)
@pytest.mark.parametrize("alone", [False, True])
def test_a_step_that_returns_something_else_is_told_so(name, alone):
    wrong, error, message = MISTAKES[name]
    cell = CELL.replace(step=wrong)
    with pytest.raises(error, match=message):
        cell(PARAMS, zeros(PARAMS, (2,)), XS[0]) if alone else gru_jax.scan(cell, PARAMS, XS)


def test_other_mistakes():
    with pytest.raises(TypeError, match=r"cell: expected carry of the cell .* to be a function"):
        gru_jax.scan(CELL.replace(carry=zeros(PARAMS)), PARAMS, XS)
    with pytest.raises(TypeError, match=r"cell: expected carry of .* to take batch_shape"):
        gru_jax.scan(CELL.replace(carry=lambda params: zeros(params)), PARAMS, XS)
    with pytest.raises(ValueError, match=r"cell: expected carry of .* to make leaves \(2, \.\.\.\), got \(3,\)"):
        gru_jax.scan(CELL.replace(carry=lambda params, batch_shape=(): zeros(params)), PARAMS, XS)
    with pytest.raises(TypeError, match=r"input_shape: expected a tuple of sizes .* got 2"):
        gru_jax.scan(CELL.replace(input_shape=lambda params: 2), PARAMS, XS)
    for project, found in ((lambda params, x: None, "none"), (lambda params, x: x.sum((0, 1)), "shapes")):
        with pytest.raises(ValueError, match=rf"project: expected arrays with the leading axes of x.*got {found}"):
            gru_jax.scan(CELL.replace(project=project), PARAMS, XS)


@pytest.mark.parametrize("name", ["gru", "lstm", "rnn", "min_gru", "gru_d"])
def test_params_restored_as_a_dict_are_told_how_to_become_params(name):
    cell = getattr(gru_jax, name)()
    params = cell.init(jax.random.key(0), I, H)
    kind = type(params).__name__
    with pytest.raises(TypeError, match=rf"params: expected {kind} .*got dict with its fields; write {kind}\(\*\*par"):
        gru_jax.scan(cell, params._asdict(), XS)


@pytest.mark.parametrize("cell", [cell for _, cell, _ in EQUATIONS] + [gru_jax.gru_d(), CELL], ids=str)
def test_cells_pickle(cell):
    """Equal, so that worker processes share compiled programs; and told without addresses."""
    again = pickle.loads(pickle.dumps(cell))
    assert again == cell
    assert hash(again) == hash(cell)
    assert " at 0x" not in repr(cell)
    for leaf, other in zip(
        *(jax.tree.leaves(c.init(jax.random.key(1), I, H)) for c in (cell, again)),
        strict=True,
    ):
        np.testing.assert_array_equal(leaf, other)


def test_equal_cells_share_a_program():
    """One that went through pickle does not compile again."""
    run = jax.jit(lambda cell, params, xs: gru_jax.scan(cell, params, xs)[1], static_argnums=0)
    cell = gru_jax.gru(activation=jax.nn.relu)
    params = cell.init(jax.random.key(0), I, H)
    run(cell, params, XS)
    run(pickle.loads(pickle.dumps(cell)), params, XS)
    assert run._cache_size() == 1
