"""Law 3: padding does not exist."""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.cases import FEW, I, assert_close, in_64_bits, relative_error

T, B = 5, 3
lengths_strategy = st.lists(st.integers(0, T), min_size=B, max_size=B)
mask_strategy = st.lists(st.lists(st.booleans(), min_size=B, max_size=B), min_size=T, max_size=T)
garbage_strategy = st.sampled_from([np.nan, np.inf, -np.inf, 1e30])


@pytest.mark.parametrize("reverse", [False, True])
@hypothesis.settings(max_examples=4)
@hypothesis.given(lengths=lengths_strategy, garbage=garbage_strategy)
def test_lengths_are_the_rows_alone(kind, reverse, lengths, garbage):
    """Values and gradients against the reference, which never touches the padding."""
    valid = np.arange(T)[:, None] < np.array(lengths)
    with in_64_bits():
        check(kind, kind.differentiated("seq_lengths", reverse=reverse), np.array(lengths), valid, garbage, reverse)


@pytest.mark.parametrize("reverse", [False, True])
@hypothesis.settings(max_examples=4)
@hypothesis.given(mask=mask_strategy, garbage=garbage_strategy)
def test_a_mask_is_the_rows_without_their_holes(kind, reverse, mask, garbage):
    with in_64_bits():
        check(kind, kind.differentiated("mask", reverse=reverse), np.array(mask), np.array(mask), garbage, reverse)


def check(case, run, padding, valid, garbage, reverse):
    """A compiled run with garbage in its padding against the reference."""
    (params, xs, carry, restored), weights = case.problem(T, B)
    padded = np.where(valid[..., None], xs, garbage)
    values, gradients = run((params, padded, carry, restored), weights, padding)
    expected_values, expected_gradients = case.expected((params, xs, carry, restored), weights, valid, reverse=reverse)
    assert_close(values, expected_values, atol=1e-12)
    assert relative_error(gradients, expected_gradients) < 1e-11
    assert not np.any(np.asarray(values[1])[~valid])
    assert not np.any(np.asarray(gradients[1])[~valid])


@pytest.mark.parametrize("reverse", [False, True])
@hypothesis.settings(max_examples=4)
@hypothesis.given(mask=mask_strategy, starts=mask_strategy)
def test_resets_in_and_beside_the_padding(case, reverse, mask, starts):
    valid, resets = np.array(mask), np.array(starts)
    with in_64_bits():
        arguments, weights = case.problem(T, B)
        run = case.differentiated("mask", with_resets=True, reverse=reverse)
        values, gradients = run(arguments, weights, valid, resets)
        expected_values, expected_gradients = case.expected(arguments, weights, valid, resets, reverse)
    assert_close(values, expected_values, atol=1e-12)
    assert relative_error(gradients, expected_gradients) < 1e-11


def test_a_row_of_length_zero_returns_its_initial_carry_to_the_bit(kind):
    params, xs = kind.params(dtype=np.float32), np.full((T, B, I), np.nan, np.float32)
    carry = kind.carry((B,), dtype=np.float32)
    for reverse in (False, True):
        final, ys = kind.scan(params, xs, carry, seq_lengths=np.zeros(B, np.int32), reverse=reverse)
        assert_close(final, carry)
        assert not np.any(ys)


@pytest.mark.parametrize("garbage", [np.nan, np.inf])
def test_a_bad_state_beside_padding_reaches_no_gradient(kind, garbage):
    """Row 0 is padding first and starts anew at its first step; row 1 has length 0; both begin from a bad state."""
    params, xs = kind.params(dtype=np.float32), kind.xs((T, 2), dtype=np.float32)
    mask = np.array([[0, 1, 1, 1, 1], [0] * 5], bool).T
    resets = np.eye(T, 2, -1, bool)

    def loss(params, xs, carry, mask, resets):
        return jnp.sum(kind.scan(params, xs, carry, mask=mask, resets=resets)[1])

    bad = jax.tree.map(lambda leaf: np.full_like(leaf, garbage), kind.carry((2,), dtype=np.float32))
    value, gradients = jax.value_and_grad(loss, argnums=(0, 1, 2))(params, xs, bad, mask, resets)
    good = jax.tree.map(np.zeros_like, bad)
    expected_value, expected = jax.value_and_grad(loss, argnums=(0, 1, 2))(params, xs, good, mask, resets)
    assert_close((value, gradients[:2]), (expected_value, expected[:2]), atol=1e-6)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradients[2]))


@pytest.mark.parametrize("case", FEW, ids=str)
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32])
def test_narrow_integer_lengths_on_long_sequences(case, dtype):
    params, xs = case.params(dtype=np.float32), case.xs((300, 1), dtype=np.float32)
    final, ys = case.scan(params, xs, seq_lengths=np.array([100], dtype))
    assert_close(ys[99], jax.tree.leaves(final)[0])
    assert np.all(ys[:100].any(axis=-1))
    assert not np.any(ys[100:])


def test_lengths_beyond_the_end_are_clamped_under_jit(kind):
    params, xs = kind.params(dtype=np.float32), kind.xs((T, 2), dtype=np.float32)
    run = jax.jit(lambda lengths: kind.scan(params, xs, seq_lengths=lengths))
    assert_close(run(np.array([T + 5, -3])), run(np.array([T, 0])))


def test_lengths_under_vmap(kind):
    params, xs = kind.params(dtype=np.float32), kind.xs((T, B), dtype=np.float32)
    lengths = np.array([2, T, 0])
    mapped = jax.vmap(lambda x, n: kind.scan(params, x, seq_lengths=n), (1, 0), (0, 1))(xs, lengths)
    assert_close(mapped, kind.scan(params, xs, seq_lengths=lengths), atol=1e-6)


@pytest.mark.parametrize("reverse", [False, True])
def test_nan_asked_of_a_row_of_padding_stays_in_that_row(kind, reverse, x64):
    """A loss that is NaN for a row of length 0 makes NaN of that row's carry gradient and of nothing else."""
    params, xs, carry, _ = kind.problem(4, 2)[0]

    def loss(params, xs, carry):
        final, ys = kind.scan(params, xs, carry, seq_lengths=jnp.array([4, 0]), reverse=reverse)
        asked = jnp.array([[1.0], [jnp.nan]])
        return jnp.sum(ys) + sum(jnp.sum(asked * leaf) for leaf in jax.tree.leaves(final))

    of_params, of_xs, of_carry = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(params, xs, carry)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves((of_params, of_xs)))
    assert all(np.all(np.isfinite(leaf[0])) for leaf in jax.tree.leaves(of_carry))
