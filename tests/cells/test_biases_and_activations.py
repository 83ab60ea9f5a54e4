"""Absent biases and other activations: the same laws, on every backend, against the NumPy reference."""

import functools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gru_jax
from tests import reference
from tests.cases import Case, H, I, relative_error

T, B = 5, 2
LENGTHS = np.array([5, 3])
RESETS = np.array([[0, 0, 1, 0, 0], [0, 1, 0, 0, 0]], bool).T


def bump(p):
    """A gate that nobody has, and that grows and falls."""
    return 1 / (1 + p * p)


FORMS = {
    "no bias": ({"use_bias": False}, {}),
    "input bias": ({"use_bias": "input"}, {}),
    "other functions": (
        {"activation": jnp.sin, "gate_activation": bump},
        {"activation": np.sin, "gate_activation": bump},
    ),
    "both": (
        {"activation": jnp.arctan, "gate_activation": jnp.cos, "use_bias": "input"},
        {"activation": np.arctan, "gate_activation": np.cos},
    ),
}


@pytest.fixture(params=["scan", "fused"])
def backend(request):
    return request.param


@pytest.fixture(params=FORMS)
def form(request):
    return request.param


@pytest.fixture(params=[("keep", True), ("write", False)], ids=["after-keep", "before-write"])
def equations(request):
    return {"update_gate": request.param[0], "reset_after": request.param[1]}


def case_of(form, equations, backend):
    options, functions = FORMS[form]
    step = functools.partial(reference.gru_step, **equations, **functions)
    return Case(form, gru_jax.gru(**options, **equations), step, backend)


def some_params(use_bias, dtype=np.float64):
    rng = np.random.default_rng(3)
    w_i, w_h, b_i, b_h = (rng.normal(scale=0.7, size=s).astype(dtype) for s in ((I, 3 * H), (H, 3 * H), 3 * H, 3 * H))
    return gru_jax.GRUParams(w_i, w_h, b_i if use_bias else None, b_h if use_bias is True else None)


def test_values_and_gradients(form, equations, backend, x64):
    case = case_of(form, equations, backend)
    params = some_params(FORMS[form][0].get("use_bias", True))
    xs, carry, restored = case.xs((T, B)), *(np.full((B, H), value) for value in (0.3, -0.4))
    weights = np.random.default_rng(5).normal(size=(T, B, H))
    there = [name for name, leaf in params._asdict().items() if leaf is not None]

    def loss(params, xs, carry, restored, run):
        final, ys = run(params, xs, carry, restored)
        return (weights * ys).sum() + final.sum()

    def ours(params, xs, carry, restored):
        return case.scan(params, xs, carry, seq_lengths=LENGTHS, resets=RESETS, reset_carry=restored)

    def theirs(*leaves):
        own = params._replace(**dict(zip(there, leaves, strict=False)))
        valid = np.arange(T)[:, None] < LENGTHS
        return loss(own, *leaves[len(there) :], lambda p, x, c, r: case.run(tuple(p), x, c, valid, RESETS, r))

    value, gradients = jax.jit(jax.value_and_grad(functools.partial(loss, run=ours), argnums=(0, 1, 2, 3)))(
        params, xs, carry, restored
    )
    leaves = [getattr(params, name) for name in there] + [xs, carry, restored]
    assert abs(value - theirs(*leaves)) < 1e-12
    expected = [reference.complex_step(theirs, leaves, which) for which in range(len(leaves))]
    assert relative_error(jax.tree.leaves(gradients), expected) < 1e-11


@pytest.mark.parametrize("form", ["other functions", "both"])
def test_second_derivatives_are_those_of_scan(form, equations, x64):
    """Whose own second derivatives are JAX's."""
    params, xs = some_params(FORMS[form][0].get("use_bias", True)), case_of(form, equations, "scan").xs((T, B))
    direction = jax.tree.map(lambda p: np.cos(np.arange(p.size)).reshape(p.shape), params)

    def curvature(backend):
        cell = case_of(form, equations, backend).cell
        value = lambda p: jnp.sum(gru_jax.scan(cell, p, xs, backend=backend)[1] ** 2)  # noqa: E731
        return jax.jit(lambda p: jax.jvp(jax.grad(value), (p,), (direction,))[1])(params)

    assert relative_error(curvature("fused"), curvature("scan")) < 1e-10


@pytest.mark.parametrize("use_bias", [True, "input", False])
def test_init_makes_the_biases_that_are_asked_for(use_bias):
    cell = gru_jax.gru(use_bias=use_bias)
    params = cell.init(jax.random.key(0), I, H)
    assert (params.b_i is None, params.b_h is None) == (use_bias is False, use_bias is not True)
    whole = gru_jax.gru().init(jax.random.key(0), I, H)
    np.testing.assert_array_equal(params.w_i, whole.w_i)
    np.testing.assert_array_equal(params.w_h, whole.w_h)


@pytest.mark.parametrize("use_bias", [False, "input"])
def test_any_cell_takes_params_without_biases(use_bias, backend):
    """None counts as 0, in a stack, in single steps and under half precision."""
    cell, params = gru_jax.gru(), some_params(use_bias, np.float32)
    zeros = params._replace(**{k: np.zeros(3 * H, np.float32) for k in ("b_i", "b_h") if getattr(params, k) is None})
    xs = np.ones((T, B, I), np.float32)
    for x in (xs, xs.astype(jnp.bfloat16)):
        found, expected = (gru_jax.scan_layers(cell, ((p,),), x, backend=backend) for p in (params, zeros))
        np.testing.assert_allclose(found[0][0][0], expected[0][0][0], atol=1e-6)
    carry = gru_jax.carry_layers(cell, ((params,),), (B,))
    steps = [gru_jax.step_layers(cell, ((p,),), carry, xs[0])[1] for p in (params, zeros)]
    np.testing.assert_allclose(*steps, atol=1e-6)


def test_equal_functions_make_equal_cells():
    make = lambda: gru_jax.gru(activation=jax.nn.relu, gate_activation=jax.nn.hard_sigmoid)  # noqa: E731
    assert make() is make()
    assert make() == pickle.loads(pickle.dumps(make()))
    assert pickle.loads(pickle.dumps(gru_jax.gru(activation=bump))).options.activation is bump


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"use_bias": "both"}, ValueError, r"use_bias: expected True .*'both'"),
        ({"use_bias": None}, ValueError, r"use_bias: expected True"),
        ({"use_bias": False, "update_bias": 1.0}, ValueError, r"update_bias: expected none with use_bias=False"),
        ({"use_bias": False, "chrono_span": 9}, ValueError, r"chrono_span: expected none with use_bias=False"),
        ({"activation": "relu"}, TypeError, r"activation: expected a hashable function .*'relu'.*jax.nn.relu"),
        ({"activation": jax.nn.softmax}, TypeError, r"activation: .*each number alone"),
        (
            {"activation": lambda p: p / (1 + jnp.abs(p).max())},
            ValueError,
            r"activation: .*does reduce_max over several",
        ),
        ({"activation": lambda p: p - p.mean()}, ValueError, r"activation: .*does reduce_sum over several"),
        ({"gate_activation": jnp.sum}, ValueError, r"gate_activation: expected a function that keeps shape and dtype"),
        ({"activation": lambda p: p > 0}, ValueError, r"activation: expected a function that keeps shape and dtype"),
    ],
)
def test_what_does_not_fit_is_named(options, error, message):
    with pytest.raises(error, match=message):
        gru_jax.gru(**options)
