"""The encoder-decoder of a config: input layers, gru_jax's encoder-decoder with attention, and a search."""

from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

import gru_jax
import gru_jax.linen
from experiments.tasks.inputs import Sentences, SourceAndTarget, Translation


class _Decoding(NamedTuple):
    """What a search carries from step to step, and what it keeps of each."""

    carry: Any
    weights: jax.Array
    """(*B, S): the attention of the last step."""


class EncoderDecoder(nn.Module):
    """Tokens to tokens: teacher forcing in a call, a search in `translate`.

    ``beam_size``: 1 takes the likeliest token at each step. ``input_features``: the width of the embeddings of both
    vocabularies; without it tokens enter one-hot. ``dtype``: what products are computed in; None: float32. Logits are
    float32 in any case. ``backend``: as in `gru_jax.scan`; a search takes single steps, which need none.
    """

    cell: gru_jax.Cell
    features: int | tuple[int, ...]
    inputs: Sentences
    attention: Literal["additive", "dot_product"] = "additive"
    num_layers: int = 1
    bidirectional: bool = False
    dropout_rate: float = 0.0
    input_features: int | None = None
    beam_size: int = 1
    length_penalty: float = 0.0
    dtype: Any = None
    backend: str = "auto"

    def setup(self) -> None:
        """Make the layers."""
        if self.input_features is not None:
            self.source_layer = nn.Embed(self.inputs.source_vocabulary, self.input_features)
            self.target_layer = nn.Embed(self.inputs.target_vocabulary, self.input_features)
        self.dropout = nn.Dropout(self.dropout_rate)
        self.core = gru_jax.linen.EncoderDecoder(
            self.features,
            self.inputs.target_vocabulary,
            num_layers=self.num_layers,
            bidirectional=self.bidirectional,
            attention=self.attention,
            dropout_rate=self.dropout_rate,
            cell=self.cell,
            dtype=self.dtype,
            backend=self.backend,
        )

    def __call__(
        self, inputs: SourceAndTarget, seq_lengths: jax.Array | None = None, *, deterministic: bool = True
    ) -> jax.Array:
        """Logits (B, L, V) of the token after each of ``target_in``; ``seq_lengths`` (B,) are those of the sources.

        With ``deterministic=False`` dropout acts, and draws from the "dropout" key.
        """
        source, target_in = inputs
        source, target = self._enter_source(source), self._enter_target(target_in)
        if self.input_features is not None:
            source, target = (self.dropout(xs, deterministic=deterministic) for xs in (source, target))
        logits, _ = self.core(source, target, seq_lengths=seq_lengths, deterministic=deterministic)
        return logits

    def translate(self, inputs: SourceAndTarget, seq_lengths: jax.Array | None = None) -> Translation:
        """Search for the best target of each source; ``target_in`` is not looked at."""
        source, _ = inputs
        encoded = self.core.encode(self._enter_source(jnp.asarray(source)), seq_lengths=seq_lengths)
        params = self.core.params
        table = self.target_layer.embedding if self.input_features is not None else None

        def step(tokens: jax.Array, state: _Decoding) -> tuple[jax.Array, _Decoding]:
            x = jax.nn.one_hot(tokens, self.inputs.target_vocabulary) if table is None else table[tokens]
            x = x if self.dtype is None else jnp.astype(x, self.dtype)
            carry, logits, weights = gru_jax.decode_step(self.cell, params, encoded, state.carry, x)
            return jax.nn.log_softmax(logits), _Decoding(carry, jnp.moveaxis(weights, -2, -1))

        rows, steps = source.shape
        options: dict[str, Any] = {
            "start_token": jnp.full((rows,), self.inputs.start, jnp.int32),
            "end_token": self.inputs.end,
            "max_steps": self.inputs.max_steps,
            "record": lambda state: state.weights,
        }
        state = _Decoding(encoded.carry, jnp.zeros((rows, steps), jnp.float32))
        if self.beam_size == 1:
            found = gru_jax.greedy_search(step, state, **options)
        else:
            beam = gru_jax.beam_search(
                step, state, beam_size=self.beam_size, length_penalty=self.length_penalty, **options
            )
            found = gru_jax.Hypotheses(beam.tokens[:, 0], beam.lengths[0], beam.scores[0], beam.record[:, 0])
        return Translation(jnp.moveaxis(found.tokens, 0, 1), found.lengths, jnp.moveaxis(found.record, 0, 1))

    def _enter_source(self, tokens: jax.Array) -> jax.Array:
        if self.input_features is not None:
            return self.source_layer(tokens)
        return jax.nn.one_hot(tokens, self.inputs.source_vocabulary)

    def _enter_target(self, tokens: jax.Array) -> jax.Array:
        if self.input_features is not None:
            return self.target_layer(tokens)
        return jax.nn.one_hot(tokens, self.inputs.target_vocabulary)
