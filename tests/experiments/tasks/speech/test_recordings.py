import numpy as np
import pytest

from experiments.tasks import Batch
from experiments.tasks.speech.recordings import RaggedAugmentation, augment, pad

LENGTHS = np.random.default_rng(7).integers(1, 41, 400).astype(np.int32)


def batch_of(rows, steps=40):
    inputs, lengths = pad(rows, steps)
    return Batch(inputs, np.arange(len(rows), dtype=np.int32), np.ones(len(rows), np.float32), lengths)


@pytest.fixture(scope="module")
def ones():
    return batch_of([np.ones((length, 3)) for length in LENGTHS])


def changed(batch, seed=0, **options):
    return augment(batch, RaggedAugmentation(**options), np.random.default_rng(seed))


def test_padding_keeps_rows_and_puts_zeros_after_them():
    rows = [np.array([[1.0, 2.0]]), np.array([[3.0, 4.0], [5.0, 6.0]])]
    inputs, lengths = pad(rows, 3)
    np.testing.assert_array_equal(inputs, [[[1, 2], [0, 0], [0, 0]], [[3, 4], [5, 6], [0, 0]]])
    np.testing.assert_array_equal(lengths, [1, 2])
    assert (inputs.dtype, lengths.dtype) == (np.float32, np.int32)


def test_without_bounds_nothing_changes(ones):
    again = changed(ones)
    np.testing.assert_array_equal(again.inputs, ones.inputs)
    np.testing.assert_array_equal(again.seq_lengths, ones.seq_lengths)


def test_every_change_keeps_shape_type_and_zeros_after_the_end(ones):
    options = {"crop": 0.2, "stretch": 0.3, "mask_steps": 0.3, "mask_features": 0.2, "offset": 0.5, "noise": 0.5}
    rows = changed(ones, **options)
    assert rows.inputs.shape == ones.inputs.shape
    assert (rows.inputs.dtype, rows.seq_lengths.dtype) == (np.float32, np.int32)
    assert 1 <= rows.seq_lengths.min() <= rows.seq_lengths.max() <= 40
    for inputs, length in zip(rows.inputs, rows.seq_lengths, strict=True):
        assert not inputs[length:].any()
    np.testing.assert_array_equal(rows.targets, ones.targets)


def test_crop_and_stretch_read_a_row_between_its_steps():
    """Of rows whose value at step t is t, what comes out says where it was read."""
    rows = changed(batch_of([np.arange(length)[:, None] for length in LENGTHS]), crop=0.2, stretch=0.4)
    for inputs, before, length in zip(rows.inputs[:, :, 0], LENGTHS, rows.seq_lengths, strict=True):
        first, final = inputs[0], inputs[length - 1]
        assert 0 <= first <= 0.2 * (before - 1) + 1e-5
        if length > 1:
            assert 0.8 * (before - 1) - 1e-5 <= final <= before - 1 + 1e-5
            np.testing.assert_allclose(inputs[:length], np.linspace(first, final, length), atol=1e-4)
            assert 0.6 * (final - first + 1) - 0.51 <= length <= 1.4 * (final - first + 1) + 0.51


def test_between_steps_means_linear():
    row = np.random.default_rng(3).standard_normal((30, 2))
    rows = changed(batch_of([row] * 50), stretch=0.3)
    for inputs, length in zip(rows.inputs, rows.seq_lengths, strict=True):
        places = np.linspace(0, 29, length)
        expected = np.column_stack([np.interp(places, np.arange(30), row[:, feature]) for feature in range(2)])
        np.testing.assert_allclose(inputs[:length], expected, atol=1e-5)


def test_masked_steps_lie_in_a_row_and_stay_below_their_bound(ones):
    rows = changed(ones, mask_steps=0.5)
    widths = []
    for inputs, length in zip(rows.inputs, rows.seq_lengths, strict=True):
        gone = np.flatnonzero(~inputs[:length].any(axis=1))
        assert len(gone) <= 0.5 * length
        assert len(gone) == 0 or gone[-1] - gone[0] + 1 == len(gone)
        widths.append(len(gone) / length)
    assert np.mean(widths) == pytest.approx(0.22, abs=0.04)


def test_masked_features_are_gone_from_the_whole_row(ones):
    rows = changed(ones, mask_features=0.25)
    kept = np.array([inputs[:length].all(axis=0) for inputs, length in zip(rows.inputs, LENGTHS, strict=True)])
    some = np.array([inputs.any(axis=0) for inputs in rows.inputs])
    np.testing.assert_array_equal(kept, some)
    assert kept.mean() == pytest.approx(0.75, abs=0.04)


def test_offset_and_noise_have_the_size_asked_for(ones):
    inside = np.arange(40) < LENGTHS[:, None]
    moved = changed(ones, offset=0.3).inputs - ones.inputs
    assert np.ptp(moved[LENGTHS > 20][:, :20], axis=1).max() < 1e-6
    assert moved[:, 0].std() == pytest.approx(0.3, rel=0.1)
    assert (changed(ones, noise=0.3).inputs - ones.inputs)[inside].std() == pytest.approx(0.3, rel=0.02)
