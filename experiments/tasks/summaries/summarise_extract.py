"""The summarise_extract task: tell which words of a description its summary has. They alone, in order, are a summary.

This is compression by deletion (Filippova et al. 2015, "Sentence compression by deletion with LSTMs"). Three thousand
pairs teach a yes or no for each word better than how to write. Pairs, split and floors are those of `summarise`.
"""

import collections
import functools
import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from experiments.tasks.inputs import Tokens
from experiments.tasks.registry import register
from experiments.tasks.summaries import docstrings, summary_floors
from experiments.tasks.summaries.docstrings import Pair
from experiments.tasks.summaries.rouge import shared
from experiments.tasks.task import Assessment, Batch, Task, TaskBlock, stored

PADDING, RARE = 0, range(1, 4)
"""The token of padding, and those of words that are not known and stand in the text once, twice, and more often. Tokens
of known words come after these."""
_PART = re.compile(r"[a-z0-9]+|[.,:;()]")
"""A word as ROUGE compares it, or a mark, which is read and never kept."""
_EXAMPLES, _EXAMPLE_PARTS = 5, range(12, 61)


class SummariseExtractConfig(TaskBlock):
    """Words are runs of letters and digits; case is ignored."""

    per_step: ClassVar[bool] = True
    name: Literal["summarise_extract"]
    longest: Annotated[int, Field(ge=8)] = 60
    """Most words and marks of a description that are read."""
    known_words: Annotated[int, Field(ge=1, le=20000)] = 800
    """How many words and marks have a token of their own: those that most training descriptions have."""


def check_data(config: SummariseExtractConfig) -> None:
    """Raise UserError if a package is not installed; nothing is read."""
    docstrings.check(config.name)


def build(config: SummariseExtractConfig) -> Task:
    """Read the docstrings: inputs are descriptions; targets are 1 for words that the summary has too, in its order."""
    parts, nearest, facts = docstrings.read()
    texts = {part: [parts_of(pair.description)[: config.longest] for pair in pairs] for part, pairs in parts.items()}
    seen = collections.Counter(word for text in texts["train"] for word in set(text))
    known = [word for word, _ in sorted(seen.items(), key=lambda entry: (-entry[1], entry[0]))[: config.known_words]]
    length = float(np.mean([len(docstrings.words(pair.summary)) for pair in parts["train"]]))
    return Task(
        name=config.name,
        inputs=Tokens(RARE.stop + len(known)),
        outputs=2,
        per_step=config.per_step,
        loss="cross_entropy",
        metrics=("nll",),
        **summary_floors.floors(parts["test"], nearest["test"]),
        **stored({part: _rows(pairs, texts[part], known, config.longest) for part, pairs in parts.items()}),
        assess=functools.partial(_assess, parts["test"], texts["test"], length),
        facts={**facts, **{f"{part}_pairs": len(pairs) for part, pairs in parts.items()}},
    )


def parts_of(text: str) -> list[str]:
    """Words and marks of a text, in lower case."""
    return _PART.findall(text.lower())


def tokens(text: Sequence[str], known: Sequence[str]) -> list[int]:
    """The token of each word or mark of ``text``."""
    token = {word: place for place, word in enumerate(known, start=RARE.stop)}
    count = collections.Counter(text)
    return [token.get(word, RARE[min(count[word], len(RARE)) - 1]) for word in text]


def likeliest_words(text: Sequence[str], chances: np.ndarray, length: float) -> list[str]:
    """The words that are likeliest in the summary, in their order: as many as make the expected ROUGE-L largest.

    With k words kept, it is about 2 (sum of their chances) / (k + ``length``), where ``length`` is that of a summary.
    ``chances``: one for each word or mark.
    """
    words = [place for place, word in enumerate(text) if word.isalnum()]
    order = sorted(words, key=lambda place: -chances[place])
    expected = 2 * np.cumsum(chances[order]) / (np.arange(1, len(order) + 1) + length)
    return [text[place] for place in sorted(order[: int(expected.argmax()) + 1])]


def _rows(pairs: Sequence[Pair], texts: Sequence[Sequence[str]], known: Sequence[str], longest: int) -> Batch:
    inputs, targets = (np.zeros((len(pairs), longest), np.int32) for _ in range(2))
    weights = np.zeros(inputs.shape, np.float32)
    for row, (pair, text) in enumerate(zip(pairs, texts, strict=True)):
        inputs[row, : len(text)] = tokens(text, known)
        targets[row, : len(text)] = shared(text, docstrings.words(pair.summary))
        weights[row, : len(text)] = [word.isalnum() for word in text]
    return Batch(inputs, targets, weights, np.array([len(text) for text in texts], np.int32))


def _assess(
    pairs: Sequence[Pair], texts: Sequence[Sequence[str]], length: float, found: Iterable[tuple[Batch, np.ndarray]]
) -> Assessment:
    """ROUGE-L of the words kept; a picture of texts, shaded by the chances of their words."""
    # The chance of the second of two classes. Every row has a word that weighs, except padding rows.
    chances = [
        1 / (1 + np.exp(np.float64(row[:, 0] - row[:, 1])))
        for batch, outputs in found
        for row in outputs[batch.weights.any(axis=1)]
    ]
    said = [likeliest_words(text, chance, length) for text, chance in zip(texts, chances, strict=True)]
    fitting = [row for row, text in enumerate(texts) if len(text) in _EXAMPLE_PARTS]
    panels: list[dict[str, Any]] = [
        {
            "title": f"{' '.join(said[row])}  (reference: {pairs[row].summary})",
            "words": list(texts[row]),
            "weights": np.round(chances[row][: len(texts[row])], 4).tolist(),
        }
        for row in fitting[:: max(len(fitting) // _EXAMPLES, 1)][:_EXAMPLES]
    ]
    pictures = {"examples": {"kind": "words", "panels": panels}} if panels else {}
    return Assessment({"rouge_l": summary_floors.score(pairs, said)}, pictures)


register(SummariseExtractConfig, check_data=check_data, build=build, data=docstrings.DATA)
