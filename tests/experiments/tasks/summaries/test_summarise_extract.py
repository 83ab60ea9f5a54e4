"""Summaries made of the words of a description: tokens, targets, which words are kept, and the score."""

import importlib.util
import itertools

import numpy as np
import pytest

from experiments.system.errors import UserError
from experiments.tasks.summaries import docstrings, summarise_extract
from experiments.tasks.summaries.docstrings import words
from experiments.tasks.summaries.rouge import rouge_l
from experiments.tasks.summaries.summarise_extract import (
    SummariseExtractConfig,
    build,
    likeliest_words,
    parts_of,
    tokens,
)


def test_rare_words_are_told_apart_by_how_often_they_stand_there():
    text = parts_of("The foo: bar of foo, the eggs. Eggs, eggs and eggs")
    assert text == ["the", "foo", ":", "bar", "of", "foo", ",", "the", "eggs", ".", "eggs", ",", "eggs", "and", "eggs"]
    assert tokens(text, ["the", ","]) == [4, 2, 1, 1, 1, 2, 5, 4, 3, 1, 3, 5, 3, 1, 3]


def test_the_words_kept_have_the_largest_expected_score_of_all_choices():
    """Of every set of words, marks left out."""
    rng = np.random.default_rng(0)
    text = ["a", ".", "b", "c", ",", "d", "e"]
    for _ in range(50):
        chances = rng.random(7) ** 2
        choices = [choice for count in range(1, 6) for choice in itertools.combinations([0, 2, 3, 5, 6], count)]
        best = max(choices, key=lambda choice: 2 * sum(chances[place] for place in choice) / (len(choice) + 3.5))
        assert likeliest_words(text, chances, 3.5) == [text[place] for place in best]


@pytest.fixture(scope="module")
def task():
    return build(SummariseExtractConfig(name="summarise_extract"))


def test_targets_are_the_words_that_the_summary_has(task):
    """Kept alone they score what a longest common subsequence does; marks and what follows the end do not count."""
    pairs = docstrings.read().parts["validation"]
    (batch,) = task.split_batches("validation", 1000)
    for row, pair in enumerate(pairs):
        text = parts_of(pair.description)[:60]
        assert batch.seq_lengths[row] == len(text)
        np.testing.assert_array_equal(batch.weights[row], [word.isalnum() for word in text] + [0] * (60 - len(text)))
        wanted = [word for word, target in zip(text, batch.targets[row], strict=False) if target]
        summary = words(pair.summary)
        assert rouge_l(summary, wanted) == rouge_l(wanted, summary) >= rouge_l(summary, text[:1])
        place = iter(summary)
        assert all(word in place for word in wanted)


def assessed(task, logits):
    return task.assess([(batch, logits(batch)) for batch in task.split_batches("test", 100)])


def test_the_score_is_that_of_the_words_kept(task):
    """Of outputs that know the answer, and of such that like early words, which keep the beginning."""
    known = assessed(task, lambda batch: np.stack([-9.0 * batch.targets, 9.0 * batch.targets - 4], axis=-1))
    assert 0.4 < known.metrics["rouge_l"] < 0.6

    def early(batch):
        falling = np.broadcast_to(np.linspace(5, -5, 60), batch.targets.shape)
        return np.stack([0 * falling, falling], axis=-1)

    pairs = docstrings.read().parts["test"]
    length = np.mean([len(words(pair.summary)) for pair in docstrings.read().parts["train"]])
    falling = 1 / (1 + np.exp(-np.linspace(5, -5, 60)))
    scores = []
    for pair in pairs:
        text = parts_of(pair.description)[:60]
        chosen = [(word, chance) for word, chance in zip(text, falling, strict=False) if word.isalnum()]
        gains = [
            2 * sum(chance for _, chance in chosen[:count]) / (count + length) for count in range(1, len(chosen) + 1)
        ]
        scores.append(rouge_l(words(pair.summary), [word for word, _ in chosen[: int(np.argmax(gains)) + 1]]))
    assert assessed(task, early).metrics["rouge_l"] == pytest.approx(np.mean(scores), abs=1e-6)


def test_pictures_show_words_with_their_chances(task):
    panels = assessed(task, lambda batch: np.zeros((*batch.targets.shape, 2))).pictures["examples"]["panels"]
    assert len(panels) == 5
    for panel in panels:
        assert "  (reference: " in panel["title"]
        assert panel["weights"] == [0.5] * len(panel["words"])


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"task\.name: summarise_extract reads data of the package jax"):
        summarise_extract.check_data(SummariseExtractConfig(name="summarise_extract"))
