"""The config of an experiment, one frozen model a block; unknown keys and values of another type are refused.

Nothing here imports JAX: a config is checked in a fraction of a second. ``experiments.config`` turns what these models
refuse into lines for a user; a validator's ValueError is shown behind the path of the field it belongs to.
"""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    field_validator,
    model_validator,
)
from pydantic import ValidationInfo as Info

from experiments.block import Block
from experiments.cell_configs import CellConfig, ConvGRUCellConfig, GRUCellConfig
from experiments.tasks import TaskConfig

# Far above what anybody runs; above them only a slip of the finger, which would end in a failed allocation.
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
Run = Annotated[str, AfterValidator(_run)]


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

    What is None is left to the model, and has to be where the model knows nothing of the kind.
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
    """Of an encoder-decoder; None: additive."""
    beam_size: Annotated[int, Field(gt=0, le=2**10)] | None = None
    """Of an encoder-decoder's search; None: 1, which is greedy."""
    length_penalty: Annotated[float, Field(ge=0)] | None = None
    """Of a beam search: the exponent that long targets are favoured by (Wu et al. 2016); None: 0."""
    start: Run | None = None
    """A finished run, whose weights (the best ones, where it kept them) the training begins with; None: random ones.

    The layers that read on from the inputs must be of the same sizes. The read-out is taken where shape and classes
    agree, the vectors of tokens where these are the same; what is not taken begins at random, and the run says so."""
    unwritten_at_none: ClassVar[tuple[str, ...]] = ("start",)

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

    @field_validator("weight_decay")
    @classmethod
    def _only_adamw_decays(cls, decay: float, info: Info) -> float:
        if decay and info.data.get("name", "adamw") != "adamw":
            raise ValueError(f"only adamw decays weights; set optimizer.name=adamw (it is {info.data['name']})")
        return decay

    @field_validator("momentum")
    @classmethod
    def _only_sgd_has_momentum(cls, momentum: float, info: Info) -> float:
        if momentum and info.data.get("name", "sgd") != "sgd":
            raise ValueError(f"only sgd takes a momentum; set optimizer.name=sgd (it is {info.data['name']})")
        return momentum


class TrainingConfig(Block):
    """How long to train, and how often to look; all intervals are in steps."""

    steps: Steps = 1000
    batch_size: Rows = 32
    log_every: Steps = 50
    eval_every: Steps = 500
    eval_batch_size: Rows = 128
    keep_best: bool = False
    continue_from: Run | None = None
    """A finished run of fewer steps to go on from, which ``train --continue RUN`` sets: with its parameters, its
    optimiser's state and its count of steps, and the schedule of the new length."""
    unwritten_at_none: ClassVar[tuple[str, ...]] = ("continue_from",)


class CheckpointConfig(Block):
    """How often to save (in steps), and how many of the latest checkpoints stay."""

    every: Steps = 500
    keep: Steps = 2


class LoggingConfig(Block):
    """What is written beside metrics.jsonl."""

    tensorboard: bool = True
    plots: bool = True


class Config(Block):
    """A whole experiment; together with the code and the data it determines every number that the run writes."""

    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    task: TaskConfig
    model: ModelConfig = ModelConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    training: TrainingConfig = TrainingConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    logging: LoggingConfig = LoggingConfig()

    @model_validator(mode="after")
    def _warm_up_ends_before_training(self) -> Self:
        warmup, steps = self.optimizer.warmup_steps, self.training.steps
        if warmup >= steps:
            raise ValueError(f"optimizer.warmup_steps: expected less than training.steps ({steps}), got {warmup}")
        return self

    @model_validator(mode="after")
    def _the_model_suits_the_task(self) -> Self:
        readout, task = self.model.readout, self.task
        self._the_cell_reads_the_inputs()
        self._decays_where_values_are_missing()
        if task.translates:
            return self._suits_an_encoder_decoder()
        for key in ("attention", "beam_size", "length_penalty"):
            if getattr(self.model, key) is not None:
                raise ValueError(
                    f"model.{key}: only an encoder-decoder has it, and task {task.name} asks for none; leave it out"
                )
        expected = ("every",) if task.per_step else ("last", "mean", "attention")
        if readout not in (None, *expected):
            asks = "an output at every step" if task.per_step else "one output a sequence"
            raise ValueError(
                f"model.readout: task {task.name} asks for {asks}: expected {', '.join(expected[:-1])}"
                f"{' or ' if expected[:-1] else ''}{expected[-1]}, got {readout}"
            )
        if task.token_width is not None and self.model.input_features != task.token_width:
            width = "null" if self.model.input_features is None else self.model.input_features
            raise ValueError(
                f"model.input_features: expected {task.token_width}, the width of the vectors that task {task.name} "
                f"starts from, got {width}"
            )
        if self.training.keep_best and getattr(task, "train_on_validation", False):
            raise ValueError(
                "training.keep_best: with task.train_on_validation it would choose by rows that are trained on; "
                "set one of the two to false"
            )
        if self.model.bidirectional and task.predicts_inputs:
            raise ValueError(
                f"model.bidirectional: task {task.name} predicts its own later inputs, which a backward layer would "
                "read; set it to false"
            )
        return self

    def _the_cell_reads_the_inputs(self) -> None:
        shape, cell = self.task.frame_shape, self.model.cell
        if not isinstance(cell, ConvGRUCellConfig):
            return
        if shape is None:
            raise ValueError(
                f"model.cell: conv_gru reads frames, and task {self.task.name} has none; expected gru, lstm, min_gru "
                "or rnn"
            )
        for key, size in {"patch_size": cell.patch_size, "pool_size": cell.pool_size}.items():
            if any(side % size for side in shape):
                what = "of the frames" if key == "patch_size" else "in patches"
                sides = " x ".join(map(str, shape))
                raise ValueError(f"model.cell.{key}: expected a divisor of both sides {what}, {sides}, got {size}")
            shape = tuple(side // size for side in shape)
        if cell.pool_size > 1 and (self.task.per_step or self.model.input_features is None):
            needs = "gives no frames back" if self.task.per_step else "is behind the input layer: set input_features"
            raise ValueError(f"model.cell.pool_size: a pool {needs}; expected 1, got {cell.pool_size}")

    def _decays_where_values_are_missing(self) -> None:
        cell, measured = self.model.cell.name, self.task.measured
        if measured != (cell == "gru_d"):
            name, read = self.task.name, "gru_d reads values with masks and gaps"
            choice = (
                f"only {read}, which is what task.missing=decay asks for; set model.cell to it or task.missing to mean"
                if measured
                else f"{read}, which task {name} {'gives with task.missing=decay' if name == 'patients' else 'lacks'}"
            )
            raise ValueError(f"model.cell: {choice}; got {cell}")
        if measured and len(self.model.widths) > 1:
            key = "features" if isinstance(self.model.features, tuple) else "num_layers"
            raise ValueError(f"model.{key}: expected one layer, since a gru_d reads what only the task gives")
        if measured and self.model.input_features is not None:
            raise ValueError("model.input_features: expected null, since a gru_d reads the values themselves")

    @model_validator(mode="after")
    def _members_share_the_batches(self) -> Self:
        members, task, batch_size = self.model.members, self.task, self.training.batch_size
        if members > 1 and (task.per_step or task.frame_shape is not None):
            raise ValueError(
                f"model.members: expected 1, since task {task.name} asks for more than one answer to a sequence of "
                f"tokens or vectors, got {members}"
            )
        if batch_size % members:
            raise ValueError(
                f"training.batch_size: expected a multiple of model.members ({members}), which share each batch, got "
                f"{batch_size}"
            )
        return self

    def _suits_an_encoder_decoder(self) -> Self:
        model = self.model
        if model.readout is not None:
            raise ValueError(
                f"model.readout: the encoder-decoder of task {self.task.name} has no choice of it; leave it out"
            )
        if model.length_penalty is not None and model.beam_size in (None, 1):
            raise ValueError("model.length_penalty: only a beam compares targets by it; set model.beam_size above 1")
        return self
