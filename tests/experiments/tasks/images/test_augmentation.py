import numpy as np
import pytest
from scipy.ndimage import affine_transform

from experiments.tasks.images.augmentation import ImageAugmentation, augment, warp

# A blurred spot off the middle of an image, and the places of pixels seen from its middle.
ROWS, COLUMNS = np.indices((28, 28)) - 13.5
SPOT = np.exp(-((ROWS - 5) ** 2 + (COLUMNS - 3) ** 2) / 4)


def middles(images):
    """Centre of mass of each image, seen from its middle: rows, columns."""
    mass = images.sum(axis=(1, 2))
    return np.array([(images * places).sum(axis=(1, 2)) / mass for places in (ROWS, COLUMNS)])


def changed(**options):
    return augment(np.repeat(SPOT[None], 500, axis=0), ImageAugmentation(**options), np.random.default_rng(0))


@pytest.mark.parametrize("side", [8, 28])
def test_a_warp_is_scipys_affine_transform(side):
    rng = np.random.default_rng(0)
    images, shifts = rng.random((5, side, side)), rng.uniform(-3, 3, (5, 2))
    matrices = np.eye(2) + rng.uniform(-0.5, 0.5, (5, 2, 2))
    for image, matrix, shift, warped in zip(images, matrices, shifts, warp(images, matrices, shifts), strict=True):
        middle = np.full(2, (side - 1) / 2)
        offset = middle - shift - matrix @ middle
        expected = affine_transform(image, matrix, offset, order=1, mode="grid-constant")
        np.testing.assert_allclose(warped, expected, atol=1e-12)


def test_without_bounds_nothing_changes():
    assert changed().dtype == np.float32
    np.testing.assert_array_equal(changed()[0], np.float32(SPOT))


def test_shifts_reach_their_bound_in_all_directions():
    for moved, before in zip(middles(changed(shift=2.0)), (5, 3), strict=True):
        np.testing.assert_allclose([moved.min(), moved.max()], [before - 2, before + 2], atol=0.05)


def test_a_rotation_keeps_the_distance_from_the_middle():
    rows, columns = middles(changed(rotation=20.0))
    np.testing.assert_allclose(np.hypot(rows, columns), np.hypot(5, 3), rtol=0.01)
    angles = np.rad2deg(np.arctan2(columns, rows) - np.arctan2(3, 5))
    np.testing.assert_allclose([angles.min(), angles.max()], [-20, 20], atol=0.5)


def test_a_stretch_moves_things_away_from_the_middle_height_and_width_apart():
    rows, columns = middles(changed(stretch=0.2))
    np.testing.assert_allclose([rows.min(), rows.max()], [5 * 0.8, 5 * 1.2], atol=0.1)
    np.testing.assert_allclose([columns.min(), columns.max()], [3 * 0.8, 3 * 1.2], atol=0.1)
    assert abs(np.corrcoef(rows, columns)[0, 1]) < 0.2


def test_a_shear_moves_columns_by_how_low_they_are():
    rows, columns = middles(changed(shear=0.3))
    np.testing.assert_allclose(rows, 5, atol=0.01)
    np.testing.assert_allclose([columns.min(), columns.max()], [3 - 5 * 0.3, 3 + 5 * 0.3], atol=0.1)


def test_a_half_turn_keeps_the_middle_in_place():
    turned = changed(rotation=180.0).mean(axis=0)
    assert np.abs(turned - turned[::-1, ::-1]).max() < 0.05


def test_ink_has_the_size_asked_for():
    factors = changed(ink=0.2).sum(axis=(1, 2)) / SPOT.sum()
    np.testing.assert_allclose([factors.min(), factors.max()], [0.8, 1.2], atol=0.01)
    # Each image as a whole.
    np.testing.assert_allclose(changed(ink=0.2), factors[:, None, None] * SPOT, atol=1e-6)


def test_noise_has_the_size_asked_for():
    assert (changed(noise=0.1) - SPOT).std() == pytest.approx(0.1, rel=0.02)
