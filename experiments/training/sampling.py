"""Text from a trained character model, one character at a time."""

import functools
from typing import Any, cast

import jax
import jax.numpy as jnp

from experiments.models.sequence_model import SequenceModel
from experiments.system.errors import UserError
from experiments.tasks import Task


def sample(
    model: SequenceModel,
    variables: Any,
    task: Task,
    seed: int,
    *,
    length: int = 400,
    temperature: float = 0.8,
    prompt: str | None = None,
) -> str:
    """Return ``length`` characters that the model writes after ``prompt`` (which is not part of the answer).

    The same arguments give the same text. ``temperature`` divides the logits; 0 takes the likeliest character each
    time. ``prompt=None`` is a new line, or the first character of an alphabet without one. Raises UserError for a task
    without characters, a prompt that is empty or not of the alphabet, or a negative temperature or length.
    """
    if prompt is None:
        prompt = "\n" if "\n" in task.alphabet else task.alphabet[:1]
    _check(task, length, temperature, prompt)
    tokens = jnp.array([[task.alphabet.index(character) for character in prompt]], jnp.int32)
    written = _write(model, variables, tokens, jax.random.key(seed), jnp.float32(temperature), length)
    return "".join(task.alphabet[token] for token in jax.device_get(written))


@functools.partial(jax.jit, static_argnames=("model", "length"))
def _write(
    model: SequenceModel, variables: Any, prompt: jax.Array, key: jax.Array, temperature: jax.Array, length: int
) -> jax.Array:
    """Tokens (length,) that follow ``prompt`` (1, P)."""

    def advance(tokens: jax.Array, carry: Any = None) -> tuple[Any, jax.Array]:
        # flax types `apply` by all that any method may return.
        return cast("tuple[Any, jax.Array]", model.apply(variables, tokens, carry, method="advance"))

    def step(state: tuple[Any, jax.Array], key: jax.Array) -> tuple[tuple[Any, jax.Array], jax.Array]:
        carry, logits = state
        likeliest = jnp.argmax(logits, axis=-1)
        # A temperature of 0 must not divide; this draw is not used then.
        drawn = jax.random.categorical(key, logits / jnp.maximum(temperature, 1e-6))
        token = jnp.where(temperature > 0, drawn, likeliest).astype(jnp.int32)
        carry, outputs = advance(token[:, None], carry)
        return (carry, outputs[:, -1]), token[0]

    carry, outputs = advance(prompt)
    _, tokens = jax.lax.scan(step, (carry, outputs[:, -1]), jax.random.split(key, length))
    return tokens


def _check(task: Task, length: int, temperature: float, prompt: str) -> None:
    if not task.alphabet:
        raise UserError(
            f"task: only a task of characters can be sampled from, and {task.name} has none; use task chars"
        )
    unknown = sorted(set(prompt) - set(task.alphabet))
    if not prompt or unknown:
        problem = f"these characters are not in the text: {unknown}" if unknown else "got an empty one"
        raise UserError(f"prompt: expected at least one character, all known to the model; {problem}")
    if length < 0:
        raise UserError(f"length: expected a number of characters >= 0, got {length}")
    if not temperature >= 0:
        raise UserError(f"temperature: expected a number >= 0, got {temperature}")
