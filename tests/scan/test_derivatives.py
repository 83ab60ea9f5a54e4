"""Laws 7 and 9: every kind of derivative, against complex step through the NumPy reference."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gru_jax
from tests.cases import KINDS, relative_error

T, B = 5, 2


@pytest.mark.parametrize("options", [{}, {"reverse": True}])
def test_gradients_are_those_of_the_equations(case, options, x64):
    check_gradients(case, options)


@pytest.mark.parametrize("options", [{"remat": 2}, {"remat": 2, "reverse": True}, {"unroll": 3}])
def test_gradients_are_the_same_however_the_loop_is_compiled(kind, options, x64):
    check_gradients(kind, options)


def check_gradients(case, options):
    arguments, weights = case.problem(T, B)
    values, gradients = case.differentiated(**options)(arguments, weights)
    expected = case.expected(arguments, weights, reverse=options.get("reverse", False))
    assert relative_error(values, expected[0]) < 1e-12
    assert relative_error(gradients, expected[1]) < 1e-11


def test_gradients_in_float32(case):
    arguments, weights = case.problem(T, B, np.float32)
    _, gradients = case.differentiated()(arguments, weights)
    wide = jax.tree.map(lambda leaf: leaf.astype(np.float64), (arguments, weights))
    _, expected = case.expected(*wide)
    assert relative_error(gradients, expected) < 1e-5


@pytest.mark.parametrize("remat", [None, 2])
def test_remat_with_masks_and_resets(kind, remat, x64):
    arguments, weights = kind.problem(T, B)
    valid = np.array([[1, 0, 1, 1, 0], [0, 1, 1, 0, 0]], bool).T
    resets = np.array([[1, 0, 0, 1, 0], [0, 0, 1, 1, 0]], bool).T
    run = kind.differentiated("mask", with_resets=True, remat=remat)
    expected = kind.expected(arguments, weights, valid, resets)
    assert relative_error(run(arguments, weights, valid, resets), expected) < 1e-11


def scalar(case, weights):
    """The one number whose derivatives are compared; of params, xs and carry."""

    def loss(arguments):
        params, xs, carry = arguments
        final, ys = case.scan(params, xs, carry)
        seen = [jnp.sum(w * c) for w, c in zip(weights[1], jax.tree.leaves(final), strict=True)]
        return jnp.sum(weights[0] * ys) + sum(seen)

    return loss


def test_jvp_is_the_complex_step(case, x64):
    """One direction through everything: forward mode against one complex step along it."""
    (params, xs, carry, _), weights = case.problem(T, B)
    arguments = (params, xs, carry)
    rng = np.random.default_rng(1)
    tangent = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), arguments)
    value, slope = jax.jit(lambda a, t: jax.jvp(scalar(case, weights), (a,), (t,)))(arguments, tangent)
    moved = jax.tree.map(lambda a, t: a + 1e-30j * t, arguments, tangent)
    carry = tuple(moved[2]) if isinstance(moved[2], tuple) else moved[2]
    final, ys = case.run(tuple(moved[0]), moved[1], carry)
    expected = np.sum(weights[0] * ys) + sum(
        np.sum(w * c) for w, c in zip(weights[1], jax.tree.leaves(final), strict=True)
    )
    assert value == pytest.approx(expected.real, rel=1e-12)
    assert slope == pytest.approx(expected.imag / 1e-30, rel=1e-11)


def test_hessian_vector_products_are_the_difference_of_reference_gradients(case, x64):
    """Forward over reverse and reverse over reverse, against central differences of complex-step gradients."""
    (params, xs, carry, restored), weights = case.problem(3, 1)
    arguments = (params, xs, carry)
    rng = np.random.default_rng(1)
    direction = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), arguments)
    loss = scalar(case, weights)

    @jax.jit
    def products(arguments, direction):
        over = jax.jvp(jax.grad(loss), (arguments,), (direction,))[1]
        dot = lambda a: sum(map(jnp.vdot, jax.tree.leaves(jax.grad(loss)(a)), jax.tree.leaves(direction)))  # noqa: E731
        return over, jax.grad(dot)(arguments)

    def gradient(step):
        at = jax.tree.map(lambda a, d: a + step * d, arguments, direction)
        return case.expected((*at, restored), weights)[1][:3]

    h = 1e-4
    fine, coarse = (
        jax.tree.map(lambda up, down, h=h: (up - down) / (2 * h), gradient(h), gradient(-h)) for h in (h, 2 * h)
    )
    expected = jax.tree.map(lambda f, c: (4 * f - c) / 3, fine, coarse)
    for product in products(arguments, direction):
        assert relative_error(product, expected) < 1e-9


@pytest.mark.parametrize("case", KINDS, ids=str)
def test_hessian_and_vmapped_derivatives(case, x64):
    """jax.hessian is symmetric and its products are the HVP; vmap of grad and of jvp are loops over rows."""
    (params, xs, carry, _), weights = case.problem(3, 1)
    loss = lambda x: scalar(case, weights)((params, x, carry))  # noqa: E731
    hessian = jax.jit(jax.hessian(loss))(xs).reshape(xs.size, xs.size)
    assert np.max(np.abs(hessian - hessian.T)) < 1e-13
    direction = np.random.default_rng(2).normal(size=xs.shape)
    product = jax.jit(lambda x, d: jax.jvp(jax.grad(loss), (x,), (d,))[1])(xs, direction)
    assert relative_error(hessian @ direction.ravel(), np.ravel(product)) < 1e-12

    many = np.stack([xs, 2 * xs, xs[::-1]])
    gradient, slope = jax.jit(jax.grad(loss)), jax.jit(lambda x: jax.jvp(loss, (x,), (direction,))[1])
    assert relative_error(jax.jit(jax.vmap(jax.grad(loss)))(many), np.stack([gradient(x) for x in many])) < 1e-13
    assert relative_error(jax.jit(jax.vmap(slope))(many), np.stack([slope(x) for x in many])) < 1e-13


def temporary(loss, *arguments):
    """Temporary bytes of a training step, as the compiler reports them."""
    return jax.jit(jax.grad(loss)).lower(*arguments).compile().memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize("backend", ["scan", "fused"])
def test_remat_keeps_the_square_root_of_the_activations(backend):
    """O(T/k + k): with k = sqrt(T), four times the steps need twice the memory, and a bound by formula holds."""
    B, H = 4, 32
    cell = gru_jax.gru()
    params = cell.init(jax.random.key(0), 8, H)

    def bytes_of(steps, remat):
        # Of the last state alone, since ys itself would be O(T); so are the inputs, which are an argument.
        loss = lambda p, x: jnp.sum(gru_jax.scan(cell, p, x, remat=remat, backend=backend)[0] ** 2)  # noqa: E731
        return temporary(loss, params, jnp.ones((steps, B, 8)))

    small, large = bytes_of(1024, 32), bytes_of(4096, 64)
    assert large < 2.3 * small
    state = 4 * B * H
    weights = 4 * sum(leaf.size for leaf in params)
    for found, steps, k in ((small, 1024, 32), (large, 4096, 64)):
        assert found < (steps / k + 24 * k) * state + 8 * weights
    assert large < 0.25 * bytes_of(4096, None)


def test_fused_needs_less_memory_than_autodiff():
    cell = gru_jax.gru()
    params, xs = cell.init(jax.random.key(0), 16, 64), jnp.ones((2048, 16, 16))
    scan, fused = (
        temporary(lambda p, x, b=b: jnp.sum(gru_jax.scan(cell, p, x, backend=b)[1] ** 2), params, xs)
        for b in ("scan", "fused")
    )
    assert fused < 0.4 * scan
