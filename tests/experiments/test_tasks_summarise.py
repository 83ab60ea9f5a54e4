"""Docstrings: how they are read, split and coded, and ROUGE-L against other ways to it."""

import functools
import importlib.util
import itertools

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from experiments.errors import UserError
from experiments.tasks import docstrings, summarise
from experiments.tasks.docstrings import Pair, first_sentence, pair_of, part_of, split, words
from experiments.tasks.rouge import common_subsequence, rouge_l
from experiments.tasks.sequences import Translation
from experiments.tasks.summarise import SLOTS, SummariseConfig, build, code, known_words, nearest, tokens_of, written

DOCSTRING = """\
Return the :func:`sum` of
two things [1]_.

The ``first`` thing is added to the second one.

    >>> add(1, 2)

It can be *slow*.

Parameters
----------
a : the first of all things

Not read either.
"""


def test_a_pair_is_the_summary_and_the_prose_up_to_the_first_section():
    expected = Pair(
        "p.add", "The first thing is added to the second one. It can be slow.", "Return the sum of two things ."
    )
    assert pair_of("p.add", DOCSTRING) == expected
    assert pair_of("p.add", "add(a, b, /,\n    out=None)\n\n" + DOCSTRING) == expected
    assert pair_of("p.add", DOCSTRING.replace("Parameters\n----------", "Args:")) == expected


@pytest.mark.parametrize(
    "docstring",
    [
        "",
        "Return the sum of two things.",
        "Return the sum of two things.\n\nParameters\n----------\na : of many words that are no prose",
        "Return the sum of two things.\n\nArgs:\n  a: of many words that are no prose",
        ">>> add(1, 2)\n\nReturn the sum of two things.\n\nProse that comes much too late now.",
        "Sum it.\n\nThe summary has two words and needs three.",
        "Return the sum of two things.\n\nToo short by far.",
    ],
)
def test_no_pair(docstring):
    assert pair_of("p.add", docstring) is None


def test_first_sentence():
    assert first_sentence("The e.g. 2.5 of x.y is it. The rest.") == "The e.g. 2.5 of x.y is it."
    assert first_sentence("No end") == "No end"


def test_packages_are_read_without_import(tmp_path, monkeypatch):
    (tmp_path / "__init__.py").write_text("")
    (tmp_path / "tests").mkdir()
    text = '"""Add the two things.\n\nThe {0} thing is added to the second one."""'
    method = f"if True:\n    def f(self):\n      {text.format('method')}"
    code = f"raise SystemExit\nclass A:\n  {text.format('class')}\n  {method}\n"
    (tmp_path / "b.py").write_text(code)
    (tmp_path / "tests" / "c.py").write_text(code)
    monkeypatch.setattr(docstrings.packages, "folder_of", lambda package: tmp_path)
    assert [(pair.name, pair.description.split()[1]) for pair in docstrings._of_package("p")] == [
        ("p.b.A", "class"),
        ("p.b.A.f", "method"),
    ]


def test_no_text_stands_in_two_parts():
    """Of pairs that share summaries and descriptions."""
    rng = np.random.default_rng(0)
    pairs = [
        Pair(f"m{i % 7}.f{i}", f"Described {rng.integers(9000)}.", f"Does {rng.integers(3000)}") for i in range(3000)
    ]
    parts = split(pairs)
    texts = {part: {text for pair in there for text in pair[1:]} for part, there in parts.items()}
    for this, that in [("train", "validation"), ("train", "test"), ("validation", "test")]:
        assert not texts[this] & texts[that]
    assert len(parts["test"]) > 200
    for part, there in parts.items():
        assert len({pair[1:] for pair in there}) == len(there)
        assert all(part_of(pair.name) == part for pair in there)


def test_the_part_is_drawn_by_the_last_name():
    drawn = [part_of(f"a.b.name{i}") for i in range(4000)]
    assert drawn == [part_of(f"other.name{i}") for i in range(4000)]
    shares = {part: drawn.count(part) / 4000 for part in ("train", "validation", "test")}
    assert shares == pytest.approx({"train": 0.8, "validation": 0.1, "test": 0.1}, abs=0.02)


def test_the_longest_common_subsequence():
    @functools.cache
    def longest(a, b):
        if not a or not b:
            return 0
        return max(longest(a[1:], b), longest(a, b[1:]), longest(a[1:], b[1:]) + 1 if a[0] == b[0] else 0)

    rng = np.random.default_rng(0)
    for _ in range(200):
        a, b = (tuple(rng.integers(3, size=rng.integers(8)).tolist()) for _ in range(2))
        assert common_subsequence(a, b) == longest(a, b)


def test_rouge_l():
    """Lin 2004, section 3.1: LCS 3 and 2 of 4 words on either side."""
    reference = words("Police killed the gunman.")
    assert rouge_l(reference, words("police kill the gunman")) == 0.75
    assert rouge_l(reference, words("the gunman kill police")) == 0.5
    assert rouge_l(reference, ["police"]) == pytest.approx(2 * 1 * 0.25 / 1.25)
    assert rouge_l(reference, []) == rouge_l([], []) == 0


KNOWN = ["the", "of", "."]


def test_rare_words_are_numbered_and_put_back():
    pair = Pair("p.f", "The foo of numpy.bar. Foo, the two-way", "Sum of the foo, two-way eggs.")
    coded = code(pair, KNOWN, 7)
    first = 2 + SLOTS
    assert coded.rare == ["foo", "numpy.bar", ","]
    assert coded.source == [first, 2, first + 1, 3, first + 2, 2, 4]
    assert coded.target == [first + 1, first, 2, 4]
    assert written(coded.source, coded.rare, KNOWN) == tokens_of(pair.description)[:7]
    assert written([*coded.target, 1, 30], coded.rare, KNOWN) == ["of", "the", "foo", ","]


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


def test_the_nearest_text_is_that_of_an_independent_tf_idf():
    rng = np.random.default_rng(0)
    vocabulary = [f"w{place}" for place in range(40)]
    texts = [rng.choice(vocabulary, rng.integers(4, 12)).tolist() for _ in range(80)]
    asked = [[*rng.choice(vocabulary, 8), "unseen"] for _ in range(60)]
    vectors = TfidfVectorizer(
        analyzer=lambda text: [*text, *map(" ".join, itertools.pairwise(text))], sublinear_tf=True
    )
    trained = vectors.fit_transform(texts)
    likeness = (vectors.transform(asked) @ trained.T).toarray()
    # Nothing hangs on rounding.
    best = np.sort(likeness)[:, -2:]
    clear = best[:, 1] - best[:, 0] > 1e-9
    assert clear.sum() > 50
    np.testing.assert_array_equal(np.array(nearest(texts, asked))[clear], likeness.argmax(axis=1)[clear])
    assert nearest(texts, texts[:3]) == [0, 1, 2]
    assert nearest(texts, [["unseen"]]) == [0]


def test_the_floor_is_the_best_of_three():
    train = [Pair("", "alpha beta gamma.", "Say the greek letters."), Pair("", "one two three.", "Count the numbers.")]
    test = [Pair("", "Two three four.", "Count the large numbers."), Pair("", "Beta gamma delta.", "Say no letters.")]
    # Retrieved: three words of 3 and 4, and two of 4 and 3.
    floor = summarise._floor(train, test)
    assert floor["floor"] == {"rouge_l": round((2 * 3 / 7 + 2 * 2 / 7) / 2, 4)}
    # Where nothing in training is like it, the description's own words are better.
    test = [Pair("", "Fully new words. And more of them.", "Fully new words here.")]
    floor = summarise._floor(train, test)
    assert floor["floor"] == {"rouge_l": round(2 * 3 / 7, 4)}
    assert "the first sentence of the description: 0.8571; its first 10 words: 0.5455; " in floor["floor_note"]


def answers(task, batch, change):
    """What a search would hand over that finds ``change(true tokens)`` and looks at the first word."""
    rows = len(batch.targets)
    tokens = np.zeros((rows, task.inputs.max_steps), np.int32)
    lengths = np.zeros(rows, np.int32)
    for row in range(rows):
        said = change(batch.targets[row, : max(int(batch.weights[row].sum()), 1) - 1].tolist())
        tokens[row, : len(said)] = said
        lengths[row] = len(said) + 1
    weights = np.zeros((rows, task.inputs.max_steps, batch.inputs.source.shape[1]), np.float32)
    weights[..., 0] = 1
    return Translation(tokens, lengths, weights)


def assessed(task, change):
    # The last batch is filled up, with rows that must not count.
    return task.assess([(batch, answers(task, batch, change)) for batch in task.split_batches("test", 100)])


def test_the_score_is_that_of_the_texts(task):
    """Saying nothing scores 0; the targets score what those words do that can be written at all."""
    assert assessed(task, lambda said: []).metrics == {"rouge_l": 0}
    parts, _ = docstrings.read()
    known = known_words(parts["train"], 400)
    best = []
    for pair in parts["test"]:
        there = {*known, *tokens_of(pair.description)[:60]}
        kept = [word for word in tokens_of(pair.summary.rstrip(". "))[:25] if word in there]
        best.append(rouge_l(words(pair.summary), words(" ".join(kept))))
    found = assessed(task, lambda said: said)
    assert found.metrics["rouge_l"] == pytest.approx(np.mean(best), abs=2e-3)
    assert 0.6 < found.metrics["rouge_l"] < 1
    assert 0.25 < task.floor["rouge_l"] < 0.4


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
    assert facts["test_pairs"] > 250
    assert task.train_batch(0, 1, 4).inputs.source.shape == (4, 60)


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"task\.name: summarise reads data of the package jax"):
        summarise.check_data(SummariseConfig(name="summarise"))
