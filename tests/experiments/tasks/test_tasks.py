"""What holds for every task: batches are functions of (seed, step), splits are fixed, shapes fit what the task says."""

import functools
import subprocess
import sys
from typing import ClassVar, Literal

import jax
import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from experiments import tasks
from experiments.tasks import Batch, TaskConfig
from experiments.tasks.inputs import Frames, Sentences, Tokens
from experiments.tasks.registry import register
from experiments.tasks.task import Quantiles, TaskBlock, batches_of
from experiments.training import losses
from tests.refusals import refused

CONFIGS = {
    "copy": {"name": "copy", "length": 4, "symbols": 5, "delay": 6, "validation_rows": 30, "test_rows": 50},
    "adding": {"name": "adding", "length": 12, "validation_rows": 30, "test_rows": 50},
    "digits": {"name": "digits", "steps": 8, "augmentation": {"shift": 1, "rotation": 10, "noise": 0.1}},
    "chars": {"name": "chars", "window": 20},
    "video": {"name": "video", "side": 12, "steps": 6, "validation_rows": 30, "test_rows": 50},
    "video_digits": {"name": "video", "target": "digits", "side": 12, "steps": 6, "validation_rows": 30},
    "speech_vowels": {"name": "speech_vowels"},
    "speech_digits": {"name": "speech_digits", "augmentation": {"crop": 0.1, "noise": 0.2}},
    "digits_mnist": {"name": "digits_mnist", "steps": 28},
    "activity": {"name": "activity", "fold": 2, "steps": 50},
    "robot_dynamics": {"name": "robot_dynamics"},
    "forecast": {"name": "forecast"},
    "forecast_weather": {"name": "forecast", "series": "weather"},
    "music": {"name": "music", "window": 32, "transpose": 2},
    "sentiment": {"name": "sentiment"},
    "pronunciation": {"name": "pronunciation"},
    "translation": {"name": "translation", "dates": 400},
    "summarise": {"name": "summarise"},
    "summarise_extract": {"name": "summarise_extract"},
    "patients": {"name": "patients", "fold": 2},
}
every_task = pytest.mark.parametrize("name", CONFIGS)


@functools.cache
def built(name):
    """A task, loaded once; where its data is not installed the test that asks for it is skipped (see conftest.py)."""
    return tasks.build(TypeAdapter(TaskConfig).validate_python(CONFIGS[name]))


def leaves(batch):
    return jax.tree.leaves(tuple(batch))


def same(left, right):
    pairs = zip(leaves(left), leaves(right), strict=True)
    return all(np.array_equal(one, other, equal_nan=one.dtype.kind == "f") for one, other in pairs)


@every_task
def test_train_batch_is_a_function_of_seed_and_step(name):
    draw = built(name).train_batch
    first = draw(3, 7, 16)
    draw(4, 8, 16)
    assert same(first, draw(3, 7, 16))
    assert not same(first, draw(3, 8, 16))
    assert not same(first, draw(4, 7, 16))


def assert_tokens(array, vocabulary):
    assert array.dtype == np.int32
    assert 0 <= array.min() <= array.max() < vocabulary


@every_task
def test_shapes_and_types_fit_the_task(name):
    task = built(name)
    for batch in [task.train_batch(0, 0, 16), next(task.split_batches("test", 16))]:
        first, *others = jax.tree.leaves(batch.inputs)
        if isinstance(task.inputs, Sentences):
            assert_tokens(batch.inputs.source, task.inputs.source_vocabulary)
            assert_tokens(batch.inputs.target_in, task.inputs.target_vocabulary)
            assert (batch.inputs.target_in[:, 0] == task.inputs.start).all()
            first = batch.inputs.target_in
        elif isinstance(task.inputs, Tokens):
            assert_tokens(first, task.inputs.vocabulary)
        elif isinstance(task.inputs, Frames):
            assert first.shape[2:] == task.inputs[:3]
        else:
            assert {leaf.shape[2] for leaf in (first, *others)} == {task.inputs.features}
        if not isinstance(task.inputs, Sentences | Tokens):
            assert first.dtype == np.float32
        leading = first.shape[:2] if task.per_step else first.shape[:1]
        if task.loss == "cross_entropy":
            assert batch.targets.shape[: len(leading)] == leading
            assert_tokens(batch.targets, task.outputs)
        else:
            values = task.outputs // (len(task.loss.levels) if isinstance(task.loss, Quantiles) else 1)
            assert batch.targets.shape == (*leading, values)
            assert batch.targets.dtype == np.float32
        assert batch.weights.shape == leading
        assert batch.weights.dtype == np.float32


@every_task
@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_split_is_the_same_whatever_the_batch_size(name, split):
    task = built(name)

    def weighing(batch_size):
        batches = list(task.split_batches(split, batch_size))
        assert len({tuple(leaf.shape for leaf in leaves(batch)) for batch in batches}) == 1
        kept = [batch.weights.reshape(len(batch.weights), -1).any(axis=1) for batch in batches]
        fields = zip(*(leaves(batch) for batch in batches), strict=True)
        return [np.concatenate([part[rows] for part, rows in zip(field, kept, strict=True)]) for field in fields]

    assert same(weighing(7), weighing(1000))


@every_task
def test_validation_and_test_differ(name):
    task = built(name)
    assert not same(next(task.split_batches("validation", 16)), next(task.split_batches("test", 16)))


@every_task
def test_metrics_and_floors_are_known_names(name):
    task = built(name)
    assert set(task.metrics) <= set(losses.BETTER)
    assert set(task.floor) <= set(losses.BETTER)
    assert task.floor
    assert task.floor_note


def test_cut_fills_the_last_batch_with_rows_that_weigh_nothing():
    rows = Batch(np.arange(10).reshape(5, 2), np.arange(5), np.full(5, 2, np.float32), np.arange(5))
    first, last = batches_of(rows, 3)
    assert first.inputs.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert last.inputs.tolist() == [[6, 7], [8, 9], [0, 1]]
    assert last.targets.tolist() == [3, 4, 0]
    assert last.weights.tolist() == [2, 2, 0]
    assert last.seq_lengths.tolist() == [3, 4, 0]


def test_cut_takes_fewer_rows_than_a_batch_as_one_batch():
    rows = Batch(np.zeros((5, 2)), np.zeros((5, 2)), np.ones((5, 2)))
    (only,) = batches_of(rows, 8)
    assert only.weights.shape == (5, 2)
    assert only.weights.sum() == 10


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({"name": "sorting"}, "sorting"),
        ({"name": "copy", "delay": -1}, "delay"),
        ({"name": "copy", "delay": "3"}, "delay"),
        ({"name": "copy", "length": True}, "length"),
        ({"name": "adding", "length": 1}, "length"),
        ({"name": "digits", "steps": 16}, "steps"),
        ({"name": "digits", "augmentation": {"shift": 9}}, "shift"),
        ({"name": "chars", "windows": 20}, "windows"),
    ],
)
def test_configs_refuse(config, path):
    with pytest.raises(ValidationError, match=path):
        TypeAdapter(TaskConfig).validate_python(config)


def test_tasks_load_without_jax_or_scikit_learn():
    code = (
        "import sys; from experiments import tasks\n"
        "from experiments.tasks.text import chars; from experiments.tasks.images import digits\n"
        "tasks.check_data(digits.DigitsConfig(name='digits')); tasks.check_data(chars.CharsConfig(name='chars'))\n"
        "tasks.build(digits.DigitsConfig(name='digits'))\n"
        "print({'jax', 'flax', 'sklearn', 'pydoc_data.topics'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


class TakenConfig(TaskBlock):
    per_step: ClassVar[bool] = False
    name: Literal["adding"]


class NamelessConfig(TaskBlock):
    per_step: ClassVar[bool] = False


class UnsaidConfig(TaskBlock):
    name: Literal["unsaid"]


@pytest.mark.parametrize(
    ("block", "words"),
    [
        (TakenConfig, ["TakenConfig: ", "synthetic.adding has a task named adding", "another name"]),
        (NamelessConfig, ["NamelessConfig: ", "the name of the task", 'name: Literal["..."]']),
        (UnsaidConfig, ["UnsaidConfig: ", "expected per_step", "ClassVar[bool]"]),
    ],
)
def test_a_block_that_cannot_be_a_task_is_refused_with_its_place(block, words):
    with refused(ValueError, [__name__, *words]):
        register(block, check_data=lambda config: None, build=lambda config: None)
