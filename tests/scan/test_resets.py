"""Law 4: sequences packed in one row with resets are the sequences run apart."""

import itertools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.cases import H, assert_close, in_64_bits, loose, relative_error
from tests.reference import complex_step

T = 6


def pieces(starts, reverse):
    """The packed sequences as slices, with whether each begins from the reset carry, in the order they are run."""
    bounds = [0, *(s for s in starts if s > 0), T]
    slices = [slice(a, b) for a, b in itertools.pairwise(bounds)]
    if reverse:
        return [(piece, k > 0) for k, piece in enumerate(slices[::-1])]
    return [(piece, k > 0 or 0 in starts) for k, piece in enumerate(slices)]


@pytest.mark.parametrize("reverse", [False, True])
@hypothesis.settings(max_examples=5)
@hypothesis.given(starts=st.sets(st.integers(0, T - 1)).map(sorted))
def test_packed_is_apart(kind, reverse, starts):
    """Values and gradients against the reference run on each sequence alone, by slicing, without a reset."""
    resets = np.isin(np.arange(T), starts)[:, None]
    with in_64_bits():
        arguments, weights = kind.problem(T, 1)
        values, gradients = kind.differentiated(with_resets=True, reverse=reverse)(arguments, weights, None, resets)

    def apart(params, xs, carry, restored):
        ys = np.zeros((T, 1, H), np.result_type(xs, *params, *np.atleast_1d(carry), *np.atleast_1d(restored)))
        for piece, fresh in pieces(starts, reverse):
            carry, ys[piece] = kind.run(params, xs[piece], restored if fresh else carry, reverse=reverse)
        return carry, ys

    flat, structure = jax.tree.flatten(arguments)

    def loss(*flat):
        params, xs, carry, restored = structure.unflatten(flat)
        final, ys = apart(tuple(params), xs, loose(carry), loose(restored))
        return np.sum(weights[0] * ys) + sum(
            np.sum(w * c) for w, c in zip(weights[1], jax.tree.leaves(final), strict=True)
        )

    params, xs, carry, restored = arguments
    assert_close(values, apart(tuple(params), xs, loose(carry), loose(restored)), atol=1e-12)
    expected = [complex_step(loss, flat, which) for which in range(len(flat))]
    assert relative_error(gradients, structure.unflatten(expected)) < 1e-11


@pytest.mark.parametrize("reverse", [False, True])
def test_nan_before_a_reset_does_not_survive_it(kind, reverse):
    params, clean = kind.params(dtype=np.float32), kind.xs((T, 2), dtype=np.float32)
    resets = np.zeros((T, 2), bool)
    resets[3, 0] = True
    # Forward, the sequence at steps 0..2 is left by the reset; in reverse the one at steps 3..6 is.
    dead, alive = (slice(3, T), slice(0, 3)) if reverse else (slice(0, 3), slice(3, T))
    xs = clean.copy()
    xs[dead, 0] = np.nan
    final, ys = kind.scan(params, xs, resets=resets, reverse=reverse)
    expected_final, expected = kind.scan(params, clean, resets=resets, reverse=reverse)
    assert np.all(np.isnan(ys[dead, 0]))
    assert_close(ys[alive], expected[alive])
    assert_close(final, expected_final)

    def loss(xs):
        return jnp.sum(kind.scan(params, xs, resets=resets, reverse=reverse)[1][alive])

    assert_close(jax.grad(loss)(xs)[alive], jax.grad(loss)(clean)[alive])


@pytest.mark.parametrize("reverse", [False, True])
def test_a_nan_carry_is_gone_after_a_reset_at_the_first_step_run(kind, reverse):
    params, xs = kind.params(dtype=np.float32), kind.xs((T, 1), dtype=np.float32)
    carry = jax.tree.map(lambda leaf: np.full_like(leaf, np.nan), kind.carry((1,), dtype=np.float32))
    resets = np.zeros((T, 1), bool)
    resets[0 if not reverse else T - 1] = True

    def loss(params, xs, carry):
        _, ys = kind.scan(params, xs, carry, resets=resets, reverse=reverse)
        return jnp.sum(ys[: T - 1] if reverse else ys)

    value, gradients = jax.value_and_grad(loss, argnums=(0, 1, 2))(params, xs, carry)
    assert np.isfinite(value)
    if not reverse:
        assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(gradients))
        assert not any(np.any(g) for g in jax.tree.leaves(gradients[2]))


@pytest.mark.parametrize("reverse", [False, True])
def test_no_gradient_crosses_a_reset(kind, reverse):
    params, xs = kind.params(dtype=np.float32), kind.xs((T, 2), dtype=np.float32)
    resets = np.zeros((T, 2), bool)
    resets[4, 0] = True

    def loss(xs, carry):
        ys = kind.scan(params, xs, carry, resets=resets, reverse=reverse)[1]
        return jnp.sum(ys[:4] if reverse else ys[4:])

    g_xs, g_carry = jax.grad(loss, argnums=(0, 1))(xs, kind.carry((2,), dtype=np.float32))
    dead = slice(4, T) if reverse else slice(0, 4)
    assert not np.any(g_xs[dead, 0])
    assert np.any(g_xs[dead, 1])
    assert not any(np.any(leaf[0]) for leaf in jax.tree.leaves(g_carry))


def test_resets_are_not_one_step_late(kind):
    """The step of the reset itself sees the reset carry."""
    params, xs = kind.params(dtype=np.float32), kind.xs((T, 1), dtype=np.float32)
    resets = np.zeros((T, 1), bool)
    resets[2] = True
    _, ys = kind.scan(params, xs, resets=resets)
    _, y = kind.cell(params, kind.cell.carry(params, batch_shape=(1,)), xs[2])
    assert_close(ys[2], y, atol=1e-6)


def test_one_reset_carry_serves_every_row(kind, x64):
    """A learned initial state, (H,) for all rows, gets the gradient of every reset."""
    params, xs, resets = kind.params(), kind.xs((T, 2)), np.zeros((T, 2), bool)
    resets[[0, 3], [0, 1]] = True
    one = jax.tree.map(lambda leaf: leaf[0], kind.carry((1,), seed=1))
    for_all = jax.tree.map(lambda leaf: np.broadcast_to(leaf, (2, H)), one)
    run = lambda restored: kind.scan(params, xs, resets=resets, reset_carry=restored)  # noqa: E731
    assert_close(run(one), run(for_all))
    shared = jax.grad(lambda c: jnp.sum(run(c)[1]))(one)
    apart = jax.grad(lambda c: jnp.sum(run(c)[1]))(for_all)
    assert_close(shared, jax.tree.map(lambda leaf: leaf.sum(0), apart), atol=1e-12)
