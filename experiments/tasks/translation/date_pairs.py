"""Dates in words as pairs of texts, which babel makes from the rules of its languages; no human translated them."""

import datetime

import numpy as np

from experiments.tasks.packages import find

FIRST, LAST = datetime.date(1900, 1, 1), datetime.date(2099, 12, 31)
DAYS = (LAST - FIRST).days + 1
FORMATS = (
    "EEEE, MMMM d, y",
    "EEE, MMM d, y",
    "EEEE d MMMM y",
    "EEE, d MMM y",
    "d MMM y (EEE)",
    "MMMM d, y, EEEE",
    "EEE M/d/y",
    "y-MM-dd, EEE",
)
"""Formats of a source, in English. Each names the day of the week, as the target does, so nobody has to compute it.
Where the month is a number, it comes before the day."""
_SEED = 0


def check() -> None:
    """Raise UserError if babel is not installed; nothing is loaded."""
    find("babel", "locale-data/en.dat", task="translation")


def languages() -> list[str]:
    """The languages that there are targets in, as babel names them."""
    folder = find("babel", "locale-data", task="translation")
    return sorted(file.stem for file in folder.glob("*.dat") if file.stem != "root")


def pairs(language: str, count: int) -> list[tuple[str, str]]:
    """``count`` different dates in an order drawn once and for all: English in a drawn format, ``language`` in full."""
    # babel is pure Python without dependencies, and reads its rules itself, from pickles of its own.
    from babel.dates import format_date

    rng = np.random.default_rng(_SEED)
    days = rng.permutation(DAYS)[:count]
    formats = rng.integers(len(FORMATS), size=count)
    dates = [FIRST + datetime.timedelta(int(day)) for day in days]
    return [
        (format_date(date, FORMATS[form], locale="en"), format_date(date, "full", locale=language))
        for date, form in zip(dates, formats, strict=True)
    ]
