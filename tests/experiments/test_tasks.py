"""What holds for every task: batches are functions of (seed, step), splits are fixed, shapes fit what the task says."""

import subprocess
import sys

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from experiments import losses, tasks
from experiments.tasks import Batch, Frames, TaskConfig, Tokens
from experiments.tasks.task import cut

CONFIGS = {
    "copy": {"name": "copy", "length": 4, "symbols": 5, "delay": 6, "validation_rows": 30, "test_rows": 50},
    "adding": {"name": "adding", "length": 12, "validation_rows": 30, "test_rows": 50},
    "digits": {"name": "digits", "steps": 8, "augmentation": {"shift": 1, "rotation": 10, "noise": 0.1}},
    "chars": {"name": "chars", "window": 20},
    "video": {"name": "video", "side": 12, "steps": 6, "validation_rows": 30, "test_rows": 50},
    "video_digits": {"name": "video", "target": "digits", "side": 12, "steps": 6, "validation_rows": 30},
}
every_task = pytest.mark.parametrize("name", CONFIGS)


@pytest.fixture(scope="module")
def built():
    adapter = TypeAdapter(TaskConfig)
    return {name: tasks.build(adapter.validate_python(config)) for name, config in CONFIGS.items()}


def same(left, right):
    return all(np.array_equal(a, b) for a, b in zip(left, right, strict=True) if a is not None)


@every_task
def test_train_batch_is_a_function_of_seed_and_step(built, name):
    draw = built[name].train_batch
    first = draw(3, 7, 16)
    draw(4, 8, 16)
    assert same(first, draw(3, 7, 16))
    assert not same(first, draw(3, 8, 16))
    assert not same(first, draw(4, 7, 16))


@every_task
def test_shapes_and_types_fit_the_task(built, name):
    task = built[name]
    for batch in [task.train_batch(0, 0, 16), next(task.split_batches("test", 16))]:
        rows = len(batch.inputs)
        if isinstance(task.inputs, Tokens):
            assert batch.inputs.ndim == 2
            assert batch.inputs.dtype == np.int32
            assert 0 <= batch.inputs.min() <= batch.inputs.max() < task.inputs.vocabulary
        elif isinstance(task.inputs, Frames):
            assert batch.inputs.shape[2:] == task.inputs[:3]
            assert batch.inputs.dtype == np.float32
        else:
            assert batch.inputs.shape[2] == task.inputs.features
            assert batch.inputs.dtype == np.float32
        leading = batch.inputs.shape[:2] if task.per_step else (rows,)
        if task.loss == "cross_entropy":
            assert batch.targets.shape == leading
            assert batch.targets.dtype == np.int32
            assert 0 <= batch.targets.min() <= batch.targets.max() < task.outputs
        else:
            assert batch.targets.shape == (*leading, task.outputs)
            assert batch.targets.dtype == np.float32
        assert batch.weights.shape == leading
        assert batch.weights.dtype == np.float32


@every_task
@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_split_is_the_same_whatever_the_batch_size(built, name, split):
    task = built[name]

    def weighing(batch_size):
        batches = list(task.split_batches(split, batch_size))
        assert len({batch.inputs.shape for batch in batches}) == 1
        kept = [batch.weights.reshape(len(batch.weights), -1).any(axis=1) for batch in batches]
        return [
            np.concatenate([field[rows] for field, rows in zip(fields, kept, strict=True)])
            for fields in list(zip(*batches, strict=True))[:3]
        ]

    assert same(weighing(7), weighing(1000))


@every_task
def test_validation_and_test_differ(built, name):
    task = built[name]
    assert not same(next(task.split_batches("validation", 16)), next(task.split_batches("test", 16)))


@every_task
def test_metrics_and_floors_are_known_names(built, name):
    task = built[name]
    assert set(task.metrics) <= set(losses.BETTER)
    assert set(task.floor) <= set(losses.BETTER)
    assert task.metrics[0] in task.floor
    assert task.floor_note


def test_cut_fills_the_last_batch_with_rows_that_weigh_nothing():
    rows = Batch(np.arange(10).reshape(5, 2), np.arange(5), np.full(5, 2, np.float32), np.arange(5))
    first, last = cut(rows, 3)
    assert first.inputs.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert last.inputs.tolist() == [[6, 7], [8, 9], [0, 1]]
    assert last.targets.tolist() == [3, 4, 0]
    assert last.weights.tolist() == [2, 2, 0]
    assert last.seq_lengths.tolist() == [3, 4, 0]


def test_cut_takes_fewer_rows_than_a_batch_as_one_batch():
    rows = Batch(np.zeros((5, 2)), np.zeros((5, 2)), np.ones((5, 2)))
    (only,) = cut(rows, 8)
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
        "import sys; from experiments import tasks; from experiments.tasks import chars, digits\n"
        "tasks.check_data(digits.DigitsConfig(name='digits')); tasks.check_data(chars.CharsConfig(name='chars'))\n"
        "tasks.build(digits.DigitsConfig(name='digits'))\n"
        "print({'jax', 'flax', 'sklearn', 'pydoc_data.topics'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
