"""Whatever directory a command is given, it says what that is and what to do; nothing whole is to be deleted."""

import json
import shutil

import pytest

from experiments import cli, pooled_folds
from experiments.config.directory_kinds import kind_of
from experiments.runs.directory import RunDirectory
from experiments.system.errors import UserError
from experiments.system.whole_files import write_json
from tests.experiments.results.written_runs import write_run

READERS = {"eval": [], "plot": [], "export": ["--to", "safetensors"]}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The working directory, with a config that suits the runs of `write_run`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "copying.yaml").write_text("task: {name: copy}\ntraining: {steps: 20}\n")
    return tmp_path


def told(capsys, *arguments):
    assert cli.main([str(word) for word in arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "delete" not in line
    return line


def make(kind, path):
    """One of each; returns what it is to be called."""
    if kind == "comparison":
        write_run(path / "gru-width" / "0", test=0.5)
        (path / "config.yaml").write_text("task: {name: copy}\ncompare: {cells: []}\n")
        return f"a comparison, of many models; name one of its runs: {path / 'gru-width' / '0'}"
    if kind == "comparison not begun":
        path.mkdir()
        (path / "config.yaml").write_text("compare: {}\n")
        return "a comparison, of which no run has begun; the command in"
    if kind == "bench":
        path.mkdir()
        (path / "config.yaml").write_text("contenders: [gru_jax]\n")
        return "a bench"
    if kind == "runs":
        write_run(path / "one", test=0.5)
        return f"one of runs; name one of them: {path / 'one'}"
    if kind == "empty":
        path.mkdir()
        return "it is empty; train CONFIG --run-dir"
    if kind == "file":
        path.touch()
        return "a file, not a run directory"
    if kind == "other":
        path.mkdir()
        (path / "thesis.tex").touch()
        return "not a run directory: it has no config.yaml"
    if kind == "another program's":
        path.mkdir()
        (path / "config.yaml").write_text("defaults: [base]\n")
        return "its config.yaml has no task"
    if kind == "lost its config":
        write_run(path, test=0.5).config.unlink()
        return "it has no config.yaml, which it seems to have lost; put it back"
    assert kind == "absent"
    return "no such run directory"


KINDS = [
    "comparison",
    "comparison not begun",
    "bench",
    "runs",
    "empty",
    "file",
    "other",
    "another program's",
    "lost its config",
    "absent",
]


@pytest.mark.parametrize("command", READERS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_training_run(place, capsys, kind, command):
    expected = make(kind, place / "it")
    if command == "plot" and kind in ("comparison", "comparison not begun", "bench"):
        expected = "not finished; the command in" if kind != "bench" else "a bench that measured nothing yet"
    assert expected.removeprefix(f"{place}/") in told(capsys, command, place / "it", *READERS[command])


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        (command, kind)
        for command in ("train", "compare")
        for kind in KINDS
        # Where one may be made, or which is a comparison's own place.
        if kind not in ("empty", "absent") and not (command == "compare" and kind.startswith("comparison"))
    ],
)
def test_no_new_run_in_what_is_something_else(place, capsys, kind, command):
    make(kind, place / "it")
    before = sorted(place.rglob("*"))
    more = ["compare.cells=[gru,rnn]"] if command == "compare" else []
    line = told(capsys, command, "copying.yaml", *more, "--run-dir", "it")
    assert line.startswith("it: ")
    assert "choose another directory with --run-dir" in line
    assert sorted(place.rglob("*")) == before


def test_the_parts_of_a_run(place, capsys):
    run = write_run(place / "run", test=0.5)
    run.checkpoints.mkdir()
    assert told(capsys, "eval", "run/checkpoints") == "run/checkpoints: a part of the run run; name that"
    assert told(capsys, "eval", "run/config.yaml") == "run/config.yaml: a file of the run run; name that"
    assert told(capsys, "report", "run/metrics.jsonl") == "run/metrics.jsonl: a file of the run run; name that"
    assert told(capsys, "train", "run").endswith(
        "to go on with it: python -m experiments train run/config.yaml --run-dir run"
    )
    assert told(capsys, "eval", "rum") == "rum: no such run directory; did you mean run?"


def test_a_run_whose_data_is_missing_or_whose_task_is_gone(place, capsys):
    run = write_run(place / "run", task="{name: chars, path: gone.txt}", test=0.5)
    for command, more in READERS.items():
        if command != "plot":
            line = told(capsys, command, "run", *more)
            assert line.startswith("run: its data is missing: task.path: expected a text file, found none at ")
    run.config.write_text(run.config.read_text().replace("name: chars", "name: protein"))
    for command, more in READERS.items():
        assert told(capsys, command, "run", *more).startswith("run: its task protein is none of this version")
    assert told(capsys, "train", "copying.yaml", "--run-dir", "run").startswith("run: its task protein is none of this")


def test_a_package_that_is_missing_is_named_with_its_line(place, capsys, monkeypatch):
    write_run(place / "run", task="{name: digits}", test=0.5)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    line = told(capsys, "eval", "run")
    assert line.startswith("run: its data is missing: digits ")
    assert "which is not installed; run: pip install" in line


def test_report_leaves_out_what_it_cannot_read_and_says_so(place, capsys):
    write_run(place / "runs" / "a", test=0.5)
    newer = write_run(place / "runs" / "b", test=0.75)
    newer.config.write_text(newer.config.read_text() + "future: 1\n")
    assert cli.main(["report", "runs"]) == 0
    captured = capsys.readouterr()
    assert captured.err.startswith(
        "left out: runs/b: of another version, or changed since: config.yaml has future: unkn"
    )
    assert "0.5" in captured.out
    shutil.rmtree("runs/a")
    assert told(capsys, "report", "runs").startswith("runs/b: of another version")


def test_report_and_pooled_folds_on_what_holds_no_run(place, capsys):
    make("bench", place / "bench")
    make("other", place / "other")
    make("lost its config", place / "lost")
    for path, said in {
        "bench": "bench: a bench, which keeps no model",
        "other": "other: no run in or below it",
        "lost": "lost: not a run directory: it has no config.yaml, which it seems to have lost",
        "nowhere": "nowhere: no such directory",
        "copying.yaml": "copying.yaml: a file, not a run directory",
    }.items():
        assert told(capsys, "report", path).startswith(said)
        assert pooled_folds.main([path]) == 2
        assert capsys.readouterr().err.startswith(said)


def test_files_that_cannot_be_read_are_not_called_damaged(tmp_path, monkeypatch):
    run = write_run(tmp_path / "run", test=0.5)
    read_text = type(run.summary).read_text

    def refused(path, *args, **kwargs):
        if path.name == "summary.json":
            raise PermissionError(13, "Permission denied", str(path))
        return read_text(path, *args, **kwargs)

    monkeypatch.setattr(type(run.summary), "read_text", refused)
    with pytest.raises(UserError) as caught:
        run.read_summary()
    assert caught.value.messages == [f"{run.summary}: cannot be read: Permission denied; mend that"]


def test_kinds_are_told_by_what_is_there_though_the_config_be_damaged(tmp_path):
    assert kind_of(tmp_path) is None
    run = write_run(tmp_path / "run", test=0.5)
    assert kind_of(run.path) == "run"
    run.config.write_text("task: [")
    assert kind_of(run.path) == "run"
    run.config.write_bytes(b"\xff")
    assert kind_of(run.path) == "run"
    (run.path / "comparison.json").write_text(json.dumps({}))
    assert kind_of(run.path) == "comparison"


def test_a_diverged_run_may_be_repeated_elsewhere(tmp_path, capsys):
    run = RunDirectory(write_run(tmp_path / "run").path)
    write_json(run.summary, {"status": "diverged", "diverged_at_step": 7})
    line = told(capsys, "train", run.config, "--run-dir", run)
    assert "diverged at step 7" in line
    assert line.endswith("another --run-dir repeats it")
