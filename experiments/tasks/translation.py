"""The translation task: English to another language, character by character.

Dates in words are made by rules (see date_pairs.py), so what is learnt there is rules; interface strings (see
interface_strings.py) are a few hundred short texts that people translated.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from experiments.errors import UserError
from experiments.tasks import date_pairs, interface_strings, sentence_rows
from experiments.tasks.edit_distance import edit_distance
from experiments.tasks.packages import sha256
from experiments.tasks.sequences import Sentences, Translation
from experiments.tasks.task import Assessment, Batch, Task, TaskBlock, stored

END = 0
"""The token that ends a target, and that the model is told first; characters count from 1."""
TEST_SHARE, VALIDATION_SHARE = 0.1, 0.05
"""Of the pairs, no two of which are of the same date or text."""
_SPLIT_SEED = 0
_DATES, _LONGEST = 12_000, 40
_PANELS = 3
_SPACE = "␣"

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
    """Raise UserError if the package is not installed or knows no such language; nothing is loaded."""
    source = date_pairs if config.pairs == "dates" else interface_strings
    source.check()
    known = source.languages()
    if config.language not in known:
        raise UserError(
            f'task.language: expected one of the {len(known)} languages of task.pairs "{config.pairs}", such as '
            f'{", ".join(name for name in ("de", "es", "fr", "ja") if name in known)}, got "{config.language}"'
        )


def build(config: TranslationConfig) -> Task:
    """Make or load the pairs: sources and targets are characters."""
    check_data(config)
    pairs = _pairs(config)
    parts = split(pairs)
    sources = "".join(sorted({sign for source, _ in pairs for sign in source}))
    targets = "".join(sorted({sign for _, target in pairs for sign in target}))
    floor = floors(parts["train"], parts["test"])

    def rows(part: Pairs) -> Batch:
        tokens = [
            ([sources.index(s) for s in source], [targets.index(s) + 1 for s in target]) for source, target in part
        ]
        return sentence_rows.rows(tokens, start=END, end=END)

    best = {"exact_match": max, "character_error_rate": min}
    return Task(
        name="translation",
        inputs=Sentences(
            len(sources), len(targets) + 1, start=END, end=END, max_steps=max(len(target) for _, target in pairs) + 1
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
        assess=lambda pairs: _assess(pairs, sources, targets),
        facts=_facts(config) | {f"{name}_pairs": len(part) for name, part in parts.items()},
    )


def split(pairs: Sequence[tuple[str, str]]) -> dict[str, Pairs]:
    """Pairs by part: "train", "validation", "test"."""
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(pairs))
    first = round(TEST_SHARE * len(pairs))
    second = first + round(VALIDATION_SHARE * len(pairs))
    places = {"train": order[second:], "validation": order[first:second], "test": order[:first]}
    return {part: [pairs[place] for place in chosen] for part, chosen in places.items()}


def scores(found: Iterable[tuple[Sequence[Any], Sequence[Any]]]) -> dict[str, float]:
    """Of pairs of what was found and what is right: the share that agree, and edits per character that is right."""
    exact = edits = characters = count = 0
    for written, right in found:
        exact, count = exact + (written == right), count + 1
        edits, characters = edits + edit_distance(written, right), characters + len(right)
    return {"exact_match": exact / count, "character_error_rate": edits / characters}


def floors(train: Pairs, test: Pairs) -> dict[str, dict[str, float]]:
    """The scores of two guesses on ``test``, by what they are."""
    frequent, _ = Counter(target for _, target in train).most_common(1)[0]
    guesses: dict[str, Callable[[str], str]] = {
        "copying the source": lambda source: source,
        "always the most frequent target": lambda _: frequent,
    }
    return {
        name: {metric: round(value, 4) for metric, value in scores((guess(s), t) for s, t in test).items()}
        for name, guess in guesses.items()
    }


def _assess(pairs: Iterable[tuple[Batch, Translation]], sources: str, targets: str) -> Assessment:
    rows = [row for batch, translation in pairs for row in sentence_rows.found(batch, translation, end=END)]
    panels = []
    for row in rows[:_PANELS]:
        written = [targets[token - 1].replace(" ", _SPACE) for token in row.found] + ["end"]
        panels.append(
            {
                "rows": written[: len(row.weights)],
                "columns": [sources[token].replace(" ", _SPACE) for token in row.source],
                "weights": np.round(row.weights, 4).tolist(),
            }
        )
    return Assessment(
        scores((row.found, row.target) for row in rows), {"attention": {"kind": "attention", "panels": panels}}
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
