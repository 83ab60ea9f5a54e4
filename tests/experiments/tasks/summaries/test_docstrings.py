"""Docstrings: how they are read, and split so that near-twins stay together; likeness against scikit-learn's."""

import itertools

import numpy as np
import pytest
from scipy.sparse.csgraph import connected_components
from sklearn.feature_extraction.text import TfidfVectorizer

from experiments.tasks.summaries import docstrings
from experiments.tasks.summaries.connected_components import components
from experiments.tasks.summaries.docstrings import Pair, first_sentence, pair_of, part_of, split, words
from experiments.tasks.text.tf_idf import likeness

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


def made_up_pairs():
    """Families of one sentence with a few words changed, pairs of equal names, and pairs of one summary."""
    rng = np.random.default_rng(0)
    pairs = []
    for family in range(150):
        body = [f"w{word}" for word in rng.integers(400, size=12)]
        for member in range(rng.integers(1, 5)):
            body[int(rng.integers(12))] = f"own{family}x{member}"
            pairs.append(
                Pair(f"m{family}.f{family}x{member}", " ".join(body), f"Says {family} {member} times {body[0]}.")
            )
    for twin in range(60):
        pairs += [
            Pair(f"{package}.twin{twin}", f"d{package}{twin} only.", f"s{package}{twin} says.") for package in "ab"
        ]
        pairs += [Pair(f"c.{package}{twin}", f"e{package}{twin} said.", f"All of {twin} alike.") for package in "ab"]
    return [*pairs, *pairs[:5]]


def cosines(texts):
    """From scikit-learn, whose defaults are those of the task."""
    vectors = TfidfVectorizer(
        analyzer=lambda text: [*text, *map(" ".join, itertools.pairwise(text))], sublinear_tf=True
    ).fit_transform(texts)
    return (vectors @ vectors.T).toarray()


def test_near_twins_stand_in_one_part():
    """None in another part has the same name, or a text that is alike; groups are no larger than they have to be."""
    made_up = made_up_pairs()
    parts, nearest, _ = split(made_up)
    pairs = [pair for there in parts.values() for pair in there]
    assert sorted(pairs) == sorted(set(made_up))
    part = np.array([part for part, there in parts.items() for _ in there])
    names = np.array([pair.name.rpartition(".")[2] for pair in pairs])
    descriptions, summaries = (cosines([words(pair[field]) for pair in pairs]) for field in (1, 2))
    twins = (descriptions > 0.4) | (summaries > 0.6) | (names[:, None] == names)
    across = part[:, None] != part
    assert twins.sum() > 2 * len(pairs)
    assert not (twins & across).any()
    _, group = connected_components(twins)
    for members in (np.flatnonzero(group == place) for place in range(group.max() + 1)):
        assert set(part[members]) == {part_of(min(pairs[member].name for member in members))}

    wanted = np.where((part == "train") & (group[:, None] != group), descriptions, -1)
    found = [pairs.index(pair) for there in nearest.values() for pair in there]
    np.testing.assert_allclose(wanted[np.arange(len(pairs)), found], wanted.max(axis=1), atol=1e-6)


def test_what_hangs_together_through_others_is_one_group():
    """The ends have nothing in common; and a group that is too large is for training."""
    links = [" ".join(f"{letter}{i}" for letter in "abcd") for i in range(docstrings.LARGEST + 1)]
    chain = [Pair(f"p.c{i}", " ".join(both), f"s{i} is said.") for i, both in enumerate(itertools.pairwise(links))]
    others = [Pair(f"p.o{i}", f"o{i} p{i} q{i}", f"t{i} it says") for i in range(200)]
    name = next(name for name in map("p.a{}".format, range(100)) if part_of(name) == "test")
    first = Pair(name, f"{links[0]} {links[1]}", "u is said.")
    parts, *_ = split([first, *chain[1:], *others])
    assert {first, *chain[1:]} <= set(parts["test"])
    assert len(parts["test"]) > docstrings.LARGEST
    parts, *_ = split([first, *chain, *others])
    assert {first, *chain} <= set(parts["train"])


def test_parts_are_drawn_by_the_hash_of_a_name():
    drawn = [part_of(f"a.b.name{i}") for i in range(4000)]
    shares = {part: drawn.count(part) / 4000 for part in ("train", "validation", "test")}
    assert shares == pytest.approx({"train": 0.8, "validation": 0.1, "test": 0.1}, abs=0.02)


def test_likeness_by_the_formula():
    """Of two words, one of them in both texts, and a pair that both have."""
    texts = [["a", "b", "a", "b"], ["a", "b"], ["c"], []]
    rarity = 1 + np.log(5 / 3)
    # a, b and "a b" of two texts each; "b a" of the first alone.
    first = np.array([(1 + np.log(2)) * rarity] * 3 + [1 + np.log(5 / 2)])
    second = np.array([rarity] * 3 + [0])
    expected = np.eye(4)
    expected[0, 1] = expected[1, 0] = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
    np.testing.assert_allclose(likeness(texts), expected, atol=1e-6)


def test_components():
    """Those of SciPy, each named by its first member."""
    rng = np.random.default_rng(0)
    for count in (1, 5, 40, 80):
        links = rng.integers(count, size=(count // 2, 2))
        _, labels = connected_components(np.eye(count)[links[:, 0]].T @ np.eye(count)[links[:, 1]], directed=False)
        expected = [labels.tolist().index(label) for label in labels]
        assert components(count, map(tuple, links.tolist())) == expected
