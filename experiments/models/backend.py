"""Which backend runs the recurrent layers of a model, and what it is chosen by."""

from typing import Any, NamedTuple

import jax

import gru_jax
from experiments.models.ensemble import Ensemble
from experiments.models.frames_model import FramesModel
from experiments.system.errors import UserError
from experiments.tasks.inputs import Frames, Sentences, Tokens


class FirstLayer(NamedTuple):
    """The first recurrent layer of a model, on a batch: what "auto" looks at."""

    cell: gru_jax.Cell
    backend: str
    """What the config asks for, "auto" or a name."""
    shape: tuple[int, int, int, int] | None
    """(T, B, I, H): steps, rows, width of the inputs and of the states; None where places are cells of their own."""
    dtype: str

    def __str__(self) -> str:
        """The sizes and the dtype, for the terminal."""
        sizes = "places of frames" if self.shape is None else f"(T, B, I, H) = {self.shape}"
        return f"{sizes} in {self.dtype}"


def first_layer(model: Any, inputs: Any) -> FirstLayer:
    """The first recurrent layer of what `build_model` returns, on the ``inputs`` of a training batch."""
    one, members = (model.member, model.count) if isinstance(model, Ensemble) else (model, 1)
    dtype = "float32" if one.dtype is None else str(one.dtype)
    if isinstance(one, FramesModel) and one.patch_size is not None:
        return FirstLayer(one.cell, one.backend, None, dtype)
    # The first array of any inputs is what the first layer reads, or tokens of it.
    rows, steps = jax.tree.leaves(inputs)[0].shape[:2]
    features = one.features if isinstance(one.features, int) else one.features[0]
    # Each member of an ensemble gets its own part of the batch.
    return FirstLayer(one.cell, one.backend, (steps, rows // members, _width(one), features), dtype)


def backend_taken(layer: FirstLayer) -> str:
    """The name of the backend that runs ``layer`` here; UserError for one that was asked for by name and cannot."""
    try:
        return gru_jax.backend_for(layer.cell, layer.backend, shape=layer.shape, dtype=layer.dtype)
    except ValueError as error:
        raise UserError(f"model.{error}") from None


def _width(model: Any) -> int:
    """The width of what the first layer reads."""
    if model.input_features is not None:
        return model.input_features
    match model.inputs:
        case Tokens():
            return model.inputs.vocabulary
        case Sentences():
            return model.inputs.source_vocabulary
        case Frames():
            return model.inputs.height * model.inputs.width * model.inputs.channels
    return model.inputs.features
