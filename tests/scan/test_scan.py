"""Laws 1, 2, 5, 6 and 11: what running over time means, against the reference and against itself cut up otherwise."""

import functools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gru_jax
from tests.cases import CASES, FEW, H, I, assert_close, in_64_bits, plain, relative_error

T, B = 6, 3


@pytest.mark.parametrize("reverse", [False, True])
def test_scan_is_the_reference(case, reverse, x64):
    params, carry, xs = case.params(), case.carry((B,)), case.xs((T, B))
    expected = case.run(params, xs, plain(carry), reverse=reverse)
    assert_close(case.scan(params, xs, carry, reverse=reverse), expected, atol=1e-12)


def test_scan_is_the_reference_in_float32(case):
    params, carry, xs = (
        case.params(dtype=np.float32),
        case.carry((B,), dtype=np.float32),
        case.xs((T, B), dtype=np.float32),
    )
    wide = jax.tree.map(lambda leaf: leaf.astype(np.float64), (params, xs, carry))
    assert_close(case.scan(params, xs, carry), case.run(*wide[:2], plain(wide[2])), atol=2e-6)


@pytest.mark.parametrize("case", FEW, ids=str)
@hypothesis.settings(max_examples=8)
@hypothesis.given(
    shape=st.tuples(*(st.integers(1, 6) for _ in range(4))),
    reverse=st.booleans(),
    remat=st.one_of(st.none(), st.integers(1, 7)),
    unroll=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_any_sizes_and_options(case, shape, reverse, remat, unroll, seed):
    steps, rows, in_features, features = shape
    rng = np.random.default_rng(seed)
    params = case.params(seed, in_features=in_features, features=features)
    carry = case.carry((rows,), seed, features=features)
    xs, valid, resets = rng.normal(size=(steps, rows, in_features)), *(rng.random((2, steps, rows)) < 0.6)
    restored = jax.tree.map(np.zeros_like, plain(carry))
    with in_64_bits():
        options = {"reverse": reverse, "remat": remat, "unroll": unroll}
        values = case.scan(params, xs, carry, mask=valid, resets=resets, **options)
    assert_close(values, case.run(params, xs, plain(carry), valid, resets, restored, reverse), atol=1e-12)


def test_no_carry_means_zeros(kind, x64):
    params, xs = kind.params(), kind.xs((T, B))
    zeros = plain(jax.tree.map(np.zeros_like, kind.carry((B,))))
    assert_close(kind.scan(params, xs), kind.run(params, xs, zeros), atol=1e-12)


@pytest.mark.parametrize("unroll", [1, 4, 50])
def test_stepping_is_scan_is_lax_scan_is_any_unroll(kind, unroll, x64):
    params, carry, xs = kind.params(), kind.carry((B,)), kind.xs((T, B))
    scanned = kind.scan(params, xs, carry, unroll=unroll)
    by_hand = jax.lax.scan(functools.partial(kind.cell, params), carry, xs)
    state, ys = carry, []
    for x in xs:
        state, y = kind.cell(params, state, x)
        ys.append(y)
    assert_close(scanned, by_hand, atol=1e-14)
    assert_close(scanned, (state, jnp.stack(ys)), atol=1e-14)


@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_batch_axes_are_vmap_are_a_loop_over_rows(kind, batch, x64):
    params, carry, xs = kind.params(), kind.carry(batch), kind.xs((T, *batch))
    final, ys = kind.scan(params, xs, carry)
    assert ys.shape == (T, *batch, H)
    mapped = lambda xs, carry: kind.scan(params, xs, carry)  # noqa: E731
    for _ in batch:
        mapped = jax.vmap(mapped, in_axes=(1, 0), out_axes=(0, 1))
    assert_close(mapped(xs, carry), (final, ys), atol=1e-14)
    for index in np.ndindex(batch):
        row = (slice(None), *index)
        alone = kind.run(params, xs[row][:, None], jax.tree.map(lambda c, i=index: c[i][None], plain(carry)))
        picked = jax.tree.map(lambda c, i=index: c[i][None], final), ys[row][:, None]
        assert_close(picked, alone, atol=1e-12)


def test_vmap_over_params_is_an_ensemble(kind, x64):
    members = [kind.params(seed) for seed in range(3)]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *members)
    xs = kind.xs((T, B))
    zeros = plain(jax.tree.map(np.zeros_like, kind.carry((B,))))
    _, ys = jax.vmap(lambda p: kind.scan(p, xs))(stacked)
    for member, y in zip(members, ys, strict=True):
        assert_close(y, kind.run(member, xs, zeros)[1], atol=1e-12)

    def loss(p):
        return jnp.sum(kind.scan(p, xs)[1] ** 2)

    gradients, gradient = jax.jit(jax.vmap(jax.grad(loss)))(stacked), jax.jit(jax.grad(loss))
    for i, member in enumerate(members):
        assert_close(jax.tree.map(lambda g, i=i: g[i], gradients), gradient(member), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("reverse", [False, True])
def test_cutting_and_threading_the_carry_is_the_whole(kind, reverse, x64):
    """Values and gradients; three pieces, one of a single step."""
    arguments, weights = kind.problem(T, B)
    resets = np.random.default_rng(3).random((T, B)) < 0.3
    resets[[1, 4]] = False  # In reverse a reset at the first step of a piece belongs to the piece before it.
    pieces = [slice(0, 1), slice(1, 4), slice(4, T)][:: -1 if reverse else 1]

    def loss(arguments):
        params, xs, carry, restored = arguments
        ys = jnp.zeros((T, B, H))
        for piece in pieces:
            options = {"resets": resets[piece], "reset_carry": restored, "reverse": reverse}
            carry, part = kind.scan(params, xs[piece], carry, **options)
            ys = ys.at[piece].set(part)
        seen = [jnp.sum(w * c) for w, c in zip(weights[1], jax.tree.leaves(carry), strict=True)]
        return jnp.sum(weights[0] * ys) + sum(seen), (carry, ys)

    (_, values), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(arguments)
    whole = kind.differentiated(with_resets=True, reverse=reverse)(arguments, weights, None, resets)
    assert_close(values, whole[0], atol=1e-14)
    assert relative_error(gradients, whole[1]) < 1e-13


def test_reverse_is_flip_scan_flip(kind, x64):
    params, carry, xs = kind.params(), kind.carry((B,)), kind.xs((T, B))
    final, ys = kind.scan(params, xs[::-1], carry)
    assert_close(kind.scan(params, xs, carry, reverse=True), (final, ys[::-1]), atol=1e-14)


def test_reverse_of_padded_rows_flips_their_valid_part(kind, x64):
    params, xs = kind.params(), kind.xs((T, B))
    lengths = np.array([T, 4, 1])
    _, ys = kind.scan(params, xs, reverse=True, seq_lengths=lengths)
    for b, n in enumerate(lengths):
        _, flipped = kind.scan(params, xs[:n, b][::-1])
        assert_close(ys[:n, b], flipped[::-1], atol=1e-14)


@pytest.mark.parametrize("case", FEW, ids=str)
@pytest.mark.parametrize("options", [{}, {"reverse": True}, {"remat": 2}, {"masked": True}])
@pytest.mark.parametrize(("steps", "batch"), [(0, (2,)), (3, (0,)), (0, ())])
def test_empty_inputs_give_empty_ys_and_the_initial_carry(case, steps, batch, options):
    params = case.params(dtype=np.float32)
    carry, xs = case.carry(batch, dtype=np.float32), case.xs((steps, *batch), dtype=np.float32)
    options = dict(options)
    if options.pop("masked", False):
        ones = np.ones((steps, *batch), bool)
        options |= {"mask": ones, "resets": ~ones, "reverse": True}
    final, ys = case.scan(params, xs, carry, **options)
    assert ys.shape == (steps, *batch, H)
    assert ys.dtype == jnp.float32
    if steps == 0:
        assert_close(final, carry)
    gradient = jax.jit(jax.grad(lambda p: jnp.sum(case.scan(p, xs, carry, **options)[1])))(params)
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(gradient))


@pytest.fixture
def compilations():
    """The compilations that happen while the test runs, as a growing list."""
    events = []

    def listen(event, *_, **__):
        if event.endswith("backend_compile_duration"):
            events.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield events
    jax.monitoring.unregister_event_duration_listener(listen)


def call_scan(xs, lengths, resets):
    cell = gru_jax.gru(update_bias=float(lengths[0]))  # How params begin is no part of the program.
    return gru_jax.scan(cell, PARAMS[0][0], xs, seq_lengths=lengths, resets=resets)


def call_stack(xs, lengths, resets):
    return gru_jax.scan_layers(gru_jax.gru(), PARAMS, xs, seq_lengths=lengths, resets=resets)


def call_steps(xs, lengths, resets):
    carry = gru_jax.gru().carry(PARAMS[0][0], batch_shape=xs.shape[1:2])
    return gru_jax.gru()(PARAMS[0][0], carry, xs[0])


PARAMS = gru_jax.init_layers(gru_jax.gru(), jax.random.key(0), I, 11, num_layers=2, bidirectional=True)


@pytest.mark.parametrize("call", [call_scan, call_stack, call_steps])
def test_a_second_call_with_the_same_shapes_does_not_recompile(call, compilations):
    for seed in (1, 2):
        compilations.clear()
        arguments = CASES[0].xs((T, 5), seed, np.float32), np.full(5, seed), np.zeros((T, 5), bool)
        jax.block_until_ready(call(*arguments))
        if seed == 1:
            assert compilations, "the first call must have compiled, or this test sees nothing"
    assert not compilations


def test_backend_table():
    for case in CASES:
        assert gru_jax.backend_for(case.cell, case.backend) == case.backend
        for platform in ("cpu", "gpu", "tpu"):
            fused = case.cell.name == "gru"
            assert gru_jax.backend_for(case.cell, platform=platform) == ("fused" if fused else "scan")


@pytest.mark.parametrize(
    "cell", [gru_jax.lstm(), gru_jax.min_gru(), gru_jax.gru().replace(step=lambda params, carry, g: (carry, carry))]
)
def test_fused_serves_its_equations_only(cell):
    assert gru_jax.backend_for(cell) == "scan"
    with pytest.raises(
        ValueError, match=rf'backend: "fused" cannot run the cell .*{cell.name}.*equations.*backend="auto"'
    ):
        gru_jax.backend_for(cell, "fused")


def test_a_cell_is_asked_for_its_carry_with_a_tuple():
    """A cell of the user's own may add to the batch shape."""
    cell = gru_jax.rnn()
    mine = cell.replace(carry=lambda params, batch_shape=(): jnp.zeros(batch_shape + (H,)))  # noqa: RUF005
    params, xs = cell.init(jax.random.key(0), I, H), CASES[0].xs((T, B), dtype=np.float32)
    assert_close(gru_jax.scan(mine, params, xs), gru_jax.scan(cell, params, xs))
