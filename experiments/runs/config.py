"""The whole config of a training run, and what its blocks ask of each other. Nothing here imports JAX."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from experiments.config.block import Block
from experiments.config.cells import ConvGRUCellConfig
from experiments.config.schema import (
    CheckpointConfig,
    LoggingConfig,
    ModelConfig,
    OptimizerConfig,
    TrainingConfig,
)
from experiments.tasks import TaskConfig


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
