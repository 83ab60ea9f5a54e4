"""Models for tasks without data, with parameters none of which is 0, and rows to run them on."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.config.schema import ModelConfig
from experiments.models.build import build_model
from experiments.tasks import Task
from experiments.tasks.inputs import Frames, Judged, MeasuredFeatures, Measurements, Sentences, SourceAndTarget, Tokens

STEPS = 6
LENGTHS = np.array([STEPS, 0, 1, 4], np.int32)


def task_of(inputs, *, per_step=False, loss="cross_entropy", outputs=3, class_names=()):
    return Task(
        name="made",
        inputs=inputs,
        outputs=outputs,
        per_step=per_step,
        loss=loss,
        metrics=("nll",),
        floor={},
        floor_note="",
        train_batch=lambda *_: None,
        split_batches=lambda *_: iter(()),
        class_names=class_names,
    )


def rows_of(task, *, judged=False):
    """Inputs of four rows; what is beyond `LENGTHS` is NaN, but for tokens."""
    rng = np.random.default_rng(0)

    def numbers(*shape):
        return rng.standard_normal((len(LENGTHS), STEPS, *shape)).astype(np.float32)

    def tokens(vocabulary):
        return rng.integers(vocabulary, size=(len(LENGTHS), STEPS), dtype=np.int32)

    inputs = task.inputs
    if isinstance(inputs, Frames):
        return numbers(inputs.height, inputs.width, inputs.channels)
    if isinstance(inputs, Sentences):
        return SourceAndTarget(tokens(inputs.source_vocabulary), tokens(inputs.target_vocabulary)[:, :-1])
    if isinstance(inputs, Tokens):
        rows = tokens(inputs.vocabulary)
        return Judged(rows, numbers(task.outputs)[:, 0]) if judged else rows
    padding = (np.arange(STEPS) >= LENGTHS[:, None])[..., None]
    if isinstance(inputs, MeasuredFeatures):
        observed = np.float32(rng.random((len(LENGTHS), STEPS, inputs.features)) < 0.5)
        return Measurements(observed * numbers(inputs.features), observed, np.abs(numbers(inputs.features)))
    return np.where(padding, np.float32(np.nan), numbers(inputs.features))


def made(task, *, judged=False, **config):
    """The model, its variables and rows."""
    model = build_model(ModelConfig.model_validate({"features": 4, **config}), task)
    inputs = rows_of(task, judged=judged)
    shapes = jax.eval_shape(model.init, jax.random.key(0), inputs)
    rng = np.random.default_rng(1)
    variables = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(scale=0.6, size=leaf.shape), leaf.dtype), shapes)
    return model, variables, inputs
