"""Summaries: how pairs are coded and scored, and the floors."""

import importlib.util

import numpy as np
import pytest

from experiments.system.errors import UserError
from experiments.tasks.summaries import docstrings, summarise, summary_floors
from experiments.tasks.summaries.docstrings import Pair, words
from experiments.tasks.summaries.rouge import rouge_l
from experiments.tasks.summaries.summarise import SLOTS, SummariseConfig, build, code, known_words, tokens_of, words_of
from tests.experiments.tasks.translation.translations import answers

KNOWN = ["the", "of", "."]


def test_rare_words_are_numbered_and_put_back():
    pair = Pair("p.f", "The foo of numpy.bar. Foo, the two-way", "Sum of the foo, two-way eggs.")
    coded = code(pair, KNOWN, 7)
    first = 2 + SLOTS
    assert coded.rare == ["foo", "numpy.bar", ","]
    assert coded.source == [first, 2, first + 1, 3, first + 2, 2, 4]
    assert coded.target == [first + 1, first, 2, 4]
    assert words_of(coded.source, coded.rare, KNOWN) == tokens_of(pair.description)[:7]
    assert words_of([*coded.target, 1, 30], coded.rare, KNOWN) == ["of", "the", "foo", ","]


def test_known_words_are_those_that_most_pairs_have():
    pairs = [Pair("", "b b b", "a"), Pair("", "a c", "c"), Pair("", "c", "d a")]
    assert known_words(pairs, 3) == ["a", "c", "b"]


@pytest.fixture(scope="module")
def task():
    return build(SummariseConfig(name="summarise"))


def test_slots_are_renamed_alike_in_source_and_target(task):
    plain = build(SummariseConfig(name="summarise", shuffle_slots=False)).train_batch(0, 5, 32)
    shuffled = task.train_batch(0, 5, 32)
    for row in range(32):
        before = np.concatenate([plain.inputs.source[row], plain.inputs.target_in[row], plain.targets[row]])
        after = np.concatenate([shuffled.inputs.source[row], shuffled.inputs.target_in[row], shuffled.targets[row]])
        slot = (before >= 2) & (before < 2 + SLOTS)
        np.testing.assert_array_equal(before[~slot], after[~slot])
        renaming = dict(zip(before[slot].tolist(), after[slot].tolist(), strict=True))
        assert after[slot].tolist() == [renaming[token] for token in before[slot].tolist()]
        assert len(set(renaming.values())) == len(renaming)
    assert (plain.inputs.source != shuffled.inputs.source).any()


def test_the_floor_is_the_best_of_three():
    nearest = [
        Pair("", "one two three.", "Count the numbers."),
        Pair("", "alpha beta gamma.", "Say the greek letters."),
    ]
    test = [Pair("", "Two three four.", "Count the large numbers."), Pair("", "Beta gamma delta.", "Say no letters.")]
    # Retrieved: three words of 3 and 4, and two of 4 and 3.
    floor = summary_floors.floors(test, nearest)
    assert floor["floor"] == {"rouge_l": round((2 * 3 / 7 + 2 * 2 / 7) / 2, 4)}
    # Where nothing in training is like it, the description's own words are better.
    test = [Pair("", "Fully new words. And more of them.", "Fully new words here.")]
    floor = summary_floors.floors(test, nearest[:1])
    assert floor["floor"] == {"rouge_l": round(2 * 3 / 7, 4)}
    assert "the first sentence of the description: 0.8571; its first 10 words: 0.5455; " in floor["floor_note"]


def assessed(task, change):
    # The last batch is filled up, with rows that must not count.
    return task.assess(
        [(batch, answers(batch, task.inputs.max_steps, change)) for batch in task.split_batches("test", 100)]
    )


def test_the_score_is_that_of_the_texts(task):
    """Saying nothing scores 0; the targets score what those words do that can be written at all."""
    assert assessed(task, lambda said: []).metrics == {"rouge_l": 0}
    parts, *_ = docstrings.read()
    known = known_words(parts["train"], 400)
    best = []
    for pair in parts["test"]:
        there = {*known, *tokens_of(pair.description)[:60]}
        kept = [word for word in tokens_of(pair.summary.rstrip(". "))[:25] if word in there]
        best.append(rouge_l(words(pair.summary), words(" ".join(kept))))
    found = assessed(task, lambda said: said)
    assert found.metrics["rouge_l"] == pytest.approx(np.mean(best), abs=2e-3)
    assert 0.6 < found.metrics["rouge_l"] < 1
    assert 0.15 < task.floor["rouge_l"] < 0.25


def test_pictures(task):
    pictures = assessed(task, lambda said: [token for token in said if token != 1]).pictures
    assert len(pictures["attention"]["panels"]) == 2
    for panel in pictures["attention"]["panels"]:
        assert panel["rows"][-1] == "end"
        assert np.shape(panel["weights"]) == (len(panel["rows"]), len(panel["columns"]))
    assert len(pictures["examples"]["panels"]) == 5
    for panel in pictures["examples"]["panels"]:
        assert "  (reference: " in panel["title"]
        assert panel["weights"] == [1] + [0] * (len(panel["words"]) - 1)


def test_parts_of_the_installed_packages(task):
    facts = task.facts
    assert set(facts["versions"]) == {"jax", "numpy", "scipy"}
    assert facts["train_pairs"] > 2000
    assert min(facts["validation_pairs"], facts["test_pairs"]) > 200
    assert task.train_batch(0, 1, 4).inputs.source.shape == (4, 60)


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"task\.name: summarise reads data of the package jax"):
        summarise.check_data(SummariseConfig(name="summarise"))
