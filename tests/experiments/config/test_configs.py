import pytest

from experiments.config import configs
from experiments.config.configs import fingerprint, flatten, load, to_yaml
from experiments.runs.config import Config
from experiments.system.errors import UserError

SMALL = "task: {name: copy, length: 3}\nmodel: {cell: {name: gru, reset_after: false}, features: 64}\n"


def write(directory, **files):
    for name, text in files.items():
        (directory / f"{name}.yaml").write_text(text)
    return directory / f"{next(iter(files))}.yaml"


def mistakes(path, *overrides):
    with pytest.raises(UserError) as caught:
        load(Config, path, overrides)
    return caught.value.messages


def test_command_line_beats_file_beats_base(tmp_path):
    path = write(
        tmp_path,
        child="base: middle.yaml\nmodel: {features: 32}\n",
        middle="base: lowest.yaml\nseed: 1\n",
        lowest="task: {name: copy, length: 3}\nseed: 5\nmodel: {features: 64, num_layers: 2}\n",
    )
    config = load(Config, path, ["model.num_layers=3", "training.steps=7"])
    assert (config.task.length, config.seed, config.training.steps) == (3, 1, 7)
    assert config.model.widths == (32, 32, 32)


def test_base_is_relative_to_the_file_that_names_it(tmp_path, monkeypatch):
    (tmp_path / "inner").mkdir()
    write(tmp_path, base=SMALL)
    path = write(tmp_path / "inner", child="base: ../base.yaml\n")
    monkeypatch.chdir("/")
    assert load(Config, path).task.length == 3


@pytest.mark.parametrize(
    ("overrides", "cell"),
    [
        (["model.cell=lstm"], {"name": "lstm", "forget_bias": 0.0, "chrono_span": None}),
        (["model.cell.name=rnn"], {"name": "rnn"}),
        (["model.cell.update_gate=write"], {"name": "gru", "reset_after": False, "update_gate": "write"}),
        (["model.cell=gru"], {"name": "gru", "reset_after": False, "update_gate": "keep"}),
    ],
)
def test_another_cell_replaces_the_block_and_the_same_cell_keeps_its_options(tmp_path, overrides, cell):
    dumped = load(Config, write(tmp_path, small=SMALL), overrides).model.cell.model_dump()
    assert {key: dumped[key] for key in cell} == cell


def test_another_task_does_not_inherit_options_whatever_the_order_of_overrides(tmp_path):
    path = write(tmp_path, small=SMALL)
    for overrides in (["task.name=adding", "task.length=9"], ["task.length=9", "task.name=adding"]):
        task = load(Config, path, overrides).task
        assert (task.name, task.length) == ("adding", 9)


def test_resolved_yaml_loads_to_the_same_config(tmp_path):
    config = load(Config, write(tmp_path, small=SMALL), ["optimizer.learning_rate=1e-5", "model.features=[8,16]"])
    (tmp_path / "resolved.yaml").write_text(to_yaml(config))
    again = load(Config, tmp_path / "resolved.yaml")
    assert again == config
    assert fingerprint(again) == fingerprint(config)
    assert again.optimizer.learning_rate == 1e-5
    assert again.model.widths == (8, 16)


def test_fingerprint_tells_configs_apart(tmp_path):
    path = write(tmp_path, small=SMALL)
    one, two, wide = load(Config, path), load(Config, path, ["seed=1"]), load(Config, path, ["model.features=65"])
    assert len({fingerprint(config) for config in (one, two, wide)}) == 3


def test_spelling_out_a_default_is_the_same_config(tmp_path):
    path = write(tmp_path, small=SMALL)
    assert fingerprint(load(Config, path)) == fingerprint(
        load(Config, path, ["optimizer.name=adam", "optimizer.learning_rate=0.001"])
    )


def test_flatten():
    assert flatten({"a": {"b": 1, "c": [2]}, "d": None}) == {"a.b": 1, "a.c": [2], "d": None}


def test_configs_are_immutable(tmp_path):
    config = load(Config, write(tmp_path, small=SMALL))
    with pytest.raises(ValueError, match="frozen"):
        config.model.features = 3


@pytest.mark.parametrize(
    ("override", "start"),
    [
        (
            "model.features=-3",
            "model.features: expected an integer > 0 and <= 65536 (or a list of them, one width a layer), got -3",
        ),
        (
            "model.features=[8,0]",
            "model.features: expected an integer > 0 and <= 65536 (or a list of them, one width a layer), got [8",
        ),
        ("model.featurs=3", 'model.featurs: unknown key; did you mean "features"? known here: cell, features'),
        ("log_every=3", 'log_every: unknown key; did you mean "training.log_every"? known here: seed, task'),
        ('training.steps="3"', 'training.steps: expected an integer > 0 and < 2147483648, got "3"'),
        ("training.steps=true", "training.steps: expected an integer > 0 and < 2147483648, got true"),
        ("training.steps=2.0", "training.steps: expected an integer > 0 and < 2147483648, got 2.0"),
        ("training.steps=0", "training.steps: expected an integer > 0 and < 2147483648, got 0"),
        ("model.dropout_rate=1", "model.dropout_rate: expected a number >= 0 and < 1, got 1"),
        ("model.bidirectional=1", "model.bidirectional: expected true or false, got 1"),
        ("model.readout=last", "model.readout: task copy asks for an output at every step: expected every, got last"),
        ("training.batch_size=99999999999", "training.batch_size: expected an integer > 0 and <= 1048576, got 99999"),
        ("model.features=null", "model.features: expected an integer > 0 and <= 65536 (or a list of them"),
        ("model.readout=first", 'model.readout: expected one of last, mean, attention, every or null, got "first"'),
        (
            "model.cell=grru",
            'model.cell.name: expected one of conv_gru, gru, gru_d, lstm, min_gru, rnn, got "grru"; did '
            'you mean "gru"?',
        ),
        (
            "model.cell=[1]",
            "model.cell: expected a mapping whose name is one of conv_gru, gru, gru_d, lstm, min_gru, rnn, got [1]",
        ),
        (
            "model.cell.update_gat=keep",
            'model.cell.update_gat: unknown key; did you mean "update_gate"? known here: name',
        ),
        ("model.cell.chrono_span=2", "model.cell.chrono_span: expected a number > 2 or null, got 2"),
        ("task.name=speech", "task.name: expected one of activity, adding, chars, copy, digits, "),
        ("task.length=many", 'task.length: expected an integer > 0, got "many"'),
        ("task=null", "task: expected a mapping whose name is one of activity, adding, chars, copy, digits, "),
        ("optimizer.learning_rate=inf", 'optimizer.learning_rate: expected a number > 0, got "inf"'),
        (
            "optimizer.weight_decay=0.1",
            "optimizer.weight_decay: only adamw decays weights; set optimizer.name=adamw",
        ),
        (
            "optimizer.momentum=0.9",
            "optimizer.momentum: only sgd takes a momentum; set optimizer.name=sgd",
        ),
        ("optimizer.warmup_steps=1000", "optimizer.warmup_steps: expected less than training.steps (1000), got 1000"),
        ("checkpoint=3", "checkpoint: expected a mapping, got 3"),
        ("seed=${missing}", "seed: Interpolation key 'missing' not found"),
        ("seed=???", 'seed: has the value "???", which stands for one that must be given'),
        ("seed", "seed: expected an override of the form key.path=value, e.g. training.steps=500"),
        ("=3", "=3: expected an override of the form key.path=value, e.g. training.steps=500"),
        ("base=x.yaml", "base=x.yaml: base belongs into a config file, not on the command line"),
    ],
)
def test_one_line_for_a_mistake(tmp_path, override, start):
    (line,) = mistakes(write(tmp_path, small=SMALL), override)
    assert line.startswith(start)
    assert "\n" not in line


def test_all_mistakes_are_told_at_once(tmp_path):
    lines = mistakes(write(tmp_path, small=SMALL), "seed=-1", "model.num_layers=0", "optimizer.name=adm", "nope=1")
    assert [line.partition(":")[0] for line in lines] == ["seed", "model.num_layers", "optimizer.name", "nope"]


def test_a_combination_is_refused_where_it_stands(tmp_path):
    path = write(tmp_path, small=SMALL)
    (line,) = mistakes(path, "model.cell.chrono_span=10", "model.cell.update_bias=1.0")
    assert line.startswith("model.cell.chrono_span: chrono initialisation sets the bias that update_bias sets")
    (line,) = mistakes(path, "model.features=[8,8]", "model.num_layers=3")
    assert line.startswith("model.num_layers: model.features lists 2 widths")


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        ("task: [1", ":2:1: ", "expected ',' or ']'"),
        ("task:\n  name: copy\n   x: 2\n", ":3:5: ", "mapping values are not allowed"),
        ("seed: 1\nseed: 2\n", ":2:1: ", "duplicate key"),
        ("a:\n\tb: 1\n", ":2:1: ", "found"),
        ("- 1\n", ": ", "expected a mapping of config keys at the top, got a list"),
        ("base: 3\n", ": base: ", "expected the path of a config file"),
        ("base: nowhere.yaml\n", ": base: ", "no such file"),
        ("base: ${elsewhere}\n", ": base: ", "no such file"),
    ],
)
def test_broken_files_are_told_with_their_place(tmp_path, text, place, problem):
    path = write(tmp_path, broken=text)
    (line,) = mistakes(path)
    assert line.startswith(f"{path}{place}")
    assert problem in line
    assert "\n" not in line


def test_files_that_are_no_text_or_not_there(tmp_path):
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    assert "not a YAML text file" in mistakes(tmp_path / "binary.yaml")[0]
    assert mistakes(tmp_path) == [f"{tmp_path}: a directory, not a config file"]
    assert mistakes(tmp_path / "binry.yaml") == [
        f"{tmp_path / 'binry.yaml'}: no such file; did you mean {tmp_path / 'binary.yaml'}?"
    ]
    (tmp_path / "empty.yaml").touch()
    assert mistakes(tmp_path / "empty.yaml")[0].startswith("task: missing; expected a mapping whose name is one of")


def test_a_cycle_of_bases(tmp_path):
    path = write(tmp_path, a="base: b.yaml", b="base: a.yaml")
    (line,) = mistakes(path)
    assert line.startswith(f"{tmp_path / 'b.yaml'}: base: a cycle: ")


@pytest.mark.parametrize("name", ["adding", "chars", "copy", "digits", "quickstart"])
def test_the_configs_of_the_repository_are_valid(name, request):
    path = request.config.rootpath / "configs" / f"{name}.yaml"
    assert configs.check(Config, load(Config, path).model_dump()) == load(Config, path)


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("task: {name: chars}\nmodel: {bidirectional: true}", "model.bidirectional: task chars predicts its own later"),
        ("task: {name: adding}\nmodel: {readout: every}", "model.readout: task adding asks for one output a sequence"),
    ],
)
def test_a_model_that_does_not_suit_its_task(tmp_path, text, start):
    (line,) = mistakes(write(tmp_path, unsuited=text))
    assert line.startswith(start)


def test_a_key_that_is_also_the_name_of_a_task_is_found(tmp_path):
    path = tmp_path / "video.yaml"
    path.write_text("task: {name: video, digits: 4}\nmodel: {cell: conv_gru}\n")
    with pytest.raises(UserError, match=r"task\.digits: expected an integer >= 1 and <= 3, got 4"):
        load(Config, path)


def test_the_best_is_not_chosen_by_rows_that_are_trained_on(tmp_path):
    path = tmp_path / "activity.yaml"
    path.write_text("task: {name: activity, train_on_validation: true}\ntraining: {keep_best: true}\n")
    with pytest.raises(UserError, match=r"training\.keep_best: with task\.train_on_validation"):
        load(Config, path)
