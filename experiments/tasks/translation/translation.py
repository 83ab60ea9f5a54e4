"""The translation task: English to another language, character by character.

Dates in words (see date_pairs.py) are made by rules, so a model of them learns rules. Interface strings (see
interface_strings.py) are a few hundred short texts that people translated.
"""

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from experiments.system.errors import UserError
from experiments.tasks.inputs import Sentences, Translation
from experiments.tasks.packages import DataSet, sha256
from experiments.tasks.registry import register
from experiments.tasks.task import Assessment, Batch, Task, TaskBlock, stored
from experiments.tasks.translation import date_pairs, interface_strings, sentence_rows
from experiments.tasks.translation.edit_distance import edit_distance

END = 0
"""The token that ends a target, and that the model is given first; a target's characters count from 1. A source's count
from 0, and one token after the last stands for every character that training has not seen."""
TEST_SHARE, VALIDATION_SHARE = 0.1, 0.05
"""Shares of the pairs; no two pairs have the same date or text."""
FEWEST_PAIRS = 100
"""Fewer pairs are nothing to learn from and little to test on."""
_SPLIT_SEED = 0
_DATES, _LONGEST = 12_000, 40
_PANELS = 3
_SPACE, _STRANGE = "␣", "�"

Pairs = list[tuple[str, str]]


class TranslationConfig(TaskBlock):
    """English to ``language``, as babel or Django names it."""

    per_step: ClassVar[bool] = True
    translates: ClassVar[bool] = True
    name: Literal["translation"]
    pairs: Literal["dates", "interface"] = "dates"
    language: str = "fr"
    dates: Annotated[int, Field(ge=100, le=date_pairs.DAYS)] | None = None
    """How many different dates there are, all splits together; None: 12,000."""
    longest: Annotated[int, Field(ge=4, le=400)] | None = None
    """Interface strings with more characters, in either language, are left out of all splits; None: 40."""

    @model_validator(mode="after")
    def _of_these_pairs(self) -> Self:
        other, of = ("longest", "interface") if self.pairs == "dates" else ("dates", "dates")
        if getattr(self, other) is not None:
            raise ValueError(f'{other} belongs to task.pairs "{of}", got task.pairs "{self.pairs}"; leave it out')
        return self


def check_data(config: TranslationConfig) -> None:
    """Raise UserError if the package is not installed, knows no such language or has too few pairs of it.

    The check makes no dates; it reads catalogues, which takes a tenth of a second.
    """
    source = date_pairs if config.pairs == "dates" else interface_strings
    source.check()
    known = [language for language in source.languages() if language != "en"]
    if config.language not in known:
        raise UserError(
            f'task.language: expected one of the {len(known)} languages of task.pairs "{config.pairs}", such as '
            f'{", ".join(name for name in ("de", "es", "fr", "ja") if name in known)}, got "{config.language}"'
        )
    if config.pairs == "interface" and (count := len(_pairs(config))) < FEWEST_PAIRS:
        raise UserError(
            f"task.language: expected a language with at least {FEWEST_PAIRS} interface strings of at most "
            f"{config.longest or _LONGEST} characters (task.longest), "
            f'got "{config.language}" with {count}; name another'
        )


def build(config: TranslationConfig) -> Task:
    """Make or load the pairs: sources and targets are characters.

    The alphabets and the longest target are those of training. Other characters of a source all become one token. Other
    characters of a target cannot be written: its tokens leave them out, its scores count them.
    """
    check_data(config)
    parts = split(_pairs(config))
    sources, targets = ("".join(sorted(set("".join(texts)))) for texts in zip(*parts["train"], strict=True))
    floor = floors(parts["train"], parts["test"])

    def rows(part: Pairs) -> Batch:
        return sentence_rows.rows([code(pair, sources, targets) for pair in part], start=END, end=END)

    best = {"exact_match": max, "character_error_rate": min}
    return Task(
        name="translation",
        inputs=Sentences(
            len(sources) + 1,
            len(targets) + 1,
            start=END,
            end=END,
            max_steps=max(len(target) for _, target in parts["train"]) + 1,
        ),
        outputs=len(targets) + 1,
        per_step=config.per_step,
        loss="cross_entropy",
        metrics=("nll", "accuracy"),
        floor={metric: pick(metrics[metric] for metrics in floor.values()) for metric, pick in best.items()},
        floor_note="the better of "
        + ", ".join(
            f"{name} ({metrics['exact_match']} exact, {metrics['character_error_rate']} edits a character)"
            for name, metrics in floor.items()
        ),
        **stored({name: rows(part) for name, part in parts.items()}),
        predict="translate",
        assess=functools.partial(_assess, parts["test"], sources, targets),
        facts=_facts(config) | {f"{name}_pairs": len(part) for name, part in parts.items()},
    )


def split(pairs: Sequence[tuple[str, str]]) -> dict[str, Pairs]:
    """Pairs by part: "train", "validation", "test"."""
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(pairs))
    first = round(TEST_SHARE * len(pairs))
    second = first + round(VALIDATION_SHARE * len(pairs))
    places = {"train": order[second:], "validation": order[first:second], "test": order[:first]}
    return {part: [pairs[place] for place in chosen] for part, chosen in places.items()}


def code(pair: tuple[str, str], sources: str, targets: str) -> tuple[list[int], list[int]]:
    """Tokens of a source and a target, by the alphabets ``sources`` and ``targets`` of training."""
    source, target = pair
    known = {sign: token for token, sign in enumerate(sources)}
    written = {sign: token for token, sign in enumerate(targets, start=1)}
    return [known.get(sign, len(sources)) for sign in source], [written[sign] for sign in target if sign in written]


def scores(found: Iterable[tuple[Sequence[Any], Sequence[Any]]]) -> dict[str, float]:
    """Scores of pairs of what was found and what is right: the share that agree, and edits per right character."""
    exact = edits = characters = count = 0
    for written, right in found:
        exact, count = exact + (written == right), count + 1
        edits, characters = edits + edit_distance(written, right), characters + len(right)
    return {"exact_match": exact / count, "character_error_rate": edits / characters}


def floors(train: Pairs, test: Pairs) -> dict[str, dict[str, float]]:
    """The scores of two guesses on ``test``, by the name of the guess."""
    frequent, _ = Counter(target for _, target in train).most_common(1)[0]
    guesses: dict[str, Callable[[str], str]] = {
        "copying the source": lambda source: source,
        "always the most frequent target": lambda _: frequent,
    }
    return {
        name: {metric: round(value, 4) for metric, value in scores((guess(s), t) for s, t in test).items()}
        for name, guess in guesses.items()
    }


def _assess(test: Pairs, sources: str, targets: str, pairs: Iterable[tuple[Batch, Translation]]) -> Assessment:
    rows = [row for batch, translation in pairs for row in sentence_rows.found(batch, translation, end=END)]
    texts = ["".join(targets[token - 1] for token in row.found) for row in rows]
    panels = []
    for row, text in zip(rows[:_PANELS], texts, strict=False):
        written = [*text.replace(" ", _SPACE), "end"]
        panels.append(
            {
                "rows": written[: len(row.weights)],
                "columns": [(sources + _STRANGE)[token].replace(" ", _SPACE) for token in row.source],
                "weights": np.round(row.weights, 4).tolist(),
            }
        )
    return Assessment(
        scores((text, right) for text, (_, right) in zip(texts, test, strict=True)),
        {"attention": {"kind": "attention", "panels": panels}},
    )


def _pairs(config: TranslationConfig) -> Pairs:
    if config.pairs == "dates":
        return date_pairs.pairs(config.language, config.dates or _DATES)
    return interface_strings.pairs(config.language, config.longest or _LONGEST)


def _facts(config: TranslationConfig) -> dict[str, object]:
    if config.pairs == "interface":
        return {"sha256": sha256(*interface_strings.files(config.language))}
    import babel

    return {"babel": babel.__version__}


DATA = (
    DataSet("interface strings", "django", "conf/locale", "BSD-3-Clause"),
    DataSet("dates in words", "babel", "locale-data", "BSD-3-Clause"),
)
register(TranslationConfig, check_data=check_data, build=build, data=DATA)
