"""The model of a config: an input layer, recurrent layers of gru_jax, a linear read-out; or an encoder-decoder."""

from typing import TYPE_CHECKING, Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

import gru_jax
import gru_jax.linen
from experiments.encoder_decoder import EncoderDecoder
from experiments.ensemble import Ensemble
from experiments.frames_model import FramesModel
from experiments.tasks import Frames, Measured, Sentences, Task, Tokens, Vectors
from experiments.tasks.judged import Judged
from experiments.tasks.pooled import Pooled

if TYPE_CHECKING:
    from experiments.cell_configs import CellConfig
    from experiments.schema import ModelConfig

Readout = Literal["last", "mean", "attention", "every"]

_CELLS = {
    "gru": gru_jax.gru,
    "gru_d": gru_jax.gru_d,
    "lstm": gru_jax.lstm,
    "rnn": gru_jax.rnn,
    "min_gru": gru_jax.min_gru,
}


class SequenceModel(nn.Module):
    """Input layer, stacked recurrent layers, dropout, read-out.

    ``readout``: "every" gives outputs (B, T, outputs), one a step; "last" gives (B, outputs) from the last valid step
    of each row (backward layers: from the step they read last, the first); "mean" from the mean over the valid steps;
    "attention" from their mean with learned weights (Yang et al. 2016), judged in as many features as a step has.
    """

    cell: gru_jax.Cell
    features: int | tuple[int, ...]
    inputs: Tokens | Vectors | Measured
    outputs: int
    readout: Readout
    num_layers: int = 1
    bidirectional: bool = False
    dropout_rate: float = 0.0
    input_features: int | None = None

    def setup(self) -> None:
        """Make the layers; without ``input_features`` tokens enter one-hot and vectors as they are."""
        if self.input_features is not None:
            if isinstance(self.inputs, Tokens):
                self.input_layer = _embedding(self.inputs, self.input_features)
            else:
                self.input_layer = nn.Dense(self.input_features)
        layers = self.num_layers if isinstance(self.features, int) else len(self.features)
        self.recurrent = gru_jax.linen.GRU(
            self.features,
            num_layers=self.num_layers,
            bidirectional=self.bidirectional,
            dropout_rate=self.dropout_rate if layers > 1 else 0.0,
            cell=self.cell,
        )
        if self.readout == "attention":
            width = self.features if isinstance(self.features, int) else self.features[-1]
            self.pooling = gru_jax.linen.AttentionPooling((2 if self.bidirectional else 1) * width)
        self.dropout = nn.Dropout(self.dropout_rate)
        self.output_layer = nn.Dense(self.outputs)

    def __call__(
        self, inputs: jax.Array | Judged, seq_lengths: jax.Array | None = None, *, deterministic: bool = True
    ) -> jax.Array:
        """Outputs for tokens (B, T) or vectors (B, T, I); ``seq_lengths`` (B,) says where rows end.

        To the outputs for `Judged` tokens their logits are added: what is learned is what these miss.
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
        if isinstance(self.inputs, Measured):
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
    if tokens.start is None:
        return nn.Embed(tokens.vocabulary, width)
    vectors = tokens.start.vectors
    return nn.Embed(tokens.vocabulary, width, embedding_init=lambda key, shape, dtype: jnp.asarray(vectors, dtype))


def build_cell(config: "CellConfig") -> gru_jax.Cell:
    """Build the cell; the options of its config block are those of the function in gru_jax."""
    return _CELLS[config.name](**config.model_dump(exclude={"name"}))


def build_model(config: "ModelConfig", task: Task) -> Any:
    """Build the model of ``config`` for ``task``; that the two suit each other, the config's schema has checked.

    An `EncoderDecoder` for a task of sentences, a `FramesModel` for one of frames, a `SequenceModel` for any other, or
    an `Ensemble` of these.
    """
    if isinstance(task.inputs, Frames):
        return _frames_model(config, task, task.inputs)
    if isinstance(task.inputs, Sentences):
        return EncoderDecoder(
            cell=build_cell(config.cell),
            features=config.features,
            inputs=task.inputs,
            attention=config.attention or "additive",
            num_layers=config.num_layers,
            bidirectional=config.bidirectional,
            dropout_rate=config.dropout_rate,
            input_features=config.input_features,
            beam_size=config.beam_size or 1,
            length_penalty=config.length_penalty or 0.0,
        )
    model = SequenceModel(
        cell=build_cell(config.cell),
        features=config.features,
        inputs=task.inputs,
        outputs=task.outputs,
        readout=config.readout or ("every" if task.per_step else "last"),
        num_layers=config.num_layers,
        bidirectional=config.bidirectional,
        dropout_rate=config.dropout_rate,
        input_features=config.input_features,
    )
    if config.members == 1:
        return model
    return Ensemble(model, config.members, probabilities=task.loss == "cross_entropy")


def _frames_model(config: "ModelConfig", task: Task, frames: Frames) -> FramesModel:
    patch_size, pool_size = None, 1
    if config.cell.name == "conv_gru":
        patch_size, pool_size = config.cell.patch_size, config.cell.pool_size
        options = config.cell.model_dump(exclude={"name", "kernel_size", "patch_size", "pool_size"})
        place = patch_size * pool_size
        cell = gru_jax.conv_gru(
            image_shape=(frames.height // place, frames.width // place),
            kernel_shape=(config.cell.kernel_size, config.cell.kernel_size),
            **options,
        )
    else:
        cell = build_cell(config.cell)
    return FramesModel(
        cell=cell,
        features=config.features,
        inputs=frames,
        outputs=task.outputs,
        readout=config.readout or ("every" if task.per_step else "last"),
        patch_size=patch_size,
        pool_size=pool_size,
        num_layers=config.num_layers,
        bidirectional=config.bidirectional,
        dropout_rate=config.dropout_rate,
        input_features=config.input_features,
    )
