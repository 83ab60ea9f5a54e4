"""Slips of the pen in configs and overrides: each is told with what would be right in its place."""

import json
import re

import pytest

from experiments import cli
from experiments.config.configs import load
from experiments.config.schema_keys import members
from experiments.runs.config import Config
from experiments.system.errors import UserError

BASE = "task: {name: copy, length: 3}\n"


def mistakes(tmp_path, text="", *overrides):
    path = tmp_path / "slip.yaml"
    path.write_text(BASE + text)
    with pytest.raises(UserError) as caught:
        load(Config, path, overrides)
    return caught.value.messages


@pytest.mark.parametrize(
    ("override", "end"),
    [
        ("optimizer.learning_rate=0,001", 'got "0,001"; the decimal sign is a point: 0.001'),
        ("optimizer.learning_rate=1,5e-3", "the decimal sign is a point: 0.0015"),
        ("optimizer.learning_rate=0.001,", "without what stands around it: 0.001"),
        ("optimizer.learning_rate=[0.001]", "got [0.001]; without brackets: 0.001"),
        ("optimizer.learning_rate='0.001'", "numbers are written without quotes: 0.001"),
        ("optimizer.learning_rate=1e\N{MINUS SIGN}3", "it has characters that only look like these: 0.001"),
        ("optimizer.learning_rate=1 e-3", "a number has no spaces: 0.001"),
        ("optimizer.learning_rate=1/1000", "a number is written out: 0.001"),
        ("model.dropout_rate=50%", "a share is written as a number: 0.5"),
        ("seed=3.0", "an integer is written without a point or an exponent: 3"),
        ("training.steps=1e3", "an integer is written without a point or an exponent: 1000"),
        ("training.steps=1,000", "numbers are written without separators: 1000"),
        ("training.steps=10 000", "numbers are written without separators: 10000"),
        ("seed=\N{FULLWIDTH DIGIT THREE}", "it has characters that only look like these: 3"),
        ("model.features=8,16", "a list is written in brackets: [8, 16]"),
        ("model.features=(8,16)", "a list is written in brackets: [8, 16]"),
        ("model.bidirectional=1", "truth is written true or false: true"),
        ("model.bidirectional='no'", "truth is written true or false: false"),
        ("model.input_features=None", "nothing is written null: null"),
        ("optimizer.schedule=Cosine", "in lower case: cosine"),
        ("model.cell=LSTM", 'got "LSTM"; did you mean "lstm"?'),
        ("optimizer=sgd", "did you mean optimizer.name=sgd?"),
        ("model=lstm", "did you mean model.cell=lstm?"),
        ("seed=null", "got null (which an empty value is, too)"),
        # Nothing is suggested that would be refused in its turn.
        ("seed=\N{MINUS SIGN}3", 'got "\N{MINUS SIGN}3"'),
        ("model.dropout_rate=1,5", 'got "1,5"'),
        ("training.steps=fast", 'got "fast"'),
    ],
)
def test_a_value_of_the_wrong_kind(tmp_path, override, end):
    (line,) = mistakes(tmp_path, "", override)
    assert line.endswith(end)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["seed", "=", "3"], "seed = 3: an override is one word, without spaces: seed=3"),
        (["seed=", "3"], "seed= 3: an override is one word, without spaces: seed=3"),
        (["seed", "=3"], "seed =3: an override is one word, without spaces: seed=3"),
        (["training.steps", "500"], "training.steps 500: an override is one word, without spaces: training.steps=500"),
        (["seed:", "3"], "seed: 3: an override is one word, without spaces: seed=3"),
        (["--seed=3"], "--seed=3: settings are written key=value: seed=3"),
        (["seed="], "seed=: no value behind the sign =; for none, write seed=null"),
        (
            ["other.yaml"],
            "other.yaml: a second config; a command takes one, and a file builds on another by base: FILE",
        ),
        (["model.features[0]=3"], "model.features[0]=3: a list is given as a whole: model.features=[8,16]"),
        (
            ["seed=3,model.features=8"],
            "seed=3,model.features=8: two overrides in one word; write seed=3 model.features=8",
        ),
        (
            ["training.steps=010"],
            "training.steps=010: YAML reads 010 as 8, in base 8; write the number without leading 0",
        ),
        (
            ["model.features=???"],
            'model.features: has the value "???", which stands for one that must be given; give it, or leave '
            "model.features out",
        ),
        (["seed=1:30"], "seed=1:30: YAML reads 1:30 as 90, in base 60; write that, or quotes around a text"),
    ],
)
def test_words_that_are_no_override(tmp_path, words, expected):
    assert mistakes(tmp_path, "", *words) == [expected]


def test_an_override_before_the_config(tmp_path):
    with pytest.raises(UserError, match=r"^seed=3: an override, where the config belongs; write a\.yaml seed=3 x=1$"):
        load(Config, "seed=3", ["a.yaml", "x=1"])


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        (
            "optimizer: {learning_rate: 0,001}",
            "2:28",
            "0,001 is two entries of the mapping; the decimal sign is a point: 0.001",
        ),
        (
            "optimizer: {learning_rate: 1,5e-3}",
            "2:28",
            "1,5e-3 is two entries of the mapping; the decimal sign is a point: 1.5e-3, and a list is written "
            "[1, 5e-3]",
        ),
        (
            "model: {features: 8,16}",
            "2:19",
            "8,16 is two entries of the mapping; the decimal sign is a point: 8.16, and a list is written [8, 16]",
        ),
        ("model: {features: 8, 16}", "2:19", "8, 16 is two entries of the mapping; a list is written [8, 16]"),
        ("seed: 010", "2:7", "YAML reads 010 as 8, in base 8; write the number without leading 0"),
        ("seed: 1:30", "2:7", "YAML reads 1:30 as 90, in base 60; write that, or quotes around a text"),
        (
            "model:\n  features: 3\nseed: 1\nmodel: {}",
            "5:1",
            "duplicate key model, which line 2 has already; keep one of the two",
        ),
        ("model:\n\tfeatures: 3", "3:1", "found a tab, where YAML takes spaces"),
        ("seed=3", "2:1", '"seed=3" is no entry: write seed: 3'),
        ("seed:3", "2:1", '"seed:3" is no entry: write seed: 3'),
        ("1: 3", "2:1", "expected the name of a key, got 1"),
        ("on: 3", "2:1", "expected the name of a key, got on"),
    ],
)
def test_what_yaml_reads_otherwise_is_refused_with_its_place(tmp_path, text, place, problem):
    assert mistakes(tmp_path, text) == [f"{tmp_path / 'slip.yaml'}:{place}: {problem}"]


def test_nesting_without_end_is_one_line(tmp_path):
    (line,) = mistakes(tmp_path, "model: " + "[" * 3000 + "]" * 3000)
    # By the parser that yields first, ours or the one of C.
    assert "nested too deeply" in line or "nesting depth" in line


def test_an_empty_value_and_a_date_are_told(tmp_path):
    assert mistakes(tmp_path, "seed:\n")[0].endswith("got null (which an empty value is, too)")
    assert mistakes(tmp_path, "seed: 2020-01-01\n")[0].endswith('got "2020-01-01"')


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "task.path=x",
            "unknown key; task copy has no path, tasks chars, music, pronunciation and sentiment have task.path",
        ),
        (
            "task.window=3",
            "unknown key; task copy has no window, tasks chars and music have task.window; known here: name",
        ),
        (
            "model.cell.forget_bias=1.0",
            "unknown key; cell gru has no forget_bias, cell lstm has model.cell.forget_bias; known",
        ),
        ("steps=3", 'unknown key; did you mean "training.steps"?'),
        ("update_gate=write", 'unknown key; did you mean "model.cell.update_gate"?'),
        ("model.hidden_size=3", 'unknown key; did you mean "features"?'),
        ("lr=0.1", 'unknown key; did you mean "optimizer.learning_rate"?'),
        ("optimizer.learning-rate=0.1", 'unknown key; did you mean "learning_rate"?'),
        ("model/features=3", 'unknown key; did you mean "model.features"?'),
        ("SEED=3", 'unknown key; did you mean "seed"?'),
    ],
)
def test_an_unknown_key_is_told_with_where_it_belongs(tmp_path, override, said):
    (line,) = mistakes(tmp_path, "", override)
    assert line.startswith(f"{override.partition('=')[0]}: {said}")


def test_keys_of_a_file(tmp_path):
    assert mistakes(tmp_path, "optimizer.learning_rate: 0.1") == [
        "optimizer.learning_rate: a key of a file has no dots; write optimizer: {learning_rate: ...}"
    ]
    (line,) = mistakes(tmp_path, "model: {features 3}")
    assert line == 'model.features 3: unknown key; an entry is written with a colon and a space: "features: 3"'


def test_no_suggestion_is_what_was_given(tmp_path):
    """Every key of every task and cell, given to a task and a cell without it."""
    keys = {
        f"task.{key}"
        for model in members(Config.model_fields["task"].annotation).values()
        for key in model.model_fields
    }
    cells = members(Config.model_fields["model"].annotation)["ModelConfig"].model_fields["cell"].annotation
    keys |= {f"model.cell.{key}" for model in members(cells).values() for key in model.model_fields}
    path = tmp_path / "slip.yaml"
    path.write_text(BASE)
    for key in sorted(keys):
        try:
            load(Config, path, [f"{key}=x"])
        except UserError as error:
            for line in error.messages:
                for meant in re.findall(r'did you mean "([^"]*)"', line):
                    assert json.dumps(meant) != json.dumps(key), line


def test_options_that_are_settings(tmp_path, capsys):
    (tmp_path / "a.yaml").write_text(BASE)
    for words, meant in ((["--seed", "3"], "seed=3"), (["--rundir", "x"], "did you mean --run-dir?")):
        with pytest.raises(SystemExit):
            cli.main(["train", str(tmp_path / "a.yaml"), *words])
        assert meant in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "text", "right"),
    [
        (
            "train",
            "task: copy\ncompare: {cells: [gru, rnn]}",
            "a comparison (it has compare); run: python -m experiments compare",
        ),
        ("train", "contenders: [gru_jax]\nshapes: []", "a bench (it has contenders); run: python -m experiments bench"),
        ("compare", "task: copy", "a training run (it has no compare); run: python -m experiments train"),
        ("bench", "task: copy", "a training run (it has task); run: python -m experiments train"),
    ],
)
def test_the_config_of_another_command(tmp_path, capsys, command, text, right):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    assert cli.main([command, str(path)]) == 2
    assert capsys.readouterr().err == f"{path}: the config of {right} {path}\n"
