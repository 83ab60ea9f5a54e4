"""The summarise task: write the line that opens a docstring of jax, numpy or scipy from the description below it.

Most words that matter are rare, and three thousand pairs are too few to learn them. So the model sees a word that is
not among the commonest as "the first, second, ... rare word of this description", and can write that number. The word
is put back afterwards (the copyable words of Luong et al. 2015, "Addressing the rare word problem").
"""

import collections
import functools
import re
from collections.abc import Iterable, Sequence
from typing import Annotated, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field

from experiments.tasks.inputs import Sentences, SourceAndTarget, Translation
from experiments.tasks.registry import register
from experiments.tasks.summaries import docstrings, summary_floors
from experiments.tasks.summaries.docstrings import Pair
from experiments.tasks.task import Assessment, Batch, Task, TaskBlock, stored
from experiments.tasks.translation import sentence_rows

END, UNKNOWN = 0, 1
"""END ends a summary, and the model is given it first. UNKNOWN stands for a rare word for which no slot is left."""
SLOTS = 40
"""How many rare words of a description have a number. Their tokens come after `UNKNOWN`, those of known words last."""
LONGEST_SUMMARY = 25
_TOKEN = re.compile(r"[a-z0-9_]+(?:[.'-][a-z0-9_]+)*|[.,]")
_PANELS, _PANEL_TOKENS = 2, range(8, 26)
_EXAMPLES, _EXAMPLE_TOKENS = 5, range(8, 70)


class SummariseConfig(TaskBlock):
    """Words are runs of letters, digits and underscores, with dots, hyphens and apostrophes inside; case is ignored."""

    per_step: ClassVar[bool] = True
    translates: ClassVar[bool] = True
    name: Literal["summarise"]
    longest: Annotated[int, Field(ge=8)] = 60
    """Most words of a description that are read."""
    known_words: Annotated[int, Field(ge=1, le=5000)] = 400
    """How many words have a token of their own: those that most training pairs have."""
    shuffle_slots: bool = True
    """Whether the rare words of a training row are numbered at random, anew at each step, instead of in their order."""


class Coded(NamedTuple):
    """One pair as tokens, and what its slots stand for."""

    source: list[int]
    target: list[int]
    rare: list[str]
    """The rare words of the source, by slot."""


def check_data(config: SummariseConfig) -> None:
    """Raise UserError if a package is not installed; nothing is read."""
    docstrings.check(config.name)


def build(config: SummariseConfig) -> Task:
    """Read the docstrings: sources are descriptions, targets summaries."""
    parts, nearest, facts = docstrings.read()
    known = known_words(parts["train"], config.known_words)
    coded = {part: [code(pair, known, config.longest) for pair in pairs] for part, pairs in parts.items()}
    vocabulary = 2 + SLOTS + len(known)
    return Task(
        name="summarise",
        inputs=Sentences(vocabulary, vocabulary, start=END, end=END, max_steps=LONGEST_SUMMARY + 1),
        outputs=vocabulary,
        per_step=config.per_step,
        loss="cross_entropy",
        metrics=("nll", "accuracy"),
        **summary_floors.floors(parts["test"], nearest["test"]),
        **stored(
            {
                part: sentence_rows.rows([(row.source, row.target) for row in rows], start=END, end=END)
                for part, rows in coded.items()
            },
            _shuffle_slots if config.shuffle_slots else None,
        ),
        predict="translate",
        assess=functools.partial(_assess, parts["test"], coded["test"], known),
        facts={**facts, **{f"{part}_pairs": len(pairs) for part, pairs in parts.items()}},
    )


def tokens_of(text: str) -> list[str]:
    """The words of a text, its commas and full stops, in lower case."""
    return _TOKEN.findall(text.lower())


def known_words(pairs: Iterable[Pair], count: int) -> list[str]:
    """The ``count`` words that most pairs have, in either of their texts; the commonest first."""
    seen = collections.Counter(
        word for pair in pairs for word in dict.fromkeys(tokens_of(f"{pair.summary} {pair.description}"))
    )
    return [word for word, _ in sorted(seen.items(), key=lambda entry: (-entry[1], entry[0]))[:count]]


def code(pair: Pair, known: Sequence[str], longest: int) -> Coded:
    """Tokens of the first ``longest`` words of the description, and of the words of the summary that can be written.

    The full stop that ends the summary is left out as well.
    """
    token = {word: place for place, word in enumerate(known, start=2 + SLOTS)}
    source = tokens_of(pair.description)[:longest]
    rare = list(dict.fromkeys(word for word in source if word not in token))[:SLOTS]
    token |= {word: place for place, word in enumerate(rare, start=2)}
    summary = [token[word] for word in tokens_of(pair.summary.rstrip(". ")) if word in token]
    return Coded([token.get(word, UNKNOWN) for word in source], summary[:LONGEST_SUMMARY], rare)


def words_of(tokens: Iterable[int], rare: Sequence[str], known: Sequence[str]) -> list[str]:
    """The words of tokens; an empty slot or an unknown word gives none."""
    words = ["", "", *rare, *[""] * (SLOTS - len(rare)), *known]
    return [words[token] for token in tokens if words[token]]


def _shuffle_slots(batch: Batch, rng: np.random.Generator) -> Batch:
    """The batch with each row's slots renumbered at random, alike in source and target."""
    rows, vocabulary = len(batch.targets), max(int(batch.inputs.source.max()), int(batch.targets.max())) + 1
    renamed = np.tile(np.arange(max(vocabulary, 2 + SLOTS), dtype=np.int32), (rows, 1))
    renamed[:, 2 : 2 + SLOTS] = rng.permuted(renamed[:, 2 : 2 + SLOTS], axis=1)
    source, target_in, targets = (
        np.take_along_axis(renamed, tokens, axis=1)
        for tokens in (batch.inputs.source, batch.inputs.target_in, batch.targets)
    )
    return batch._replace(inputs=SourceAndTarget(source, target_in), targets=targets)


def _assess(
    pairs: Sequence[Pair], coded: Sequence[Coded], known: Sequence[str], found: Iterable[tuple[Batch, Translation]]
) -> Assessment:
    """ROUGE-L of what the search found; pictures of where it looked, and what it wrote beside what it should have."""
    rows = [row for batch, translation in found for row in sentence_rows.found(batch, translation, end=END)]
    texts = [words_of(row.found, code.rare, known) for code, row in zip(coded, rows, strict=True)]
    panels, examples = [], []
    # Neighbours come from one file, so any order that mixes them will do.
    for place in np.random.default_rng(0).permutation(len(pairs)):
        pair, row, said = pairs[place], rows[place], texts[place]
        source = words_of(row.source, coded[place].rare, known)
        if len(source) != len(row.source) or len(said) != len(row.found):
            continue
        if len(source) in _PANEL_TOKENS and len(panels) < _PANELS:
            outputs = [*said, "end"][: len(row.weights)]
            panels.append({"rows": outputs, "columns": source, "weights": np.round(row.weights, 4).tolist()})
        elif len(source) in _EXAMPLE_TOKENS and len(examples) < _EXAMPLES:
            title = f"{' '.join(said)}  (reference: {pair.summary})"
            looked = np.round(row.weights.mean(axis=0), 4).tolist()
            examples.append({"title": title, "words": source, "weights": looked})
    pictures = {"attention": {"kind": "attention", "panels": panels}, "examples": {"kind": "words", "panels": examples}}
    return Assessment(
        {"rouge_l": summary_floors.score(pairs, [docstrings.words(" ".join(said)) for said in texts])},
        {name: picture for name, picture in pictures.items() if picture["panels"]},
    )


register(SummariseConfig, check_data=check_data, build=build, data=docstrings.DATA)
