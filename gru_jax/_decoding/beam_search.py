"""Beam search: likely sequences, one token at a time, as one compiled loop.

The beam keeps K open hypotheses and, apart from them, the K best that have ended. Open ones are compared by their
log-probability, ended ones by score. A hypothesis ends only if its end is among the K likeliest continuations of all
open ones. So a beam of one is the greedy search, and an unlikely end does not shadow what would have followed. The
search stops when no open hypothesis can still beat the worst ended one. Every step stores the chosen tokens and which
hypotheses they continue. The sequences are read backwards at the end, so that a step moves nothing but the state. Cost:
at most max_steps calls of `step` on K hypotheses for each row of the batch.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from gru_jax._cells.checks import check_positive
from gru_jax._decoding.search import (
    Hypotheses,
    Step,
    check_penalty,
    check_record,
    check_start,
    check_state,
    check_step,
    check_token,
    vary_alike,
    zero_unless,
)


class _Open(NamedTuple):
    """Hypotheses to be continued: last token, summed log-probability `(K, *B)`, and the state of `step`."""

    token: jax.Array
    log_prob: jax.Array
    state: Any


class _Ended(NamedTuple):
    """The best ended hypotheses: score, number of steps while open, and index among the open ones before the end."""

    score: jax.Array
    steps: jax.Array
    beam: jax.Array


class _Trace(NamedTuple):
    """For every step `(N, K, *B)`: the token of each open hypothesis, which one it continues, and the record."""

    token: jax.Array
    parent: jax.Array
    record: Any


def beam_search(
    step: Step,
    state: Any,
    *,
    start_token: int | jax.Array,
    end_token: int,
    beam_size: int,
    max_steps: int,
    length_penalty: float = 0.0,
    record: Callable[[Any], Any] | None = None,
) -> Hypotheses:
    """Find likely sequences with a beam.

    A sequence Y ends with the end token, or after `max_steps` tokens without it. Its score, with |Y| the number of its
    tokens, the end token included, is

        score(Y) = log P(Y) / ((5 + |Y|) / 6) ** length_penalty

    The search returns the K best of all sequences that the beam came upon. They are the true optimum if the beam holds
    all continuations; a beam of one without penalty is `gru_jax.greedy_search`. Calls of equal shapes under `jax.jit`
    do not compile again. The search is a `lax.while_loop` and has no gradient: for one, score the found tokens with
    your model, as `gru_jax.decode` does.

    Args:
      step: `step(tokens, state) -> (log_probs, state)`. It takes the last token of each hypothesis, int32 `(K, *B)`,
        and the state, leaves `(K, *B, ...)`. It returns the log-probability of every next token, `(K, *B, V)`, and the
        next state. Log-probabilities are at most 0 (`jax.nn.log_softmax` of logits) and not NaN; -inf forbids a token.
        What all hypotheses share, such as an encoded source, belongs in its closure.
      state: the state before the first token, leaves `(*B, ...)`.
      start_token: the token that each row begins with, an int or int array `(*B,)`; it is not returned. Its shape is
        that of the batch, so an int means one sequence without batch axes.
      end_token: the token that ends a sequence.
      beam_size: K, how many open hypotheses, and results, to keep for each row.
      max_steps: N, the longest sequence.
      length_penalty: 0 compares log-probabilities, which favours short sequences; larger values favour longer ones.
      record: `record(state) -> leaves (K, *B, ...)`: what to return of every step's new state. For attention weights,
        let the state be (carry, weights), the first weights zeros `(*B, S)`, and record `lambda state: state[1]`.

    Returns:
      `Hypotheses`.

    Raises:
      TypeError, ValueError: naming the argument that does not fit.

    Source: Wu et al. 2016, "Google's neural machine translation system", equation 14 (without coverage).

    Example:
      >>> import gru_jax, jax.numpy as jnp
      >>> chain = jnp.log(jnp.array([[0.1, 0.6, 0.3], [0.5, 0.1, 0.4], [0.2, 0.2, 0.6]]))
      >>> found = gru_jax.beam_search(
      ...     lambda tokens, state: (chain[tokens], state), None,
      ...     start_token=0, end_token=2, beam_size=2, max_steps=4)
      >>> found.tokens[:, 0].tolist(), round(float(jnp.exp(found.scores[0])), 3)
      ([2, 2, 2, 2], 0.3)
    """
    steps = check_positive("max_steps", max_steps, remedy="pass the length of the longest sequence")
    beam = check_positive("beam_size", beam_size, remedy="pass how many hypotheses to keep, or use greedy_search")
    penalty = check_penalty(length_penalty)
    start = check_start(start_token)
    batch = start.shape
    state = check_state(state, batch)
    start, state = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (beam, *leaf.shape)), (start, state))
    vocabulary = check_step(step, start, state)
    end = check_token("end_token", end_token, vocabulary)
    picked = check_record(record, state, start.shape)

    # All beams begin as the same hypothesis, so all but the first get probability 0.
    first = jnp.where(jnp.arange(beam) == 0, 0.0, -jnp.inf).astype(jnp.float32)
    log_prob = jnp.broadcast_to(first.reshape(beam, *(1 for _ in batch)), start.shape)
    nothing = jnp.zeros(start.shape, jnp.int32)
    ended = _Ended(jnp.full(start.shape, -jnp.inf, jnp.float32), nothing, nothing)
    rows = jnp.zeros((steps, *start.shape), jnp.int32)
    trace = _Trace(rows, rows, jax.tree.map(lambda leaf: jnp.zeros((steps, *leaf.shape), leaf.dtype), picked))

    def goes_on(loop: tuple[jax.Array, _Open, _Ended, _Trace]) -> jax.Array:
        t, open_, ended, _ = loop
        # A log-probability only falls, so this is the most that an open hypothesis can still reach.
        attainable = jnp.max(open_.log_prob, axis=0) / _longness(steps, penalty)
        return (t < steps) & jnp.any(ended.score[-1] < attainable)

    advance = functools.partial(_advance, step, record, end, penalty)
    loop = (jnp.int32(0), _Open(start, log_prob, state), ended, trace)
    t, open_, ended, trace = lax.while_loop(goes_on, advance, vary_alike(advance, loop))
    # A hypothesis still open after the last step is a sequence too. After an earlier stop, none is good enough.
    score = jnp.where(t == steps, open_.log_prob / _longness(steps, penalty), -jnp.inf)
    places = jnp.broadcast_to(jnp.arange(beam, dtype=jnp.int32).reshape(-1, *(1 for _ in batch)), start.shape)
    ended = _best_of(ended, _Ended(score, jnp.full(start.shape, steps, jnp.int32), places))
    return _read_back(ended, trace, end)


def _advance(
    step: Step,
    record: Callable[[Any], Any] | None,
    end: int,
    penalty: float,
    loop: tuple[jax.Array, _Open, _Ended, _Trace],
) -> tuple[jax.Array, _Open, _Ended, _Trace]:
    """The loop's values after one more token for every open hypothesis."""
    t, open_, ended, trace = loop
    log_probs, state = step(open_.token, open_.state)
    kept = None if record is None else record(state)
    total = open_.log_prob[..., None] + log_probs.astype(jnp.float32)
    beam, vocabulary = total.shape[0], total.shape[-1]

    # Of the 2 K best continuations at most K are ends, so that K of them stay open.
    best, chosen = lax.top_k(
        jnp.moveaxis(total, 0, -2).reshape(*total.shape[1:-1], beam * vocabulary), min(2, vocabulary) * beam
    )
    best, chosen = jnp.moveaxis(best, -1, 0), jnp.moveaxis(chosen.astype(jnp.int32), -1, 0)
    parent, token = chosen // vocabulary, chosen % vocabulary
    ends = jnp.where(token == end, best, -jnp.inf)[:beam] / _longness(t + 1, penalty)
    ended = _best_of(ended, _Ended(ends, jnp.full(ends.shape, t), parent[:beam]))

    log_prob, places = lax.top_k(jnp.moveaxis(jnp.where(token == end, -jnp.inf, best), 0, -1), beam)
    log_prob, places = jnp.moveaxis(log_prob, -1, 0), jnp.moveaxis(places, -1, 0)
    parent, token = _take(parent, places), _take(token, places)
    state = jax.tree.map(lambda leaf: _take(leaf, parent), state)
    trace = jax.tree.map(lambda rows, row: rows.at[t].set(row), trace, _Trace(token, parent, kept))
    return t + 1, _Open(token, log_prob, state), ended, trace


def _longness(length: int | jax.Array, penalty: float) -> jax.Array:
    return ((5 + jnp.asarray(length, jnp.float32)) / 6) ** penalty


def _take(leaf: jax.Array, beams: jax.Array) -> jax.Array:
    """The leaf `(K, *B, ...)` of the hypotheses that `beams (K, *B)` picks in each row of the batch."""
    return jnp.take_along_axis(leaf, beams.reshape(*beams.shape, *(1 for _ in leaf.shape[beams.ndim :])), axis=0)


def _best_of(old: _Ended, new: _Ended) -> _Ended:
    """The K best of both; where two are equal the old one stays."""
    both = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), old, new)
    _, places = lax.top_k(jnp.moveaxis(both.score, 0, -1), old.score.shape[0])
    places = jnp.moveaxis(places, -1, 0)
    return jax.tree.map(lambda leaf: _take(leaf, places), both)


def _read_back(ended: _Ended, trace: _Trace, end: int) -> Hypotheses:
    """The result, each hypothesis followed from its end to its start."""
    steps = trace.token.shape[0]
    found = ended.score > -jnp.inf
    lengths = jnp.where(found, jnp.minimum(ended.steps + 1, steps), 0)

    def back(beam: jax.Array, step: tuple[jax.Array, _Trace]) -> tuple[jax.Array, tuple[jax.Array, Any]]:
        t, row = step
        open_ = t < ended.steps
        token = jnp.where(open_ & found, _take(row.token, beam), end)
        beam = jnp.where(open_, _take(row.parent, beam), beam)
        record = jax.tree.map(lambda leaf: zero_unless(t < lengths, _take(leaf, beam)), row.record)
        return beam, (token, record)

    _, (tokens, record) = lax.scan(back, ended.beam, (jnp.arange(steps, dtype=jnp.int32), trace), reverse=True)
    return Hypotheses(tokens, lengths, ended.score, record)
