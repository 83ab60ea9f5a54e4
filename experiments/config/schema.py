"""The blocks of a run's config that know no task: model, optimiser, training, checkpoints and logging.

Each is frozen; unknown keys and values of another type are refused. A validator's ValueError is shown behind the path
of the field that it belongs to. Nothing here imports JAX: a config is checked in a fraction of a second.
"""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    field_validator,
)
from pydantic import ValidationInfo as Info

from experiments.config.backends import Backend, refusal
from experiments.config.block import Block
from experiments.config.cells import CellConfig, GRUCellConfig

# Bounds far above what anybody runs. Only a slip of the finger exceeds them, which would fail to allocate.
Width = Annotated[int, Field(gt=0, le=2**16)]
Rows = Annotated[int, Field(gt=0, le=2**20)]
Layers = Annotated[int, Field(gt=0, le=2**8)]
# Steps are counted in int32.
Steps = Annotated[int, Field(gt=0, lt=2**31)]
PositiveFloat = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


def _run(path: str) -> str:
    if not path.strip():
        raise ValueError("expected a run directory or null, got an empty text")
    # One spelling, so that RUN and RUN/ are one config.
    return str(Path(path))


# A run's directory, relative to where the command runs.
RunPath = Annotated[str, AfterValidator(_run)]


def _features(value: Any) -> int | tuple[int, ...]:
    widths = value if isinstance(value, list | tuple) else (value,)
    if not widths or any(
        isinstance(width, bool) or not isinstance(width, int) or not 0 < width <= 2**16 for width in widths
    ):
        shown = "null" if value is None else repr(value)
        raise ValueError(f"expected an integer > 0 and <= {2**16} (or a list of them, one width a layer), got {shown}")
    return tuple(widths) if isinstance(value, list | tuple) else value


Features = Annotated[int | tuple[int, ...], PlainValidator(_features), PlainSerializer(lambda value: value)]


class ModelConfig(Block):
    """Recurrent layers between an optional input layer and a linear read-out; or an encoder and a decoder of these.

    A key that is None is left to the model. It has to be None where the model has nothing of the kind.
    """

    cell: CellConfig = GRUCellConfig(name="gru")
    features: Features = 128
    num_layers: Layers = 1
    bidirectional: bool = False
    dropout_rate: Fraction = 0.0
    input_features: Width | None = None
    readout: Literal["last", "mean", "attention", "every"] | None = None
    members: Annotated[int, Field(gt=0, le=64)] = 1
    """How many such models learn side by side, each from its own part of every batch; their answers are averaged."""
    attention: Literal["additive", "dot_product"] | None = None
    """The attention of an encoder-decoder; None: additive."""
    beam_size: Annotated[int, Field(gt=0, le=2**10)] | None = None
    """The beam of an encoder-decoder's search; None: 1, which is greedy."""
    length_penalty: Annotated[float, Field(ge=0)] | None = None
    """The exponent by which a beam search favours long targets (Wu et al. 2016); None: 0."""
    start: RunPath | None = None
    """A finished run whose weights the training begins with, the best ones where it kept them; None: random weights.

    The recurrent layers must be of the same sizes. The read-out is taken where its shape and classes agree, the vectors
    of tokens where the tokens agree. What is not taken begins at random, and the run says so."""
    backend: Backend = "auto"
    """What runs the recurrent layers over time; "auto": what `gru_jax.backend_for` takes."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """What the model computes in. Parameters, states, sums of products, losses and metrics are float32 in any case."""
    unwritten_at_default: ClassVar[tuple[str, ...]] = ("start", "backend", "dtype")

    @field_validator("backend")
    @classmethod
    def _a_backend_of_the_cell(cls, backend: str, info: Info) -> str:
        cell = info.data.get("cell")
        if cell is not None and (why := refusal(backend, cell.name)):
            raise ValueError(why)
        return backend

    @field_validator("dtype", mode="before")
    @classmethod
    def _null_is_float32(cls, dtype: Any) -> Any:
        return "float32" if dtype is None else dtype

    @field_validator("num_layers")
    @classmethod
    def _a_width_for_each_layer(cls, num_layers: int, info: Info) -> int:
        widths = info.data.get("features")
        if isinstance(widths, tuple) and num_layers not in (1, len(widths)):
            raise ValueError(f"model.features lists {len(widths)} widths, one a layer; leave num_layers out")
        return num_layers

    @property
    def widths(self) -> tuple[int, ...]:
        """The hidden width of each layer, first layer first."""
        return self.features if isinstance(self.features, tuple) else (self.features,) * self.num_layers


class OptimizerConfig(Block):
    """The optimiser, the course of its learning rate over the run, and gradient clipping."""

    name: Literal["adam", "adamw", "sgd", "rmsprop"] = "adam"
    learning_rate: PositiveFloat = 1e-3
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    final_scale: Annotated[float, Field(ge=0, le=1)] = 0.0
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    momentum: Fraction = 0.0
    clip_norm: PositiveFloat | None = None

    @field_validator("weight_decay", "momentum")
    @classmethod
    def _only_its_optimizer_has_it(cls, value: float, info: Info) -> float:
        owner, has = ("adamw", "decays weights") if info.field_name == "weight_decay" else ("sgd", "takes a momentum")
        if value and info.data.get("name", owner) != owner:
            raise ValueError(f"only {owner} {has}; set optimizer.name={owner} (it is {info.data['name']})")
        return value


class TrainingConfig(Block):
    """How long to train, and how often to look; all intervals are in steps."""

    steps: Steps = 1000
    batch_size: Rows = 32
    log_every: Steps = 50
    eval_every: Steps = 500
    eval_batch_size: Rows = 128
    keep_best: bool = False
    continue_from: RunPath | None = None
    """A finished run of fewer steps to go on from; ``train --continue RUN`` sets it. Its parameters, its optimiser's
    state and its count of steps are taken over; the schedule is that of the new length."""
    unwritten_at_default: ClassVar[tuple[str, ...]] = ("continue_from",)


class CheckpointConfig(Block):
    """How often to save (in steps), and how many of the latest checkpoints stay."""

    every: Steps = 500
    keep: Steps = 2


class LoggingConfig(Block):
    """What is written beside metrics.jsonl."""

    tensorboard: bool = True
    plots: bool = True
