"""The laws of DESIGN.md section 5 for cells that read frames, or several arrays: both run on the same `scan`."""

import functools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gru_jax
from tests.cases import assert_close, in_64_bits, relative_error
from tests.input_cases import CONV, GRU_D, KINDS, leaves

T, B = 4, 2
# No padding and no resets, said by masks: so that programs compiled for others serve here too.
PLAIN = np.ones((T, B), bool), np.zeros((T, B), bool)
every_form = pytest.mark.parametrize("case", [*CONV, *GRU_D], ids=str)
each_kind = pytest.mark.parametrize("kind", KINDS, ids=str)
masks = st.lists(st.lists(st.booleans(), min_size=B, max_size=B), min_size=T, max_size=T)


def at(tree, index):
    return jax.tree.map(lambda leaf: leaf[index], tree)


def wrong_outside(valid, xs, garbage):
    """Inputs whose padding holds garbage in every float."""

    def spoil(leaf):
        here = valid.reshape(valid.shape + (1,) * (leaf.ndim - 2))
        return leaf if leaf.dtype == bool else np.where(here, leaf, garbage)

    return jax.tree.map(spoil, xs)


@every_form
def test_values_and_gradients_are_the_reference(case, x64):
    arguments, weights = case.problem(T, B)
    expected_values, expected_gradients = case.expected(arguments, weights)
    values, gradients = case.gradients(arguments, weights, *PLAIN, reverse=False)
    assert_close(values, expected_values, atol=1e-12)
    assert relative_error(gradients, expected_gradients) < 1e-11


@each_kind
def test_float32_is_close_to_the_reference(kind):
    params, xs, carry = kind.params(), kind.xs((T, B)), kind.carry((B,))
    narrow = jax.tree.map(lambda leaf: leaf if leaf.dtype == bool else leaf.astype(np.float32), (params, xs, carry))
    wide = jax.tree.map(lambda leaf: leaf if leaf.dtype == bool else leaf.astype(np.float64), narrow)
    assert_close(kind.scan(*narrow), kind.run(*wide), atol=2e-6)


@each_kind
@pytest.mark.parametrize("reverse", [False, True])
@hypothesis.settings(max_examples=3)
@hypothesis.given(mask=masks, starts=masks, garbage=st.sampled_from([np.nan, np.inf, 1e30]))
def test_padding_and_resets(kind, reverse, mask, starts, garbage):
    """Values and gradients; the reference never looks at the padding."""
    valid, resets = np.array(mask), np.array(starts)
    (params, xs, carry, restored), weights = kind.problem(T, B)
    expected = kind.expected((params, xs, carry, restored), weights, valid, resets, reverse)
    with in_64_bits():
        padded = (params, wrong_outside(valid, xs, garbage), carry, restored)
        values, gradients = kind.gradients(padded, weights, valid, resets, reverse=reverse)
    assert_close(values, expected[0], atol=1e-12)
    assert relative_error(gradients, expected[1]) < 1e-11


@each_kind
@pytest.mark.parametrize("reverse", [False, True])
def test_lengths_are_a_mask(kind, reverse, x64):
    params, xs, carry = kind.params(), kind.xs((T, B)), kind.carry((B,))
    lengths = np.array([3, 0])
    valid = np.arange(T)[:, None] < lengths
    padded = wrong_outside(valid, xs, np.nan)
    final, ys = kind.scan(params, padded, carry, seq_lengths=lengths, reverse=reverse)
    assert_close((final, ys), kind.run(params, xs, carry, valid, None, None, reverse), atol=1e-12)
    assert_close(at(final, 1), at(carry, 1))
    assert not np.any(np.asarray(ys)[~valid])


@each_kind
def test_a_reset_to_nothing_is_the_zero_carry_and_nan_does_not_survive_it(kind, x64):
    params, xs = kind.params(), kind.xs((T, B))
    bad = jax.tree.map(lambda leaf: np.full_like(leaf, np.nan), kind.carry((B,)))
    resets = np.zeros((T, B), bool)
    resets[[0, 2]] = True
    zeros = jax.tree.map(np.zeros_like, bad)
    expected = kind.run(params, xs, zeros, None, resets, zeros)
    assert_close(kind.scan(params, xs, bad, resets=resets), expected, atol=1e-12)


@each_kind
def test_stepping_is_scan_is_lax_scan_is_any_unroll_and_remat(kind, x64):
    params, xs, carry = kind.params(), kind.xs((T, B)), kind.carry((B,))
    scanned = kind.scan(params, xs, carry)
    state, ys, step = carry, [], jax.jit(kind.cell)
    for t in range(T):
        state, y = step(params, state, at(xs, t))
        ys.append(y)
    assert_close((state, jnp.stack(ys)), scanned, atol=1e-14)
    assert_close(jax.lax.scan(functools.partial(kind.cell, params), carry, xs), scanned, atol=1e-14)
    assert_close(kind.scan(params, xs, carry, unroll=3), scanned, atol=1e-14)
    arguments, weights = kind.problem(T, B)
    cut = kind.gradients(arguments, weights, *PLAIN, remat=3, reverse=True)
    whole = kind.gradients(arguments, weights, *PLAIN, reverse=True)
    assert_close(cut[0], whole[0], atol=1e-14)
    assert relative_error(cut[1], whole[1]) < 1e-13


@each_kind
@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_batch_axes_are_vmap_are_rows(kind, batch, x64):
    params, xs, carry = kind.params(), kind.xs((T, *batch)), kind.carry(batch)
    mapped = functools.partial(gru_jax.scan, kind.cell, params)
    for _ in batch:
        mapped = jax.vmap(mapped, in_axes=(1, 0), out_axes=(0, 1))
    final, ys = jax.tree.map(np.asarray, kind.scan(params, xs, carry))
    assert ys.shape == (T, *leaves(carry)[0].shape)
    assert_close(jax.jit(mapped)(xs, carry), (final, ys), atol=1e-14)
    for index in np.ndindex(batch):
        row = (slice(None), *index)
        alone = kind.run(params, at(xs, (*row, None)), at(carry, (*index, None)))
        assert_close((at(final, (*index, None)), ys[(*row, None)]), alone, atol=1e-12)


@each_kind
def test_vmap_over_params_is_an_ensemble(kind, x64):
    members = [kind.params(seed) for seed in range(2)]
    xs = kind.xs((T, B))

    def loss(params):
        return jnp.sum(gru_jax.scan(kind.cell, params, xs)[1] ** 2)

    together = jax.jit(jax.vmap(jax.value_and_grad(loss)))(jax.tree.map(lambda *p: np.stack(p), *members))
    gradient = jax.jit(jax.grad(loss))
    for i, member in enumerate(members):
        zeros = jax.tree.map(np.zeros_like, kind.carry((B,)))
        assert np.allclose(together[0][i], np.sum(kind.run(member, xs, zeros)[1] ** 2), rtol=1e-12)
        assert relative_error(at(together[1], i), gradient(member)) < 1e-12


@each_kind
def test_forward_mode_and_second_derivatives(kind, x64):
    """Of the gradient along a direction, against central differences of the gradient."""
    params, xs = kind.params(), kind.xs((T, B))
    direction = kind.params(5)

    @jax.jit
    def gradient(params):
        return jax.grad(lambda p: jnp.sum(gru_jax.scan(kind.cell, p, xs)[1] ** 2))(params)

    _, found = jax.jit(lambda p, d: jax.jvp(gradient, (p,), (d,)))(params, direction)
    moved = [gradient(jax.tree.map(lambda p, d, s=s: p + s * 1e-5 * d, params, direction)) for s in (1, -1)]
    assert relative_error(found, jax.tree.map(lambda a, b: (a - b) / 2e-5, *moved)) < 1e-7


@each_kind
def test_cutting_and_threading_the_carry_is_the_whole(kind, x64):
    params, xs, carry = kind.params(), kind.xs((T, B)), kind.carry((B,))
    whole = kind.scan(params, xs, carry)
    middle, first = kind.scan(params, at(xs, slice(0, 1)), carry)
    final, rest = kind.scan(params, at(xs, slice(1, T)), middle)
    assert_close((final, jnp.concatenate([first, rest])), whole, atol=1e-14)


@each_kind
@pytest.mark.parametrize(("steps", "batch"), [(0, (2,)), (3, (0,))])
def test_empty_inputs_give_empty_ys_and_the_initial_carry(kind, steps, batch):
    params, xs, carry = (
        kind.params(dtype=np.float32),
        kind.xs((steps, *batch), dtype=np.float32),
        kind.carry(batch, dtype=np.float32),
    )
    ones = np.ones((steps, *batch), bool)
    final, ys = kind.scan(params, xs, carry, mask=ones, resets=~ones, remat=2)
    assert ys.shape == (steps, *leaves(carry)[0].shape)
    if steps == 0:
        assert_close(final, carry)
    gradient = jax.jit(jax.grad(lambda p: jnp.sum(gru_jax.scan(kind.cell, p, xs, carry)[1])))(params)
    assert not any(np.any(leaf) for leaf in leaves(gradient))


@pytest.mark.parametrize(("kind", "dtype"), [(KINDS[0], jnp.bfloat16), (KINDS[1], jnp.float16)], ids=str)
def test_half_precision(kind, dtype):
    """Products take half and accumulate in float32, in both passes; the carry is float32, ys of the input's type."""

    def narrow(tree):
        return jax.tree.map(lambda leaf: leaf if leaf.dtype == bool else jnp.asarray(leaf, dtype), tree)

    params, xs = narrow(kind.params(dtype=np.float32)), narrow(kind.xs((T, B), dtype=np.float32))
    final, ys = kind.scan(params, xs, seq_lengths=np.array([T, 2]))
    assert ys.dtype == dtype
    assert {leaf.dtype for leaf in leaves(final)} == {jnp.dtype("float32")}
    wide = jax.tree.map(lambda leaf: leaf if leaf.dtype == bool else np.asarray(leaf, np.float64), (params, xs))
    wide = jax.tree.map(np.asarray, wide)
    zeros = jax.tree.map(np.zeros_like, kind.carry((B,)))
    _, expected = kind.run(*wide, zeros, np.arange(T)[:, None] < np.array([T, 2]))
    assert_close(ys.astype(jnp.float32), expected, atol=40 * float(jnp.finfo(dtype).eps))
    loss = lambda p: jnp.mean(gru_jax.scan(kind.cell, p, xs)[1].astype(jnp.float32) ** 2)  # noqa: E731
    text = str(jax.make_jaxpr(loss)(params))
    assert text.count("preferred_element_type=float32") == text.count("dot_general[") >= 2
    gradient = jax.jit(jax.grad(loss))
    half, full = gradient(params), gradient(kind.params(dtype=np.float32))
    assert {leaf.dtype for leaf in leaves(half)} == {jnp.dtype(dtype)}
    largest = max(float(jnp.max(jnp.abs(g))) for g in leaves(full))
    half = jax.tree.map(lambda g: g.astype(jnp.float32), half)
    assert_close(half, full, atol=20 * float(jnp.finfo(dtype).eps) * largest)


@each_kind
def test_equal_options_are_one_cell_and_a_second_call_does_not_recompile(kind):
    events = []

    def listen(event, *_, **__):
        if event.endswith("backend_compile_duration"):
            events.append(event)

    maker, options = (
        (gru_jax.gru_d, {})
        if kind.cell.name == "gru_d"
        else (gru_jax.conv_gru, {"image_shape": (2, 3), "kernel_shape": [3, 2]})
    )
    assert maker(**options) is maker(**options)
    params = kind.params(dtype=np.float32)
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        for seed in (1, 2):
            events.clear()
            cell = maker(**options, update_bias=float(seed))  # How params begin is no part of the program.
            xs = kind.xs((T, 7), seed, np.float32)
            jax.block_until_ready(gru_jax.scan(cell, params, xs, seq_lengths=np.full(7, seed)))
            assert bool(events) == (seed == 1)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


@each_kind
def test_auto_takes_scan_and_fused_refuses_by_name(kind):
    assert gru_jax.backend_for(kind.cell) == "scan"
    with pytest.raises(ValueError, match=rf'backend: "fused" cannot run the cell \'{kind.cell.name}\''):
        gru_jax.scan(kind.cell, kind.params(), kind.xs((T, B)), backend="fused")
