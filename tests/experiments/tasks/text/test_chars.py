import hashlib
import importlib.util
import itertools
import math
from collections import Counter, defaultdict

import numpy as np
import pytest

from experiments.system.errors import UserError
from experiments.tasks.text import chars
from experiments.tasks.text.chars import CharsConfig, build


@pytest.fixture(scope="module")
def task():
    return build(CharsConfig(name="chars", window=32))


@pytest.fixture(scope="module")
def text():
    """The whole text, joined here once more."""
    from pydoc_data.topics import topics

    return "\n".join(topics[title] for title in sorted(topics))


def spell(task, tokens):
    return "".join(task.alphabet[token] for token in tokens)


def test_facts_describe_the_text(task, text):
    assert task.facts["sha256"] == hashlib.sha256(text.encode("utf-8")).hexdigest()
    assert task.facts["characters"] == len(text)
    assert task.facts["symbols"] == len(set(text)) == len(task.alphabet)
    parts = [task.facts[f"{part}_characters"] for part in ("train", "validation", "test")]
    assert sum(parts) == len(text)
    np.testing.assert_allclose(np.array(parts) / len(text), [0.8, 0.1, 0.1], atol=1e-5)


def test_training_rows_are_windows_of_the_training_part(task, text):
    train = text[: task.facts["train_characters"]]
    batch = task.train_batch(0, 0, 50)
    assert batch.inputs.shape == (50, 32)
    assert (batch.weights == 1).all()
    for inputs, targets in zip(batch.inputs, batch.targets, strict=True):
        window = spell(task, inputs) + spell(task, targets[-1:])
        assert window in train
        assert spell(task, targets) == window[1:]


def test_windows_come_from_the_whole_training_part(tmp_path):
    path = tmp_path / "numbers.txt"
    path.write_text("".join(map(chr, range(0x100, 0x100 + 50))))
    task = build(CharsConfig(name="chars", window=10, path=str(path)))
    starts = Counter(task.train_batch(0, 0, 2000).inputs[:, 0].tolist())
    # 40 characters of training text hold 30 windows of 10 inputs with a target each.
    assert sorted(starts) == list(range(30))


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_split_predicts_each_of_its_characters_once_from_the_one_before(task, text, split):
    first = task.facts["train_characters"] + (task.facts["validation_characters"] if split == "test" else 0)
    last = first + task.facts[f"{split}_characters"]
    inputs, targets = "", ""
    for batch in task.split_batches(split, 5):
        for row in range(len(batch.inputs)):
            weighs = batch.weights[row] > 0
            inputs += spell(task, batch.inputs[row, weighs])
            targets += spell(task, batch.targets[row, weighs])
    assert targets == text[first:last]
    assert inputs == text[first - 1 : last - 1]


def test_evaluation_batches_stay_small(task):
    for batch in task.split_batches("test", 10_000):
        assert batch.inputs.size * len(task.alphabet) * 4 < 100e6
        assert batch.inputs.shape[1] > 1000


def test_the_floor_counts_pairs(task, text):
    """Order-1 statistics by plain counting: a character's share after the one before, with one count of order 0."""
    train = text[: task.facts["train_characters"]]
    before_test = len(text) - task.facts["test_characters"] - 1
    test = text[before_test:]
    singles, pairs, followed = Counter(train), defaultdict(Counter), Counter(train[:-1])
    for this, following in itertools.pairwise(train):
        pairs[this][following] += 1
    bits, right = 0.0, 0
    for this, following in itertools.pairwise(test):
        order_0 = (singles[following] + 1) / (len(train) + len(task.alphabet))
        bits -= math.log2((pairs[this][following] + order_0) / (followed[this] + 1))
        right += pairs[this].most_common(1)[0][0] == following
    assert task.floor["bits_per_char"] == pytest.approx(bits / (len(test) - 1), rel=1e-9)
    assert task.floor["accuracy"] == pytest.approx(right / (len(test) - 1), abs=1e-3)


def test_the_facts_say_how_much_of_the_test_part_was_seen(tmp_path):
    rng = np.random.default_rng(0)
    train, validation, fresh = ("".join(rng.choice(list("abcdefgh\n"), count)) for count in (8000, 1000, 500))
    path = tmp_path / "text.txt"
    path.write_text(train + validation + train[:500] + fresh)
    task = build(CharsConfig(name="chars", path=str(path)))
    # Of the 1000 - 63 passages of 64 characters in the test part, the first 500 - 63 also stand in the training part.
    assert task.facts["test_passages_of_64_in_train"] == pytest.approx(437 / 937, abs=0.002)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"task\.path: expected a text file, found none at .*none\.txt"):
        chars.check_data(CharsConfig(name="chars", path=str(tmp_path / "none.txt")))


def test_a_file_that_is_not_text_is_named(tmp_path):
    path = tmp_path / "binary"
    path.write_bytes(b"abc\xff\xfe" * 100)
    with pytest.raises(UserError, match=r"task\.path: .*binary is not UTF-8 text \(byte 3\)"):
        build(CharsConfig(name="chars", path=str(path)))


@pytest.mark.parametrize("content", ["", "a", "too short a text"])
def test_a_text_shorter_than_the_window_is_refused(tmp_path, content):
    path = tmp_path / "short.txt"
    path.write_text(content)
    with pytest.raises(UserError, match=r"task\.window: 128 characters do not fit"):
        build(CharsConfig(name="chars", path=str(path)))


def test_a_python_without_the_topics_is_told_what_to_do(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pydoc_data\.topics.*set task\.path"):
        chars.check_data(CharsConfig(name="chars"))
