"""The summarise task: from what a docstring explains to the one line that opens it; jax, numpy and scipy.

Most words that matter are rare, and three thousand pairs are too few to learn them. So the model sees a word that is
not among the commonest as "the first, second, ... rare word of this description", and can write it again by that
number, which is put back afterwards (the copyable words of Luong et al. 2015, "Addressing the rare word problem").
"""

import collections
import functools
import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field

from experiments.tasks import docstrings, sentence_rows
from experiments.tasks.docstrings import Pair
from experiments.tasks.rouge import rouge_l
from experiments.tasks.sequences import Sentences, SourceAndTarget, Translation
from experiments.tasks.task import Assessment, Batch, Task, TaskBlock, stored

END, UNKNOWN = 0, 1
"""The token that ends a summary, which is also its first; and that of a rare word for which no slot is left."""
SLOTS = 40
"""How many rare words of a description have a number; their tokens come after `UNKNOWN`, then the known words."""
LONGEST_SUMMARY = 25
FIRST_WORDS = 10
"""Of one of the floors. From 8 to 15 they differ by 0.01 on the validation split, where 9 have 0.1846 and 10 0.1832."""
_TOKEN = re.compile(r"[a-z0-9_]+(?:[.'-][a-z0-9_]+)*|[.,]")
_PANELS, _PANEL_TOKENS = 2, range(8, 26)
_EXAMPLES, _EXAMPLE_TOKENS = 5, range(8, 70)


class SummariseConfig(TaskBlock):
    """Words are runs of letters, digits and underscores, with dots, hyphens and apostrophes inside; case is ignored."""

    per_step: ClassVar[bool] = True
    translates: ClassVar[bool] = True
    name: Literal["summarise"]
    longest: Annotated[int, Field(ge=8)] = 60
    """Words of a description that are read."""
    known_words: Annotated[int, Field(ge=1, le=5000)] = 400
    """How many words are known by themselves: those that most training pairs have."""
    shuffle_slots: bool = True
    """Whether the rare words of a training row are numbered at random, anew at each step, instead of in their order."""


class Coded(NamedTuple):
    """One pair as tokens, and what its slots stand for."""

    source: list[int]
    target: list[int]
    rare: list[str]
    """The rare words of the source, of slots 0, 1, ..."""


def check_data(config: SummariseConfig) -> None:
    """Raise UserError if a package is not installed; nothing is read."""
    docstrings.check()


def build(config: SummariseConfig) -> Task:
    """Read the docstrings: sources are descriptions, targets summaries."""
    parts, facts = docstrings.read()
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
        **_floor(parts["train"], parts["test"]),
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
    """Tokens of the description, to its ``longest`` words, and of those words of the summary that can be written.

    The full stop at its end is left out as well.
    """
    token = {word: place for place, word in enumerate(known, start=2 + SLOTS)}
    source = tokens_of(pair.description)[:longest]
    rare = list(dict.fromkeys(word for word in source if word not in token))[:SLOTS]
    token |= {word: place for place, word in enumerate(rare, start=2)}
    summary = [token[word] for word in tokens_of(pair.summary.rstrip(". ")) if word in token]
    return Coded([token.get(word, UNKNOWN) for word in source], summary[:LONGEST_SUMMARY], rare)


def written(tokens: Iterable[int], rare: Sequence[str], known: Sequence[str]) -> list[str]:
    """Words of tokens; of a slot that no word has, and of a word unknown, nothing comes."""
    words = ["", "", *rare, *[""] * (SLOTS - len(rare)), *known]
    return [words[token] for token in tokens if words[token]]


def _score(pairs: Sequence[Pair], found: Iterable[Sequence[str]]) -> float:
    """The mean ROUGE-L of ``found``, as words, against the summaries."""
    scores = [rouge_l(docstrings.words(pair.summary), words) for pair, words in zip(pairs, found, strict=True)]
    return float(np.mean(scores))


def nearest(texts: Sequence[Sequence[str]], asked: Iterable[Sequence[str]]) -> list[int]:
    """For each text ``asked``, as words, the place in ``texts`` of the one that is most like it; of equals the first.

    What counts is the cosine of tf-idf weights (Manning, Raghavan and Schuetze 2008, sections 6.2 to 6.4) of words and
    of pairs of neighbours: (1 + ln n) (1 + ln((1 + N) / (1 + d))) of one that a text has n times and d of N texts have.
    """
    counted = [_words_and_pairs(text) for text in texts]
    having = collections.Counter(term for terms in counted for term in terms)
    rarity = {term: 1 + math.log((1 + len(texts)) / (1 + count)) for term, count in having.items()}

    def weighted(terms: Mapping[str, int]) -> dict[str, float]:
        return {term: (1 + math.log(n)) * rarity[term] for term, n in terms.items() if term in rarity}

    postings: dict[str, tuple[list[int], list[float]]] = {term: ([], []) for term in rarity}
    for place, terms in enumerate(counted):
        weights = weighted(terms)
        norm = math.hypot(*weights.values())
        for term, weight in weights.items():
            postings[term][0].append(place)
            postings[term][1].append(weight / norm)
    found = []
    for text in asked:
        likeness = np.zeros(len(texts))
        for term, weight in weighted(_words_and_pairs(text)).items():
            places, shares = postings[term]
            likeness[places] += weight * np.array(shares)
        found.append(int(likeness.argmax()))
    return found


def _words_and_pairs(text: Sequence[str]) -> collections.Counter[str]:
    return collections.Counter([*text, *map(" ".join, itertools.pairwise(text))])


def _floor(train: Sequence[Pair], test: Sequence[Pair]) -> dict[str, Any]:
    """Three ways to a summary without a model; the floor is the best."""
    places = nearest(*([docstrings.words(pair.description) for pair in part] for part in (train, test)))
    retrieved = [docstrings.words(train[place].summary) for place in places]
    sentences = [docstrings.words(docstrings.first_sentence(pair.description)) for pair in test]
    beginnings = [docstrings.words(pair.description)[:FIRST_WORDS] for pair in test]
    scores = {
        "the first sentence of the description": round(_score(test, sentences), 4),
        f"its first {FIRST_WORDS} words": round(_score(test, beginnings), 4),
        "the summary of the training description that is most like it (tf-idf)": round(_score(test, retrieved), 4),
    }
    note = "; ".join(f"{name}: {score}" for name, score in scores.items())
    return {"floor": {"rouge_l": max(scores.values())}, "floor_note": f"{note}; the same pairs"}


def _shuffle_slots(batch: Batch, rng: np.random.Generator) -> Batch:
    """The slots of each row under numbers drawn at random, the same in source and target."""
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
    texts = [written(row.found, code.rare, known) for code, row in zip(coded, rows, strict=True)]
    panels, examples = [], []
    for pair, code, row, said in zip(pairs, coded, rows, texts, strict=True):
        source = written(row.source, code.rare, known)
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
        {"rouge_l": _score(pairs, [docstrings.words(" ".join(said)) for said in texts])},
        {name: picture for name, picture in pictures.items() if picture["panels"]},
    )
