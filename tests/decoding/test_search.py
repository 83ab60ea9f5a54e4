"""Beam and greedy search against every sequence there is, and against a beam search in plain Python."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gru_jax

V, N, END, START = 4, 4, 2, 1
"""Three open tokens and the end; the next token depends on all that came before."""
PREFIXES = sum(V**n for n in range(N + 1))
ROWS = 20
ALL = V * (V - 1) ** (N - 1)
"""As many continuations as all open sequences can have."""


def tables(seed=0, sharpness=1.5):
    """Log-probabilities (ROWS, prefixes, V) of the token after each prefix; prefix p + token t is p V + t + 1."""
    logits = sharpness * np.random.default_rng(seed).normal(size=(ROWS, PREFIXES, V))
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def stepper(table):
    """A step over rows (R,) of a table; the state is (row, prefix, whether any token was read), each (*K, R)."""

    def step(tokens, state):
        row, prefix, begun = state
        prefix = jnp.where(begun, prefix * V + tokens + 1, prefix)
        return table[row, prefix], (row, prefix, jnp.ones_like(begun))

    return step


def start(rows):
    return jnp.arange(rows), jnp.zeros((rows,), int), jnp.zeros((rows,), bool)


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def compiled(table, beam_size, penalty, steps):
    rows = len(table)
    return gru_jax.beam_search(
        stepper(table),
        start(rows),
        start_token=jnp.full((rows,), START),
        end_token=END,
        beam_size=beam_size,
        max_steps=steps,
        length_penalty=penalty,
        record=lambda state: {"prefix": state[1]},
    )


def beam(table, beam_size, penalty=0.0, steps=N):
    """Tables of one shape throughout, so that a beam is compiled once."""
    return compiled(jnp.asarray(table, jnp.float32), beam_size, penalty, steps)


def scored(log_prob, length, penalty):
    return log_prob / ((5 + length) / 6) ** penalty


def all_sequences(table, penalty):
    """Every sequence that ends or has N tokens, best first: (score, tokens)."""
    found = []
    for n in range(1, N + 1):
        for tokens in itertools.product(range(V), repeat=n):
            whole = END not in tokens[:-1] and (tokens[-1] == END or n == N)
            if whole:
                prefix, total = 0, 0.0
                for token in tokens:
                    total += table[prefix, token]
                    prefix = prefix * V + token + 1
                found.append((scored(total, n, penalty), tokens))
    return sorted(found, reverse=True)


def python_beam(table, beam_size, penalty):
    """The beam of the docstring with lists: open ones by log-probability, ended ones by score, never stopping early."""
    opened, ended = [(0.0, ())], []
    for step in range(N):
        grown = []
        for log_prob, tokens in opened:
            prefix = 0
            for token in tokens:
                prefix = prefix * V + token + 1
            grown += [(log_prob + table[prefix, token], (*tokens, token)) for token in range(V)]
        best = sorted(grown, reverse=True)[:beam_size]
        ended += [(scored(p, step + 1, penalty), tokens) for p, tokens in best if tokens[-1] == END]
        opened = sorted((pair for pair in grown if pair[1][-1] != END), reverse=True)[:beam_size]
    ended += [(scored(p, N, penalty), tokens) for p, tokens in opened]
    return sorted(ended, reverse=True)[:beam_size]


def assert_found(found, row, expected):
    for k, (score, tokens) in enumerate(expected):
        assert found.lengths[k, row] == len(tokens)
        assert tuple(found.tokens[:, k, row].tolist()) == tokens + (END,) * (N - len(tokens))
        assert float(found.scores[k, row]) == pytest.approx(score, rel=1e-5)


@pytest.mark.parametrize("penalty", [0.0, 0.6, 3.0])
def test_a_beam_that_holds_all_open_sequences_finds_the_best_there_are(penalty):
    table = tables()
    found = beam(table, ALL, penalty)
    for row in range(3):
        assert_found(found, row, all_sequences(table[row], penalty)[:ALL])


@pytest.mark.parametrize(("beam_size", "penalty"), [(1, 0.0), (2, 0.0), (4, 1.0)])
def test_a_narrow_beam_is_the_beam_in_python(beam_size, penalty):
    table = tables(seed=1)
    found = beam(table, beam_size, penalty)
    for row in range(len(table)):
        assert_found(found, row, python_beam(table[row], beam_size, penalty))


def test_the_penalty_favours_long_sequences():
    found = {penalty: beam(tables(), ALL, penalty).lengths[0].mean() for penalty in (0.0, 0.6, 3.0)}
    assert found[0.0] < found[0.6] < found[3.0]


def test_fewer_sequences_than_beams_leave_the_rest_empty():
    """Of one step there are V sequences only."""
    found = beam(tables(), 6, steps=1)
    assert found.lengths[:, 0].tolist() == [1] * V + [0, 0]
    assert np.isneginf(found.scores[V:, 0]).all()
    assert (found.tokens[0, V:, 0] == END).all()


def test_the_search_stops_once_nothing_open_can_win_and_ended_ones_do_not_change():
    """From the third step on the model gives NaN, which would show in every score if it were asked."""
    sure = np.full((ROWS, PREFIXES, V), -9.0)
    sure[..., END] = -0.001
    unknown = sure.copy()
    # All prefixes of two tokens and more.
    unknown[:, V + 1 :] = np.nan
    # Two of one and of two tokens that end at once have ended then; the rest is far behind.
    for k in (1, 2):
        known, spoilt = beam(sure, k), beam(unknown, k)
        np.testing.assert_array_equal(known.tokens, spoilt.tokens)
        np.testing.assert_array_equal(known.scores, spoilt.scores)
        assert (known.lengths[0] == 1).all()
    assert np.isfinite(greedy(unknown).scores).all()


def test_what_is_recorded_belongs_to_the_sequence():
    """The state of each step is the prefix read so far: that of the sequence found, whatever beam it was in."""
    found = beam(tables(seed=2), 4, 1.0)
    for row, k in itertools.product(range(ROWS), range(4)):
        prefix, expected = 0, []
        for token in found.tokens[: found.lengths[k, row], k, row].tolist():
            expected.append(prefix)
            prefix = prefix * V + token + 1
        expected += [0] * (N - len(expected))
        assert found.record["prefix"][:, k, row].tolist() == expected


def test_batches_of_any_rank_vmap_and_no_batch_are_the_rows():
    table = jnp.asarray(tables(), jnp.float32)
    step = stepper(table)
    options = {"end_token": END, "beam_size": 3, "max_steps": N, "record": lambda state: state[1]}

    def search(state, token):
        return gru_jax.beam_search(step, state, start_token=token, **options)

    state, tokens = start(6), jnp.full((6,), START)
    whole = jax.jit(search)(state, tokens)
    folded = jax.jit(search)(*jax.tree.map(lambda leaf: leaf.reshape(2, 3), (state, tokens)))
    mapped = jax.jit(jax.vmap(search, out_axes=gru_jax.Hypotheses(2, 1, 1, 2)))(state, tokens)
    alone = jax.jit(search)(jax.tree.map(lambda leaf: leaf[4], state), START)
    with jax.disable_jit():
        eager = search(jax.tree.map(lambda leaf: leaf[4], state), START)
    for want, wide, same, plain, one in zip(whole, folded, mapped, eager, alone, strict=True):
        np.testing.assert_array_equal(wide.reshape(want.shape), want)
        np.testing.assert_array_equal(same, want)
        np.testing.assert_allclose(plain, one, rtol=1e-6)
        np.testing.assert_array_equal(one, want[..., 4])


@jax.jit
def greedy_compiled(table):
    tokens = jnp.full((len(table),), START)
    return gru_jax.greedy_search(
        stepper(table), start(len(table)), start_token=tokens, end_token=END, max_steps=N, record=lambda state: state[1]
    )


def greedy(table):
    return greedy_compiled(jnp.asarray(table, jnp.float32))


def test_greedy_takes_the_likeliest_token_until_the_end():
    table = tables(seed=3)
    found = greedy(table)
    ended = 0
    for row in range(ROWS):
        prefix, total, tokens, read = 0, 0.0, [], []
        while len(tokens) < N and END not in tokens:
            read.append(prefix)
            tokens.append(int(table[row, prefix].argmax()))
            total += table[row, prefix].max()
            prefix = prefix * V + tokens[-1] + 1
        ended += END in tokens
        padding = N - len(tokens)
        assert found.tokens[:, row].tolist() == tokens + [END] * padding
        assert found.record[:, row].tolist() == read + [0] * padding
        assert found.lengths[row] == len(tokens)
        assert float(found.scores[row]) == pytest.approx(total, rel=1e-5)
    assert 0 < ended < ROWS


def test_a_beam_of_one_is_the_greedy_search():
    for seed in range(4):
        found, taken = beam(tables(seed), 1), greedy(tables(seed))
        np.testing.assert_array_equal(found.tokens[:, 0], taken.tokens)
        np.testing.assert_array_equal(found.lengths[0], taken.lengths)
        np.testing.assert_allclose(found.scores[0], taken.scores, rtol=1e-6)


def test_a_row_where_every_token_is_forbidden_has_no_sequence():
    """At the first step, at a later one, and never; the rows beside it go on."""
    table = tables(seed=5)
    table[..., END] = -9.0
    table[0] = -np.inf
    table[1, V + 1 :] = -np.inf
    found, taken = beam(table, 1), greedy(table)
    for length, score, tokens, record in (
        (found.lengths[0], found.scores[0], found.tokens[:, 0], found.record["prefix"][:, 0]),
        (taken.lengths, taken.scores, taken.tokens, taken.record),
    ):
        assert length.tolist() == [0, 0] + [N] * (ROWS - 2)
        assert np.isneginf(score[:2]).all()
        assert np.isfinite(score[2:]).all()
        assert (tokens[:, :2] == END).all()
        assert (record[:, :2] == 0).all()
    np.testing.assert_array_equal(found.tokens[:, 0], taken.tokens)
    np.testing.assert_array_equal(found.record["prefix"][:, 0], taken.record)


@pytest.mark.parametrize("sharded", [(True, True), (False, True), (True, False)], ids=["both", "model", "rows"])
def test_a_search_runs_under_shard_map(sharded):
    """On rows, or by a model, or both, that differ by device."""
    mesh = jax.make_mesh((1,), ("rows",), axis_types=(jax.sharding.AxisType.Auto,))
    chain = jnp.log(jnp.array([[0.1, 0.6, 0.3], [0.5, 0.1, 0.4], [0.2, 0.2, 0.6]]))
    rows, model = (jax.P("rows") if part else jax.P() for part in sharded)

    def search(chain, tokens):
        options = {"start_token": tokens, "end_token": 2, "max_steps": 4}
        step = lambda tokens, state: (chain[tokens], state + 1)  # noqa: E731
        beam = gru_jax.beam_search(step, jnp.zeros(tokens.shape), beam_size=2, **options)
        return beam.tokens[:, 0].T, gru_jax.greedy_search(step, jnp.zeros(tokens.shape), **options).tokens.T

    tokens = jnp.array([0, 1, 0])
    mapped = jax.shard_map(search, mesh=mesh, in_specs=(model, rows), out_specs=jax.P("rows"))
    found = jax.jit(mapped)(chain, tokens)
    for got, want in zip(found, search(chain, tokens), strict=True):
        np.testing.assert_array_equal(got, want)


def test_a_wide_beam_is_never_worse_than_a_narrow_one():
    table = tables(seed=4, sharpness=1.0)
    best = [np.asarray(beam(table, k).scores[0]) for k in (1, 2, ALL)]
    assert (best[2] >= best[1] - 1e-6).all()
    assert best[0].mean() < best[1].mean() <= best[2].mean()
    truth = np.array([all_sequences(row, 0.0)[0][0] for row in table])
    np.testing.assert_allclose(best[2], truth, rtol=1e-5)
    assert math.isclose(np.exp([score for score, _ in all_sequences(table[0], 0.0)]).sum(), 1, rel_tol=1e-9)
