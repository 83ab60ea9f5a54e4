import importlib.util

import numpy as np
import pytest
from sklearn.datasets import load_digits

from experiments.system.errors import UserError
from experiments.tasks.images import digits
from experiments.tasks.images.augmentation import ImageAugmentation
from experiments.tasks.images.digits import DigitsConfig, build


@pytest.fixture(scope="module")
def reference():
    """The same images through scikit-learn's own loader."""
    return load_digits(return_X_y=True)


def rows_of(task, split):
    (batch,) = task.split_batches(split, 10_000)
    return batch


def test_splits_are_those_rows_of_the_file(reference):
    images, labels = reference
    task = build(DigitsConfig(name="digits", steps=64))
    for split, rows in {"validation": slice(1257, 1437), "test": slice(1437, 1797)}.items():
        batch = rows_of(task, split)
        np.testing.assert_array_equal(batch.inputs[:, :, 0] * 16, images[rows])
        np.testing.assert_array_equal(batch.targets, labels[rows])


def test_one_epoch_shows_every_training_row_once(reference):
    images, labels = reference
    task = build(DigitsConfig(name="digits", steps=64))
    batches = [task.train_batch(5, step, 3) for step in range(419)]
    seen = np.concatenate([batch.inputs[:, :, 0] * 16 for batch in batches])
    classes = np.concatenate([batch.targets for batch in batches])
    assert len(seen) == 1257
    expected = np.column_stack([images[:1257], labels[:1257]])
    got = np.column_stack([seen, classes])
    np.testing.assert_array_equal(got[np.lexsort(got.T)], expected[np.lexsort(expected.T)])


def test_a_batch_may_span_epochs():
    task = build(DigitsConfig(name="digits", steps=8))
    small = [task.train_batch(0, step, 500) for step in range(6)]
    large = task.train_batch(0, 0, 3000)
    np.testing.assert_array_equal(np.concatenate([batch.inputs for batch in small]), large.inputs)


def test_eight_steps_are_the_rows_of_the_image():
    pixels = rows_of(build(DigitsConfig(name="digits", steps=64)), "test").inputs
    rows = rows_of(build(DigitsConfig(name="digits", steps=8)), "test").inputs
    assert rows.shape == (360, 8, 8)
    for row in range(8):
        for column in range(8):
            np.testing.assert_array_equal(rows[:, row, column], pixels[:, row * 8 + column, 0])


def test_held_out_images_are_never_augmented():
    plain = build(DigitsConfig(name="digits"))
    changed = build(DigitsConfig(name="digits", augmentation=ImageAugmentation(shift=2.0, rotation=90.0, noise=0.5)))
    np.testing.assert_array_equal(rows_of(plain, "test").inputs, rows_of(changed, "test").inputs)
    assert (plain.train_batch(0, 0, 8).inputs != changed.train_batch(0, 0, 8).inputs).any(axis=(1, 2)).all()


def test_missing_scikit_learn_is_named_with_the_way_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        UserError, match=r"scikit-learn, which is not installed; run: pip install --no-deps -r requirem"
    ):
        digits.check_data(DigitsConfig(name="digits"))


def test_a_scikit_learn_without_the_file_is_named(monkeypatch, tmp_path):
    spec = type("Spec", (), {"submodule_search_locations": [str(tmp_path)]})
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(UserError, match=r"digits\.csv\.gz of the package scikit-learn, .* \(\d.*\) lacks it; run: pip"):
        digits.check_data(DigitsConfig(name="digits"))
