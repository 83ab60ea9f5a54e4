import importlib.util

import numpy as np
import pytest
from scipy.ndimage import affine_transform
from sklearn.datasets import load_digits

from experiments.errors import UserError
from experiments.tasks import digits
from experiments.tasks.digits import Augmentation, DigitsConfig, build
from experiments.tasks.images import warp


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


def test_a_warp_is_scipys_affine_transform():
    rng = np.random.default_rng(0)
    images, shifts = rng.random((5, 8, 8)), rng.uniform(-3, 3, (5, 2))
    matrices = np.eye(2) + rng.uniform(-0.5, 0.5, (5, 2, 2))
    for image, matrix, shift, warped in zip(images, matrices, shifts, warp(images, matrices, shifts), strict=True):
        middle = np.full(2, 3.5)
        offset = middle - shift - matrix @ middle
        expected = affine_transform(image, matrix, offset, order=1, mode="grid-constant")
        np.testing.assert_allclose(warped, expected, atol=1e-12)


def middles(batch):
    """Centre of mass of each image: its row and its column."""
    images = batch.inputs.reshape(-1, 8, 8).astype(float)
    mass = images.sum(axis=(1, 2))
    return np.array([(images.sum(axis=axis) @ np.arange(8)) / mass for axis in (2, 1)])


def augmented(**options):
    return build(DigitsConfig(name="digits", augmentation=Augmentation(**options))).train_batch(0, 0, 1000)


def test_shifts_reach_their_bound_in_all_directions():
    down, right = middles(augmented(shift=0.5)) - middles(augmented())
    np.testing.assert_allclose(np.percentile(right, [2, 98]), [-0.48, 0.48], atol=0.02)
    # Digits fill the height of the image: part of what moves down leaves it, and the middle of the rest moves less.
    np.testing.assert_allclose(np.percentile(down, [2, 98]), [-0.3, 0.3], atol=0.05)


def test_a_half_turn_and_a_stretch_keep_the_middle_in_place():
    turned = augmented(rotation=180.0).inputs.reshape(-1, 8, 8)
    assert np.abs(turned.mean(axis=0) - turned.mean(axis=0)[::-1, ::-1]).max() < 0.05
    stretched = middles(augmented(stretch=0.2)) - middles(augmented())
    assert np.abs(stretched.mean(axis=1)).max() < 0.05
    assert stretched.std() > 0.01


def test_noise_and_ink_have_the_size_asked_for():
    plain = augmented().inputs
    assert np.std(augmented(noise=0.1).inputs - plain) == pytest.approx(0.1, rel=0.02)
    factors = augmented(ink=0.2).inputs.sum(axis=(1, 2)) / plain.sum(axis=(1, 2))
    assert 0.8 <= factors.min() < 0.81
    assert 1.19 < factors.max() <= 1.2001


def test_held_out_images_are_never_augmented():
    plain = build(DigitsConfig(name="digits"))
    changed = build(DigitsConfig(name="digits", augmentation=Augmentation(shift=2.0, rotation=90.0, noise=0.5)))
    np.testing.assert_array_equal(rows_of(plain, "test").inputs, rows_of(changed, "test").inputs)


def test_missing_scikit_learn_is_named_with_the_way_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"not installed; run: pip install"):
        digits.check_data(DigitsConfig(name="digits"))
