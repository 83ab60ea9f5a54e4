"""The model of most tasks: an input layer, recurrent layers of gru_jax, a linear read-out."""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

import gru_jax
from experiments.models.precision import dense, widened
from experiments.models.stack import attention_pooling, recurrent_layers
from experiments.tasks.inputs import Judged, MeasuredFeatures, Pooled, Tokens, Vectors

Readout = Literal["last", "mean", "attention", "every"]


class SequenceModel(nn.Module):
    """Input layer, stacked recurrent layers, dropout, read-out.

    ``readout``: "every" gives (B, T, outputs), one a step. The others give (B, outputs): "last" from the last valid
    step of each row (for backward layers the first, which they read last), "mean" from the mean over the valid steps,
    "attention" from their mean with learned weights (Yang et al. 2016), judged in as many features as a step has.

    ``dtype``: what products are computed in; None: the dtype of the inputs. Outputs are float32 in any case.
    ``backend``: as in `gru_jax.scan`.
    """

    cell: gru_jax.Cell
    features: int | tuple[int, ...]
    inputs: Tokens | Vectors | MeasuredFeatures
    outputs: int
    readout: Readout
    num_layers: int = 1
    bidirectional: bool = False
    dropout_rate: float = 0.0
    input_features: int | None = None
    dtype: Any = None
    backend: str = "auto"

    def setup(self) -> None:
        """Make the layers; without ``input_features`` tokens enter one-hot and vectors as they are."""
        if self.input_features is not None:
            if isinstance(self.inputs, Tokens):
                self.input_layer = _embedding(self.inputs, self.input_features)
            else:
                self.input_layer = dense(self.input_features, self.dtype)
        self.recurrent = recurrent_layers(self)
        if self.readout == "attention":
            self.pooling = attention_pooling(self)
        self.dropout = nn.Dropout(self.dropout_rate)
        self.output_layer = dense(self.outputs, self.dtype)

    def __call__(
        self, inputs: jax.Array | Judged, seq_lengths: jax.Array | None = None, *, deterministic: bool = True
    ) -> jax.Array:
        """Outputs for tokens (B, T) or vectors (B, T, I); ``seq_lengths`` (B,) says where rows end.

        The logits of `Judged` tokens are added to the outputs: the model learns what these logits miss.
        With ``deterministic=False`` dropout acts, and draws from the "dropout" key.
        """
        return self.pooled(inputs, seq_lengths, deterministic=deterministic).outputs

    def pooled(self, inputs: Any, seq_lengths: jax.Array | None = None, *, deterministic: bool = True) -> Pooled:
        """The outputs of a call, and with ``readout="attention"`` the weights (B, T) of the steps that they rest on."""
        inputs, judged = inputs if isinstance(inputs, Judged) else (inputs, None)
        _, ys = self.recurrent(self._enter(inputs), seq_lengths=seq_lengths, deterministic=deterministic)
        weights = None
        if self.readout == "last":
            ys = self._last(ys, seq_lengths)
        elif self.readout == "attention":
            ys, weights = self.pooling(ys, seq_lengths=seq_lengths)
        elif self.readout == "mean":
            # Padded steps are zero in ys; a row of length 0 has mean 0.
            ys = widened(ys)
            lengths = jnp.full(ys.shape[0], ys.shape[1]) if seq_lengths is None else seq_lengths
            ys = ys.sum(axis=1) / jnp.maximum(lengths, 1)[:, None].astype(ys.dtype)
        outputs = self.output_layer(self.dropout(ys, deterministic=deterministic))
        return Pooled(outputs if judged is None else outputs + judged, weights)

    def advance(self, inputs: jax.Array, carry: Any = None) -> tuple[Any, jax.Array]:
        """Read (B, T) more inputs from ``carry`` (None: the start), without dropout.

        Returns the carry to go on from, and the outputs at every step, (B, T, outputs).
        """
        carry, ys = self.recurrent(self._enter(inputs), initial_carry=carry, deterministic=True)
        return carry, self.output_layer(ys)

    def _enter(self, inputs: Any) -> Any:
        if self.input_features is not None:
            return self.input_layer(inputs)
        if isinstance(self.inputs, MeasuredFeatures):
            return gru_jax.GRUDInputs(*inputs)
        return jax.nn.one_hot(inputs, self.inputs.vocabulary) if isinstance(self.inputs, Tokens) else inputs

    def _last(self, ys: jax.Array, seq_lengths: jax.Array | None) -> jax.Array:
        if seq_lengths is None:
            last = ys[:, -1]
        else:
            final = jnp.maximum(seq_lengths - 1, 0)
            last = jnp.take_along_axis(ys, final[:, None, None], axis=1)[:, 0]
        if not self.bidirectional:
            return last
        forward = ys.shape[-1] // 2
        return jnp.concatenate([last[:, :forward], ys[:, 0, forward:]], axis=-1)


def _embedding(tokens: Tokens, width: int) -> nn.Embed:
    if tokens.initial_vectors is None:
        return nn.Embed(tokens.vocabulary, width)
    vectors = tokens.initial_vectors.vectors
    return nn.Embed(tokens.vocabulary, width, embedding_init=lambda key, shape, dtype: jnp.asarray(vectors, dtype))
