import hashlib
import importlib.util

import numpy as np
import pytest

from experiments.system.errors import UserError
from experiments.tasks.motion import activity
from experiments.tasks.motion.activity import ActivityConfig
from experiments.tasks.motion.watch_augmentation import WatchAugmentation
from experiments.tasks.packages import find

# How many windows each person has, and 2229 in all: counted when the data were chosen.
WINDOWS = (270, 259, 143, 136, 235, 228, 251, 229, 230, 248)


@pytest.fixture(scope="module")
def recordings():
    file = find("seglearn", "data/watch_dataset.npy", task="activity")
    # A pickle: loaded only if it is the file that was looked at.
    assert hashlib.sha256(file.read_bytes()).hexdigest() == activity.SHA256
    return np.load(file, allow_pickle=True).item()


def built(**options):
    return activity.build(ActivityConfig(name="activity", **options))


def rows_of(task, split):
    (batch,) = task.split_batches(split, 10_000)
    return batch


@pytest.mark.parametrize("fold", [3, 10])
def test_the_test_split_is_one_person_in_windows(recordings, fold):
    task = built(fold=fold, steps=200)
    next_one = 4 if fold == 3 else 1
    persons = recordings["subject"]
    heard = np.concatenate(
        [row for row, person in zip(recordings["X"], persons, strict=True) if person not in (fold, next_one)]
    )
    for split, person in {"test": fold, "validation": next_one}.items():
        windows, classes = [], []
        for row, label in zip(recordings["X"], recordings["y"], strict=True):
            windows += [row[start : start + 200] for start in range(0, len(row) - 199, 100)]
            classes += [label] * (len(windows) - len(classes))
        owner = np.repeat(persons, [(len(row) - 200) // 100 + 1 for row in recordings["X"]])
        expected = (np.array(windows)[owner == person] - heard.mean(axis=0)) / heard.std(axis=0)
        batch = rows_of(task, split)
        assert len(batch.targets) == WINDOWS[person - 1]
        np.testing.assert_allclose(batch.inputs, expected, atol=1e-4)
        np.testing.assert_array_equal(batch.targets, np.array(classes)[owner == person])


def test_windows_of_all_people_are_those_counted_before(recordings):
    assert sum(WINDOWS) == 2229
    assert len(recordings["X"]) == 140


def test_fewer_steps_are_means_of_neighbours():
    whole, half = (rows_of(built(steps=steps), "test").inputs for steps in (200, 100))
    np.testing.assert_allclose(half, whole.reshape(-1, 100, 2, 6).mean(axis=2), atol=1e-5)


@pytest.mark.parametrize("train_on_validation", [False, True])
def test_nobody_of_the_held_out_people_is_trained_on(train_on_validation):
    """Without augmentation a training row is a window: none of a split's may be among them."""
    task = built(fold=5, steps=200, train_on_validation=train_on_validation)
    held_out = WINDOWS[4] + (0 if train_on_validation else WINDOWS[5])
    train = task.train_batch(0, 0, 2229 - held_out)
    seen = {row.tobytes() for row in train.inputs}
    assert len(seen) > 0.9 * (2229 - held_out)  # First and last windows of a recording share their pieces' ends.
    assert not seen & {row.tobytes() for row in rows_of(task, "test").inputs}
    assert bool(seen & {row.tobytes() for row in rows_of(task, "validation").inputs}) == train_on_validation


def test_augmentation_changes_training_windows_alone():
    plain = built(fold=2)
    changed = built(fold=2, augmentation=WatchAugmentation(rotation=20.0, tempo=0.2))
    np.testing.assert_array_equal(rows_of(plain, "test").inputs, rows_of(changed, "test").inputs)
    one, other = plain.train_batch(0, 0, 16), changed.train_batch(0, 0, 16)
    assert not np.allclose(one.inputs, other.inputs, atol=0.01)
    np.testing.assert_array_equal(one.targets, other.targets)


def test_a_pickle_that_is_not_the_one_looked_at_is_refused(monkeypatch, tmp_path):
    file = tmp_path / "watch_dataset.npy"
    np.save(file, np.array({"X": []}, dtype=object), allow_pickle=True)
    monkeypatch.setattr(activity, "find", lambda *_, **__: file)
    with pytest.raises(UserError, match=rf"only if its sha256 is {activity.SHA256}, it is [0-9a-f]{{64}}; run: pip"):
        built()


def test_a_missing_package_is_named_with_the_way_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"seglearn, which is not installed; run: pip install"):
        activity.check_data(ActivityConfig(name="activity"))
