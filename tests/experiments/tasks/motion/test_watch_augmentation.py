import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from experiments.tasks.motion.watch_augmentation import MIRROR, WatchAugmentation, augment, resample, rotations

PIECES = np.random.default_rng(0).standard_normal((300, 300, 6))
# A recording whose value says when it was taken.
CLOCK = np.tile(np.arange(300.0)[:, None], (300, 1, 6))


def changed(pieces, **options):
    return augment(pieces, 200, 100, 50, WatchAugmentation(**options), np.random.default_rng(1))


def test_half_as_many_steps_are_means_of_neighbours():
    expected = PIECES[:, 50:250].reshape(300, 100, 2, 6).mean(axis=2)
    np.testing.assert_allclose(changed(PIECES), expected, atol=1e-12)


def test_resampling_reads_between_samples():
    start, length = np.array([3.2, 40.0]), np.array([250.5, 60.0])
    got = resample(PIECES[:2], start, length, 17)
    for row in range(2):
        places = start[row] + (np.arange(17) + 0.5) / 17 * length[row] - 0.5
        for feature in range(6):
            expected = np.interp(places, np.arange(300), PIECES[row, :, feature])
            np.testing.assert_allclose(got[row, :, feature], expected, atol=1e-12)


def test_a_shift_is_in_seconds_and_stays_in_the_piece():
    begin = changed(CLOCK, shift=0.5)[:, 0, 0] - changed(CLOCK)[:, 0, 0]
    np.testing.assert_allclose([begin.min(), begin.max()], [-25, 25], atol=0.5)


def test_tempo_stretches_time_about_the_middle():
    windows = changed(CLOCK, tempo=0.3)[:, :, 0]
    length = (windows[:, -1] - windows[:, 0]) * 100 / 99
    np.testing.assert_allclose([length.min(), length.max()], [140, 260], atol=1.5)
    np.testing.assert_allclose(windows.mean(axis=1), 149.5)
    moved = changed(CLOCK, tempo=0.4, shift=1.0)[:, :, 0]
    assert moved.min() >= 0
    assert moved.max() <= 299
    np.testing.assert_allclose(np.diff(moved, axis=1), np.diff(moved, axis=1)[:, :1].repeat(99, axis=1), atol=1e-9)


def test_rotations_are_scipys():
    rng = np.random.default_rng(2)
    axes, angles = rng.standard_normal((20, 3)), rng.uniform(-3, 3, 20)
    vectors = axes / np.linalg.norm(axes, axis=1, keepdims=True) * angles[:, None]
    np.testing.assert_allclose(rotations(axes, angles), Rotation.from_rotvec(vectors).as_matrix(), atol=1e-12)


def test_a_rotation_turns_both_sensors_alike_and_not_further_than_its_bound():
    plain, turned = changed(PIECES), changed(PIECES, rotation=30.0)
    angles = []
    for before, after in zip(plain, turned, strict=True):
        found, _ = Rotation.align_vectors(after.reshape(-1, 3), before.reshape(-1, 3))
        np.testing.assert_allclose(found.apply(before.reshape(-1, 3)), after.reshape(-1, 3), atol=1e-6)
        angles.append(np.rad2deg(found.magnitude()))
    assert 28 < max(angles) <= 30 + 1e-6


def test_scale_is_one_number_for_each_sensor():
    factors = changed(PIECES, scale=0.2) / changed(PIECES)
    assert np.ptp(factors[:, :, :3], axis=(1, 2)).max() < 1e-9
    assert np.ptp(factors[:, :, 3:], axis=(1, 2)).max() < 1e-9
    np.testing.assert_allclose([factors.min(), factors.max()], [0.8, 1.2], atol=0.01)
    assert abs(np.corrcoef(factors[:, 0, 0], factors[:, 0, 3])[0, 1]) < 0.2


def test_a_mirror_image_reflects_arrows_and_the_turns_between_them():
    """A rate of turn is a cross product of arrows, so its mirror image is that of theirs."""
    one, other = np.random.default_rng(3).standard_normal((2, 3))
    mirrored = np.cross(one * MIRROR[:3], other * MIRROR[:3])
    np.testing.assert_allclose(mirrored, np.cross(one, other) * MIRROR[3:])
    np.testing.assert_array_equal(MIRROR[:3], [-1, 1, 1])


def test_half_of_the_windows_are_mirrored():
    plain, seen = changed(PIECES), changed(PIECES, mirror=0.5)
    mirrored = [np.array_equal(after, before * MIRROR) for before, after in zip(plain, seen, strict=True)]
    kept = [np.array_equal(after, before) for before, after in zip(plain, seen, strict=True)]
    assert np.all(np.logical_xor(mirrored, kept))
    assert np.mean(mirrored) == pytest.approx(0.5, abs=0.1)


def test_noise_has_the_size_asked_for():
    assert (changed(PIECES, noise=0.1) - changed(PIECES)).std() == pytest.approx(0.1, rel=0.02)
