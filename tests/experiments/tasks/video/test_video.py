"""Clips against a slow, obvious way to make them; what the task's floors, answers and config say."""

import importlib.util
import itertools

import numpy as np
import pytest
from scipy.ndimage import map_coordinates
from sklearn.datasets import load_digits

from experiments.config import configs
from experiments.runs.config import Config
from experiments.system.errors import UserError
from experiments.tasks.images.augmentation import ImageAugmentation
from experiments.tasks.images.digits import Images
from experiments.tasks.inputs import Forecast
from experiments.tasks.task import Batch
from experiments.tasks.video import moving_digits, next_frames, video
from experiments.tasks.video.video import VideoConfig
from tests.places import CONFIGS

FILE = CONFIGS / "video.yaml"
SIDE = 14
SMALL = {"name": "video", "side": SIDE, "steps": 6, "validation_rows": 9, "test_rows": 11}


def build(**options):
    return video.build(VideoConfig.model_validate(SMALL | options))


@pytest.fixture(scope="module")
def forecasts():
    return build()


@pytest.fixture(scope="module")
def answers():
    return build(target="digits")


def rows_of(task, split):
    (batch,) = task.split_batches(split, 10_000)
    return batch


def test_a_digit_stands_where_its_corner_is():
    """At whole pixels it is the image itself; between them, what SciPy's linear interpolation makes of it."""
    rng = np.random.default_rng(0)
    digits = rng.random((2, 1, 8, 8))
    corners = np.array([[[[2, 5], [0, 0], [6, 6]]], [[[1.25, 3.5], [0.1, 5.9], [5.5, 0.0]]]])
    films = moving_digits.draw_frames(digits, corners, SIDE)
    assert films.shape == (2, 3, SIDE, SIDE)
    assert films.dtype == np.float32
    for clip, step in itertools.product(range(2), range(3)):
        row, column = corners[clip, 0, step]
        places = np.indices((SIDE, SIDE)) - np.array([row, column])[:, None, None]
        # The digit lies on black ground.
        expected = map_coordinates(np.pad(digits[clip, 0], 20), places + 20, order=1)
        np.testing.assert_allclose(films[clip, step], expected, atol=1e-6)


def test_the_brighter_of_two_digits_shows():
    digits = np.random.default_rng(0).random((1, 2, 8, 8))
    corners = np.array([[[[0, 0]], [[3, 3]]]])
    (film,) = moving_digits.draw_frames(digits, corners, SIDE)
    one, other = np.zeros((2, SIDE, SIDE))
    one[:8, :8], other[3:11, 3:11] = digits[0]
    np.testing.assert_allclose(film[0], np.maximum(one, other), atol=1e-6)


def bounced(place, velocity, steps, room):
    """One coordinate of a corner, by a thousand little moves a frame."""
    for _ in range(steps):
        yield place
        for _ in range(1000):
            place += velocity / 1000
            if not 0 <= place <= room:
                place, velocity = -place if place < 0 else 2 * room - place, -velocity


def test_digits_move_straight_on_and_bounce():
    steps, room = 30, SIDE - 8
    corners = moving_digits.draw_corners(np.random.default_rng(3), 40, 2, steps, SIDE, (0.5, 1.5))
    assert corners.shape == (40, 2, steps, 2)
    assert corners.min() >= 0
    assert corners.max() <= room
    speeds, bounces = [], 0
    for path in corners.reshape(-1, steps, 2):
        moves = np.diff(path, axis=0)
        # The longest move of a coordinate is one without a bounce in it.
        velocity = moves[np.argmax(np.abs(moves), axis=0), [0, 1]]
        speeds.append(np.hypot(*velocity))
        for axis in range(2):
            first = np.argmax(np.abs(moves[:, axis]))
            expected = list(bounced(path[first, axis], velocity[axis], steps - first, room))
            np.testing.assert_allclose(path[first:, axis], expected, atol=1e-6)
            bounces += np.any(np.sign(moves[:, axis]) != np.sign(velocity[axis]))
    assert bounces > 40
    assert min(speeds) > 0.5 - 1e-9
    assert max(speeds) < 1.5 + 1e-9
    assert max(speeds) - min(speeds) > 0.9


def test_every_set_of_digits_is_as_likely():
    # Images that say what they are: of digit d there are d + 1.
    labels = np.repeat(np.arange(10), np.arange(1, 11))[np.random.default_rng(0).permutation(55)]
    pixels = np.zeros((55, 8, 8), np.float32)
    pixels[:, 0, 0], pixels[:, 0, 1] = labels, np.arange(55)
    digits, shown = moving_digits.draw_digits(
        np.random.default_rng(1), Images(pixels, labels), 9000, 2, ImageAugmentation()
    )
    np.testing.assert_array_equal(digits[:, :, 0, 0], shown)
    counts = np.zeros((10, 10), int)
    np.add.at(counts, tuple(shown.T), 1)
    assert not np.diagonal(counts).any()
    assert np.abs(counts[~np.eye(10, dtype=bool)] - 100).max() < 5 * 100**0.5
    # 1800 clips show a 9, of which there are ten images.
    images_of_nines = digits[:, :, 0, 1][shown == 9]
    counts = np.unique(images_of_nines, return_counts=True)[1]
    assert len(counts) == 10
    assert np.abs(counts - 180).max() < 5 * 180**0.5


def test_each_split_shows_its_own_images(monkeypatch):
    """The parts of the file are apart; and of images that are all of one brightness, each split has that of its own."""
    parts = video.read(video.find_file("video"))
    file = load_digits(return_X_y=True)
    np.testing.assert_array_equal(
        np.concatenate([part.pixels for part in parts.values()]).reshape(-1, 64), file[0] / 16
    )
    np.testing.assert_array_equal(np.concatenate([part.labels for part in parts.values()]), file[1])
    brightness = {"train": 0.25, "validation": 0.5, "test": 1.0}
    grey = {split: Images(np.full_like(part.pixels, brightness[split]), part.labels) for split, part in parts.items()}
    monkeypatch.setattr(video, "read", lambda file: grey)
    task = build()
    batches = {split: rows_of(task, split) for split in ("validation", "test")} | {"train": task.train_batch(0, 1, 50)}
    for split, batch in batches.items():
        np.testing.assert_allclose(batch.inputs.max(axis=(1, 2, 3, 4)) * task.scale, brightness[split], rtol=1e-5)


def test_next_frames_are_the_later_inputs(forecasts, answers):
    batch, clips = rows_of(forecasts, "test"), rows_of(answers, "test")
    assert batch.inputs.shape == (11, 5, SIDE, SIDE, 1)
    assert batch.targets.shape == (11, 5, SIDE * SIDE)
    np.testing.assert_array_equal(batch.targets[:, :-1], batch.inputs[:, 1:].reshape(11, 4, -1))
    assert clips.inputs.shape == (11, 6, SIDE, SIDE, 1)
    np.testing.assert_array_equal(clips.inputs[:, :5], batch.inputs)
    np.testing.assert_array_equal(clips.inputs[:, 5].reshape(11, -1), batch.targets[:, -1])
    assert np.isclose(clips.inputs.max() * forecasts.scale, 1, atol=0.1)


def test_clips_are_functions_of_seed_and_step(forecasts):
    first = forecasts.train_batch(3, 7, 5)
    forecasts.train_batch(4, 8, 5)
    np.testing.assert_array_equal(first.inputs, forecasts.train_batch(3, 7, 5).inputs)
    for other in [(3, 8, 5), (4, 7, 5)]:
        assert not np.array_equal(first.inputs, forecasts.train_batch(*other).inputs)
    assert not np.array_equal(rows_of(forecasts, "validation").inputs, rows_of(forecasts, "test").inputs[:9])
    again = build()
    for split in ("validation", "test"):
        np.testing.assert_array_equal(rows_of(again, split).inputs, rows_of(forecasts, split).inputs)


def test_only_training_digits_are_augmented(forecasts):
    changed = build(augmentation={"rotation": 30.0, "noise": 0.1})
    np.testing.assert_array_equal(rows_of(changed, "test").inputs, rows_of(forecasts, "test").inputs)
    assert not np.array_equal(changed.train_batch(0, 0, 5).inputs, forecasts.train_batch(0, 0, 5).inputs)


def test_pixels_are_over_their_root_mean_square(forecasts):
    assert np.isclose((forecasts.train_batch(0, 0, 200).inputs ** 2).mean(), 1, rtol=0.1)


def test_the_floor_copies_or_says_the_mean_frame(forecasts, monkeypatch):
    """Of all test clips as the other target shows them, frame by frame; the roll-out begins after half of a clip."""
    batch = rows_of(build(target="digits"), "test")
    told = []
    monkeypatch.setattr(next_frames, "linear_error", lambda train, test: told.append((train, test)) or 0.0)
    build()
    ((reference, scored),) = told
    np.testing.assert_allclose(scored, batch.inputs[..., 0] * forecasts.scale, atol=1e-6)
    mean = sum(frame.astype(np.float64) for film in reference for frame in film) / (30 * 6)
    errors = {"copied": ([], []), "mean": ([], [])}
    for film in batch.inputs[..., 0] * forecasts.scale:
        errors["copied"][0].extend(np.mean((film[t + 1] - film[t]) ** 2) for t in range(5))
        errors["copied"][1].extend(np.mean((film[t] - film[2]) ** 2) for t in range(3, 6))
        errors["mean"][0].extend(np.mean((film[t + 1] - mean) ** 2) for t in range(5))
        errors["mean"][1].extend(np.mean((film[t] - mean) ** 2) for t in range(3, 6))
    (copied, copied_later), (always, always_later) = (map(np.mean, both) for both in errors.values())
    assert copied < always
    assert always_later < copied_later
    assert np.isclose(forecasts.floor["mse"], copied, atol=1e-5)
    assert np.isclose(forecasts.floor["rollout_mse"], always_later, atol=1e-5)
    assert f"({always:.4f}, {always_later:.4f})" in forecasts.floor_note


def test_the_linear_floor_knows_all_that_is_linear():
    """A film whose next frame is linear in the last two, as far as their 5x5 goes, is told without an error."""
    rng = np.random.default_rng(0)
    kernels = rng.normal(size=(2, 5, 5)) / 5

    def film():
        frames = [rng.random((10, 10))]
        for step in range(4):
            here, before = (np.pad(frame, 2) for frame in (frames[-1], frames[max(step - 1, 0)]))
            told = np.full((10, 10), 0.3)
            for row, column in itertools.product(range(5), range(5)):
                for kernel, frame in zip(kernels, (here, before), strict=True):
                    told += kernel[row, column] * frame[row : row + 10, column : column + 10]
            frames.append(told)
        return np.stack(frames)

    films = np.stack([film() for _ in range(6)])
    assert next_frames.linear_error(films[:4], films[4:]) < 1e-12
    films[4:, 1:] += 0.5
    assert next_frames.linear_error(films[:4], films[4:]) > 1e-3


def test_the_linear_floor_on_any_number_of_films(monkeypatch):
    """More of them than are told at once; against NumPy's regression on pixels gathered one by one."""
    films = np.random.default_rng(1).random((9, 4, 8, 7))
    monkeypatch.setattr(next_frames, "_CLIPS_AT_ONCE", 2)

    def inputs(film, step):
        here, before = (np.pad(frame, 2) for frame in (film[step], film[max(step - 1, 0)]))
        for row, column in itertools.product(range(8), range(7)):
            window = np.s_[row : row + 5, column : column + 5]
            yield [*here[window].ravel(), *before[window].ravel(), 1]

    x = np.array([list(inputs(film, step)) for film in films for step in range(3)]).reshape(9, -1, 51)
    y = films[:, 1:].reshape(9, -1)
    weights = np.linalg.lstsq(x[:4].reshape(-1, 51), y[:4].ravel(), rcond=None)[0]
    expected = np.mean((x[4:] @ weights - y[4:]) ** 2)
    assert np.isclose(next_frames.linear_error(films[:4], films[4:]), expected, rtol=1e-9)


@pytest.mark.parametrize(
    "other",
    [{"digits": 3}, {"steps": 9}, {"side": 21}, {"lowest_speed": 0.5}, {"highest_speed": 3}, {"test_rows": 8}],
    ids=str,
)
def test_the_measured_floor_is_that_of_its_settings_alone(other):
    measured = {"target": "digits", "steps": 8, "side": 20, "test_rows": 500}
    assert build(**measured).floor == {"nll": 5.004, "exact_match": 0.692, "digit_accuracy": 0.839}
    task = build(**measured | other)
    assert set(task.floor) == {"nll"}
    assert "for task.digits 2, task.steps 8, task.side 20" in task.floor_note
    assert "ridge" not in task.floor_note


def test_forecasts_are_judged_by_how_far_ahead_they_are():
    """Rows that weigh nothing do not count, and errors are those of pixels between 0 and 1."""
    rng, scale, given = np.random.default_rng(0), 0.5, 3
    films = rng.random((3, 6, 4, 4)).astype(np.float32) / scale
    targets = films[:, 1:].reshape(3, 5, 16)
    own = (targets[:, given - 1 :] + np.array([1, 2, 4], np.float32)[:, None]).copy()
    own[2] = 100
    weights = np.array([[1], [1], [0]], np.float32) * np.ones((3, 5), np.float32)
    batch = Batch(films[:, :-1, :, :, None], targets, weights)
    found = next_frames.assess([(batch, Forecast(targets, own))], scale, given)
    assert np.isclose(found.metrics["rollout_mse"], (1 + 4 + 16) / 3 * scale**2)
    lines = found.pictures["horizon"]["panels"][0]["lines"]
    np.testing.assert_allclose(lines["fed its own frames"], [0, 0.25, 1, 4], rtol=1e-4)
    copied = [((films[:2, 3 + ahead] - films[:2, 2]) ** 2).mean() * scale**2 for ahead in range(3)]
    np.testing.assert_allclose(lines["copying the last frame given"], [0, *copied], atol=1e-5)
    rows = found.pictures["frames"]["rows"]
    assert len(rows) == 6
    np.testing.assert_allclose(rows["true (2)"], np.clip(films[1, 3:] * scale, 0, 1), atol=1e-3)


def test_answers_name_digits_of_the_clips(answers, monkeypatch):
    """The targets are of the digits that are drawn, in whatever order."""
    drawn = []

    def spy(*arguments):
        drawn.append(moving_digits.draw_digits(*arguments))
        return drawn[-1]

    monkeypatch.setattr(video, "draw_digits", spy)
    targets = rows_of(answers, "test").targets
    ((_, shown),) = drawn
    assert [set(np.flatnonzero(row)) for row in targets] == [set(row) for row in shown]
    assert set(np.unique(targets)) == {0, 1}


def test_a_clip_counts_by_its_digits(answers):
    """Of two clips one is right and one is half right; the third fills up."""
    targets = np.zeros((3, 10), np.float32)
    targets[[0, 0, 1, 1, 2, 2], [0, 1, 1, 2, 8, 9]] = 1
    batch = next(answers.split_batches("test", 3))
    batch = batch._replace(targets=targets, weights=np.array([1, 1, 0], np.float32))
    outputs = np.zeros((3, 10))
    outputs[:, 0] = 2
    outputs[[0, 1], [1, 2]] = -1, 1
    outputs[0, 2:] = -2
    found = answers.assess([(batch, outputs)])
    assert found.metrics == {"exact_match": 0.5, "digit_accuracy": 0.75}
    assert list(found.pictures["answers"]["rows"]) == ["1: 0 1, said 0 1", "2: 1 2, said 0 2"]
    assert np.isclose(answers.floor["nll"], -10 * (0.2 * np.log(0.2) + 0.8 * np.log(0.8)), atol=1e-3)


MISSING = (
    r"^task\.name: video reads data of the package scikit-learn, which is not installed; "
    r"run: pip install --no-deps -r requirements-data\.txt$"
)


def test_a_missing_package_is_named_with_the_way_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=MISSING):
        video.check_data(VideoConfig(name="video"))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("lowest_speed=5", r"expected at least task\.lowest_speed \(5\), got 2"),
        ("highest_speed=0.5", r"expected at least task\.lowest_speed \(1\), got 0\.5"),
    ],
)
def test_speeds_that_fall_are_refused_whichever_is_set(setting, message):
    with pytest.raises(UserError, match=rf"^task\.highest_speed: {message}$"):
        configs.load(Config, FILE, [f"task.{setting}"])
