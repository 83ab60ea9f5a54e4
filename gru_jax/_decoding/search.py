"""Searching for a likely sequence: the result and the checks of every search, and the greedy search."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from gru_jax._cells.checks import check_array, check_positive

Step = Callable[[jax.Array, Any], tuple[jax.Array, Any]]


class Hypotheses(NamedTuple):
    """What a search found; K is the beam, an axis that `greedy_search` does not have.

    Attributes:
      tokens: int32 `(N, K, *B)`; only end tokens follow an end token.
      lengths: int32 `(K, *B)`, the end token counted where there is one; 0 where there are fewer than K sequences.
      scores: `(K, *B)`, float32, best first; -inf where there are fewer than K sequences.
      record: what `record` picked from the state of each step, leaves `(N, K, *B, ...)`, 0 from `lengths` on.
    """

    tokens: jax.Array
    lengths: jax.Array
    scores: jax.Array
    record: Any


def greedy_search(
    step: Step,
    state: Any,
    *,
    start_token: int | jax.Array,
    end_token: int,
    max_steps: int,
    record: Callable[[Any], Any] | None = None,
) -> Hypotheses:
    """Take the likeliest token at each step: a beam of one without length penalty, cheaper, and without the axis K.

    A row that comes to a step where every token is forbidden has no sequence, as in a beam: length 0, score -inf.

    Args:
      step: as in `beam_search`, with tokens `(*B,)`, state `(*B, ...)` and log_probs `(*B, V)`.
      state: the state before the first token, leaves `(*B, ...)`.
      start_token: as in `beam_search`.
      end_token: the token that ends a sequence.
      max_steps: N, the longest sequence.
      record: as in `beam_search`, leaves `(*B, ...)`.

    Returns:
      `Hypotheses`: tokens `(N, *B)`, lengths `(*B,)`, scores `(*B,)`, which are log-probabilities, record
      `(N, *B, ...)`.

    Raises:
      TypeError, ValueError: naming the argument that does not fit.
    """
    steps = check_positive("max_steps", max_steps, remedy="pass the length of the longest sequence")
    start = check_start(start_token)
    state = check_state(state, start.shape)
    end = check_token("end_token", end_token, check_step(step, start, state))
    picked = check_record(record, state, start.shape)

    def goes_on(loop: Any) -> jax.Array:
        t, going, *_ = loop
        return (t < steps) & jnp.any(going)

    def advance(loop: Any) -> Any:
        t, going, token, state, found = loop
        log_probs, state = step(token, state)
        token = jnp.where(going, jnp.argmax(log_probs, axis=-1).astype(jnp.int32), end)
        best = jnp.max(log_probs, axis=-1).astype(jnp.float32)
        kept = None if record is None else jax.tree.map(lambda leaf: zero_unless(going, leaf), record(state))
        found = Hypotheses(
            tokens=found.tokens.at[t].set(token),
            lengths=found.lengths + going.astype(jnp.int32),
            scores=found.scores + jnp.where(going, best, 0),
            record=jax.tree.map(lambda rows, row: rows.at[t].set(row), found.record, kept),
        )
        return t + 1, going & (token != end) & ~jnp.isneginf(best), token, state, found

    found = Hypotheses(
        tokens=jnp.full((steps, *start.shape), end, jnp.int32),
        lengths=jnp.zeros(start.shape, jnp.int32),
        scores=jnp.zeros(start.shape, jnp.float32),
        record=jax.tree.map(lambda leaf: jnp.zeros((steps, *leaf.shape), leaf.dtype), picked),
    )
    loop = (jnp.int32(0), jnp.ones(start.shape, bool), start, state, found)
    found = lax.while_loop(goes_on, advance, vary_alike(advance, loop))[-1]
    is_one = ~jnp.isneginf(found.scores)
    every = jnp.broadcast_to(is_one, found.tokens.shape)
    return Hypotheses(
        tokens=jnp.where(every, found.tokens, end),
        lengths=jnp.where(is_one, found.lengths, 0),
        scores=found.scores,
        record=jax.tree.map(functools.partial(zero_unless, every), found.record),
    )


def vary_alike(advance: Callable[[Any], Any], loop: Any) -> Any:
    """The first values of a loop, varying over all axes of a `jax.shard_map` over which its rounds make them vary."""
    if not jax.sharding.get_abstract_mesh().manual_axes:
        return loop
    # What one round makes vary may make more of it vary in the next.
    for _ in jax.tree.leaves(loop):
        after = jax.eval_shape(advance, loop)
        missing = jax.tree.map(lambda old, new: tuple(_varying(new) - _varying(jax.typeof(old))), loop, after)
        if not jax.tree.leaves(missing):
            break
        loop = jax.tree.map(lambda leaf, axes: lax.pcast(leaf, axes, to="varying") if axes else leaf, loop, missing)
    return loop


def _varying(shape: Any) -> frozenset[str]:
    return shape.manual_axis_type.varying


def zero_unless(kept: jax.Array, leaf: jax.Array) -> jax.Array:
    """The leaf, with zeros where `kept`, of its leading axes, is False."""
    return jnp.where(kept.reshape(*kept.shape, *(1 for _ in leaf.shape[kept.ndim :])), leaf, jnp.zeros_like(leaf))


def check_start(token: Any) -> jax.Array:
    """The start tokens, checked, as int32 `(*B,)`."""
    if isinstance(token, bool) or (isinstance(token, int) and not -(2**31) <= token < 2**31):
        raise TypeError(f"start_token: expected a token, an int of 32 bits, got {token!r}; pass one, or an array.")
    token = check_array("start_token", np.int32(token) if isinstance(token, int) else token)
    if not jnp.issubdtype(token.dtype, jnp.integer):
        raise TypeError(f"start_token: expected an int or an array of integers, got {token.dtype}; cast it to int32.")
    return jnp.astype(token, jnp.int32)


def check_token(name: str, token: Any, vocabulary: int) -> int:
    """`token` as an int, checked to be in the vocabulary."""
    if isinstance(token, bool) or not isinstance(token, int | np.integer):
        raise TypeError(
            f"{name}: expected an integer, got {token!r} of type {type(token).__name__}; pass a Python int."
        )
    if not 0 <= token < vocabulary:
        raise ValueError(
            f"{name}: expected a token within 0..{vocabulary - 1}, for which step gives log-probabilities, "
            f"got {token}; pass the token that ends a sequence."
        )
    return int(token)


def check_penalty(penalty: Any) -> float:
    """`penalty` as a float, checked to be >= 0."""
    if isinstance(penalty, bool) or not isinstance(penalty, int | float | np.integer | np.floating):
        raise TypeError(f"length_penalty: expected a number >= 0, got {penalty!r}; pass a Python float.")
    if not (math.isfinite(penalty) and penalty >= 0):
        raise ValueError(f"length_penalty: expected a number >= 0, got {penalty}; 0 compares log-probabilities.")
    return float(penalty)


def check_state(state: Any, batch: tuple[int, ...]) -> Any:
    """The state as JAX arrays, checked to be leaves `(*B, ...)`."""

    def check(path: Any, leaf: Any) -> jax.Array:
        name = f"state{jax.tree_util.keystr(path)}"
        leaf = check_array(name, leaf)
        if leaf.shape[: len(batch)] != batch:
            raise ValueError(
                f"{name}: expected shape (*B, ...) with *B = {batch}, the shape of start_token, got {leaf.shape}; "
                "pass one start_token for each row, or leave what all rows share to the closure of step."
            )
        return leaf

    return jax.tree_util.tree_map_with_path(check, state)


def check_step(step: Any, tokens: jax.Array, state: Any) -> int:
    """Check what `step` returns for these; returns the size of the vocabulary."""
    if not callable(step):
        raise TypeError(f"step: expected a function (tokens, state) -> (log_probs, state), got {step!r}; pass one.")
    out = jax.eval_shape(step, tokens, state)
    if not (isinstance(out, tuple) and len(out) == 2 and hasattr(out[0], "shape")):
        raise TypeError(
            f"step: expected it to return (log_probs, state), got {jax.tree.structure(out)}; "
            "what else it computes can travel in the state, and be returned by record."
        )
    log_probs, new = out
    if log_probs.shape[:-1] != tokens.shape or log_probs.ndim != tokens.ndim + 1 or log_probs.shape[-1] < 1:
        raise ValueError(
            f"step: expected log_probs of shape {(*tokens.shape, 'V')}, the shape of its tokens and the vocabulary, "
            f"got {log_probs.shape}; start_token gives the batch axes, and a beam stands before them."
        )
    if not jnp.issubdtype(log_probs.dtype, jnp.floating):
        raise TypeError(f"step: expected float log_probs, got {log_probs.dtype}; return log-probabilities.")
    kinds = [jax.tree.map(lambda leaf: jax.typeof(leaf).str_short(), tree) for tree in (state, new)]
    if kinds[0] != kinds[1]:
        raise TypeError(
            f"step: expected a new state like the one it is given, {kinds[0]}, got {kinds[1]}; "
            "keep its structure, shapes and dtypes."
        )
    return log_probs.shape[-1]


def check_record(record: Any, state: Any, rows: tuple[int, ...]) -> Any:
    """The shapes of what `record` picks from a state, checked; None without `record`."""
    if record is None:
        return None
    if not callable(record):
        raise TypeError(f"record: expected None or a function of the state, got {record!r}; pass one.")
    picked = jax.eval_shape(record, state)
    for path, leaf in jax.tree_util.tree_leaves_with_path(picked):
        if leaf.shape[: len(rows)] != rows:
            raise ValueError(
                f"record: expected leaves of shape {(*rows, '...')}, the shape of the tokens first, got {leaf.shape} "
                f"in {jax.tree_util.keystr(path) or 'the only one'}; move these axes to the front."
            )
    return picked
