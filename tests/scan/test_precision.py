"""Law 10: which dtype each part computes in, under strict promotion (set for every test)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gru_jax
from tests.cases import KINDS, H, assert_close, plain
from tests.throwaway_kernel import throwaway

T, B = 6, 3
HALF = [jnp.bfloat16, jnp.float16]


@pytest.mark.parametrize("case", KINDS, ids=str)
@pytest.mark.parametrize("params_dtype", [jnp.float32, "same"])
@pytest.mark.parametrize("dtype", HALF)
def test_half_precision_inputs(case, dtype, params_dtype):
    params = jax.tree.map(jnp.asarray, case.params(dtype=np.float32))
    if params_dtype == "same":
        params = jax.tree.map(lambda leaf: leaf.astype(dtype), params)
    xs = jnp.asarray(case.xs((T, B), dtype=np.float32)).astype(dtype)
    final, ys = case.scan(params, xs, seq_lengths=jnp.array([T, 3, 0]), resets=jnp.zeros((T, B), bool))
    assert ys.dtype == dtype
    assert {leaf.dtype for leaf in jax.tree.leaves(final)} == {jnp.dtype("float32")}
    wide = jax.tree.map(lambda leaf: np.asarray(leaf.astype(jnp.float32), np.float64), (tuple(params), xs))
    zeros = plain(jax.tree.map(np.zeros_like, case.carry((B,))))
    _, expected = case.run(*wide, zeros, np.arange(T)[:, None] < np.array([T, 3, 0]))
    # One rounding of weights, state and y each, of half a unit in the last place, through a few contracting steps.
    assert_close(ys.astype(jnp.float32), expected, atol=40 * float(jnp.finfo(dtype).eps))


@pytest.mark.parametrize("case", [case for case in KINDS if case.backend != throwaway.name], ids=str)
@pytest.mark.parametrize("dtype", HALF)
def test_matrix_products_take_half_and_accumulate_in_float32(case, dtype):
    params = jax.tree.map(jnp.asarray, case.params(dtype=np.float32))
    name = {"bfloat16": "bf16", "float16": "f16"}[jnp.dtype(dtype).name]
    program = jax.jit(lambda p, x: case.scan(p, x)).lower(params, jnp.ones((T, B, 2), dtype)).as_text()
    products = [line.split(" : ")[-1] for line in program.splitlines() if "stablehlo.dot_general" in line]
    assert products
    for operands, result in (product.split(" -> ") for product in products):
        assert operands.count(f"x{name}>") == 2
        assert result.endswith("xf32>")


@pytest.mark.parametrize("case", KINDS, ids=str)
@pytest.mark.parametrize("dtype", HALF)
def test_half_precision_gradients(case, dtype):
    params = jax.tree.map(jnp.asarray, case.params(dtype=np.float32))
    xs = jnp.asarray(case.xs((T, B), dtype=np.float32))

    def loss(params, xs):
        return jnp.mean(case.scan(params, xs)[1].astype(jnp.float32) ** 2)

    half = jax.grad(loss, argnums=(0, 1))(params, xs.astype(dtype))
    full = jax.grad(loss, argnums=(0, 1))(params, xs)
    assert jax.tree.map(lambda g: g.dtype, half[0]) == jax.tree.map(lambda p: p.dtype, params)
    assert half[1].dtype == dtype
    largest = max(float(jnp.max(jnp.abs(g))) for g in jax.tree.leaves(full))
    for a, b in zip(jax.tree.leaves(half), jax.tree.leaves(full), strict=True):
        assert_close(a.astype(jnp.float32), b, atol=20 * float(jnp.finfo(dtype).eps) * largest)


@pytest.mark.parametrize("case", KINDS, ids=str)
def test_half_precision_gradients_over_many_steps(case):
    """Hundreds of small terms, which a sum that is itself bfloat16 would lose."""
    params = jax.tree.map(lambda leaf: 0.3 * jnp.asarray(leaf), case.params(dtype=np.float32))
    xs = jnp.asarray(case.xs((512, 2), dtype=np.float32))
    run = jax.jit(jax.grad(lambda p, x: jnp.mean(case.scan(p, x)[1].astype(jnp.float32) ** 2)))
    for half, full in zip(run(params, xs.astype(jnp.bfloat16)), run(params, xs), strict=True):
        assert_close(half, full, atol=0.015 * float(jnp.max(jnp.abs(full))))


def test_float64_all_the_way(case, x64):
    final, ys = case.scan(case.params(), case.xs((T, B)))
    assert ys.dtype == jnp.float64
    assert {leaf.dtype for leaf in jax.tree.leaves(final)} == {jnp.dtype("float64")}


def test_numpy_float64_is_what_jax_makes_of_it_in_32_bits(case):
    """As everywhere in JAX: without 64 bits switched on, NumPy's float64 arrays are float32."""
    _, ys = case.scan(case.params(), case.xs((T, B)), case.carry((B,)))
    assert ys.dtype == jnp.float32
    assert ys.shape == (T, B, H)


@pytest.mark.parametrize("precision", ["highest", "high", jax.lax.Precision.HIGH])
def test_precision_reaches_every_product_of_the_gradient_too(precision):
    cell = gru_jax.gru()
    params = cell.init(jax.random.key(0), 2, 3)
    loss = lambda p, x: jnp.sum(gru_jax.scan(cell, p, x, precision=precision)[1])  # noqa: E731
    text = jax.jit(jax.grad(loss)).lower(params, jnp.ones((T, B, 2))).as_text()
    wanted = "HIGHEST" if precision == "highest" else "HIGH"
    products = [line for line in text.splitlines() if "stablehlo.dot_general" in line]
    assert len(products) >= 4
    assert all(f"precision = [{wanted}, {wanted}]" in line for line in products)


def test_bfloat16_arrays_of_numpy_are_those_of_jax():
    cell = gru_jax.gru()
    params = cell.init(jax.random.key(0), 2, 3, jnp.bfloat16)
    xs = jnp.linspace(-1, 1, T * B * 2, dtype=jnp.bfloat16).reshape(T, B, 2)
    of_numpy = jax.tree.map(np.asarray, (params, xs))
    for found, expected in zip(gru_jax.scan(cell, *of_numpy), gru_jax.scan(cell, params, xs), strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
