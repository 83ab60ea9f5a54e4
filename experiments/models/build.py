"""Builds the cell and the model of a config."""

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp

import gru_jax
from experiments.models.encoder_decoder import EncoderDecoder
from experiments.models.ensemble import Ensemble
from experiments.models.frames_model import FramesModel
from experiments.models.sequence_model import SequenceModel
from experiments.tasks import Task
from experiments.tasks.inputs import Frames, Sentences

if TYPE_CHECKING:
    from experiments.config.cells import CellConfig
    from experiments.config.schema import ModelConfig

_CELLS = {
    "gru": gru_jax.gru,
    "gru_d": gru_jax.gru_d,
    "lstm": gru_jax.lstm,
    "rnn": gru_jax.rnn,
    "min_gru": gru_jax.min_gru,
}


def build_cell(config: "CellConfig") -> gru_jax.Cell:
    """Build the cell; the options of its config block are those of the function in gru_jax."""
    return _CELLS[config.name](**config.model_dump(exclude={"name"}))


def build_model(config: "ModelConfig", task: Task) -> Any:
    """Build the model of ``config`` for ``task``; `experiments.runs.config` has checked that the two suit each other.

    It is an `EncoderDecoder` for a task of sentences, a `FramesModel` for a task of frames, and for any other task a
    `SequenceModel` or an `Ensemble` of these.
    """
    keys = ("features", "num_layers", "bidirectional", "dropout_rate", "input_features", "backend")
    layers: dict[str, Any] = {key: getattr(config, key) for key in keys}
    # None, the dtype of the inputs, is float32 without a cast.
    layers["dtype"] = None if config.dtype == "float32" else jnp.dtype(config.dtype)
    if isinstance(task.inputs, Sentences):
        return EncoderDecoder(
            cell=build_cell(config.cell),
            inputs=task.inputs,
            attention=config.attention or "additive",
            beam_size=config.beam_size or 1,
            length_penalty=config.length_penalty or 0.0,
            **layers,
        )
    layers |= {"outputs": task.outputs, "readout": config.readout or ("every" if task.per_step else "last")}
    if isinstance(task.inputs, Frames):
        return _frames_model(config, task.inputs, layers)
    model = SequenceModel(cell=build_cell(config.cell), inputs=task.inputs, **layers)
    if config.members == 1:
        return model
    return Ensemble(model, config.members, probabilities=task.loss == "cross_entropy")


def _frames_model(config: "ModelConfig", frames: Frames, layers: dict[str, Any]) -> FramesModel:
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
    return FramesModel(cell=cell, inputs=frames, patch_size=patch_size, pool_size=pool_size, **layers)
