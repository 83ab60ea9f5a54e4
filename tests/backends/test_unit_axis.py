"""An axis of size 1 comes and goes, and vmap leaves the mapped axis where it is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gru_jax._backends.unit_axis import add_axis, drop_axis

X = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32))


@pytest.mark.parametrize("axis", range(4))
def test_it_is_expand_dims_and_squeeze(axis):
    wide = add_axis(X, axis)
    assert np.array_equal(wide, jnp.expand_dims(X, axis))
    assert np.array_equal(drop_axis(wide, axis), X)


@pytest.mark.parametrize("mapped", range(3))
@pytest.mark.parametrize("axis", range(3))
def test_vmap_maps_each_part(axis, mapped):
    expected = jax.vmap(lambda x: jnp.expand_dims(x, axis), mapped)(X)
    found = jax.vmap(lambda x: add_axis(x, axis), mapped)(X)
    assert np.array_equal(found, expected)
    for at in range(4):
        moved = jnp.moveaxis(expected, 0, at)
        assert np.array_equal(jax.vmap(lambda x: drop_axis(x, axis), at)(moved), jnp.moveaxis(X, mapped, 0))


def test_vmap_moves_nothing():
    for mapped in range(3):
        program = str(jax.make_jaxpr(jax.vmap(lambda x: drop_axis(add_axis(x, 1), 1), mapped, mapped))(X))
        assert "transpose" not in program


def test_derivatives_of_all_orders():
    for function in (lambda x: add_axis(x, 1) ** 3, lambda x: drop_axis(jnp.expand_dims(x, 2), 2) ** 3):
        value = lambda x, function=function: jnp.sum(function(x))  # noqa: E731
        assert np.allclose(jax.grad(value)(X), 3 * X**2)
        assert np.allclose(jax.jvp(jax.grad(value), (X,), (X,))[1], 6 * X**2)
        assert np.allclose(jax.grad(lambda x, value=value: jnp.sum(jax.grad(value)(x) * x))(X), 9 * X**2)
