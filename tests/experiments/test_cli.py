import errno
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from matplotlib.figure import Figure
from rich.console import Console

from experiments import cli
from experiments.config import configs
from experiments.runs import metrics_log
from experiments.runs.config import Config
from experiments.runs.directory import RunDirectory
from experiments.training.train import train
from tests.places import CHECKOUT

TINY = """
task: {name: copy, length: 2, symbols: 3, delay: 1, validation_rows: 20, test_rows: 30}
model: {features: 6}
training: {steps: 60, batch_size: 4, log_every: 5, eval_every: 20}
checkpoint: {every: 10}
"""


# Every mistake in one process, because the start of one takes seconds; jax must not have been imported in the end.
BAD_INPUT = """
import importlib.util, json, os, sys
from experiments import cli
from experiments.config import configs
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name == "sklearn" else find_spec(name)
codes = [cli.main(arguments) for arguments in json.loads(sys.argv[1])]
print(json.dumps({"codes": codes, "jax": "jax" in sys.modules, "files": sorted(os.listdir())}))
"""


def start(script, *arguments, directory):
    command = [sys.executable, "-W", "error", "-c", script, *arguments]
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=directory, env=environment, **pipes)


def test_bad_input_is_told_in_a_line_each_before_jax_is_imported_and_nothing_is_written(tmp_path):
    files = {"tiny.yaml": TINY, "broken.yaml": "task: [", "digits.yaml": "task: {name: digits}"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "not_ours").mkdir()
    (tmp_path / "not_ours" / "file").touch()
    cases = {
        "no such file": ["train", "nowhere.yaml"],
        "broken.yaml:": ["train", "broken.yaml"],
        "unknown key": ["train", "tiny.yaml", "model.featurs=3"],
        "expected an integer > 0 and < 2147483648, got -1": [
            "train",
            "tiny.yaml",
            "--run-dir",
            "run",
            "training.steps=-1",
        ],
        "expected a number": ["config", "tiny.yaml", "optimizer.learning_rate=fast"],
        "expected one of activity": ["train", "tiny.yaml", "task.name=speech"],
        "pip install": ["train", "digits.yaml"],
        "has no config.yaml": ["train", "tiny.yaml", "--run-dir", "not_ours"],
        "no such run directory": ["eval", "run"],
        "not a run directory": ["plot", "not_ours"],
        "no run in or below it": ["report", "not_ours"],
        "expected one of onnx, safetensors, stablehlo, got tflite": ["export", "run", "--to", "tflite"],
    }
    process = start(BAD_INPUT, json.dumps(list(cases.values())), directory=tmp_path)
    out, errors = process.communicate(timeout=120)
    result = json.loads(out)
    assert result["codes"] == [2] * len(cases)
    assert not result["jax"]
    assert result["files"] == sorted([*files, "not_ours"])
    lines = errors.splitlines()
    assert len(lines) == len(cases)
    for expected, line in zip(cases, lines, strict=True):
        assert expected in line


def test_arguments_that_are_none_of_ours(capsys):
    for arguments in ([], ["trian"], ["train"], ["train", "x.yaml", "--rundir", "y"], ["eval", "run", "seed=3"]):
        with pytest.raises(SystemExit) as caught:
            cli.main(arguments)
        assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The directory in which ``train tiny.yaml`` was run to its end."""
    directory = tmp_path_factory.mktemp("trained")
    (directory / "tiny.yaml").write_text(TINY)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        assert cli.main(["train", "tiny.yaml"]) == 0
    return directory


@pytest.fixture
def run_directory(trained, monkeypatch):
    """The run directory of ``trained``, relative to the working directory."""
    monkeypatch.chdir(trained)
    (directory,) = Path("runs/tiny").iterdir()
    return directory


def modification_times(directory):
    return {path: path.stat().st_mtime_ns for path in directory.rglob("*")}


def test_train_leaves_a_run_directory(run_directory):
    expected = [
        "checkpoints",
        "command.txt",
        "config.yaml",
        "environment.json",
        "metrics.jsonl",
        "plots",
        "summary.json",
    ]
    assert sorted(path.name for path in run_directory.iterdir() if path.name != ".lock") == [*expected, "tensorboard"]
    assert (run_directory / "command.txt").read_text() == "python -m experiments train tiny.yaml\n"
    assert list((run_directory / "tensorboard").iterdir())
    assert json.loads((run_directory / "summary.json").read_text())["parameters_from"] == "final"


def test_train_again_says_that_it_is_complete_and_touches_nothing(run_directory, capsys):
    before = modification_times(run_directory)
    assert cli.main(["train", "tiny.yaml"]) == 0
    out = capsys.readouterr().out
    assert "already complete" in out
    assert "accuracy" in out
    assert modification_times(run_directory) == before


def full_disk(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def no_font(*_, **__):
    raise ValueError("no font\nand more of it")


@pytest.mark.parametrize(("name", "fail"), [("fsync", full_disk), ("savefig", no_font)])
def test_plots_that_failed_are_one_line_and_drawn_by_the_same_command(
    run_directory, tmp_path, capsys, monkeypatch, name, fail
):
    copy = tmp_path / "run"
    shutil.copytree(run_directory, copy)
    (copy / "plots" / "optimisation.png").unlink()
    curve = (copy / "plots" / "learning_curve.png").read_bytes()
    command = ["train", "tiny.yaml", "--run-dir", str(copy)]
    with monkeypatch.context() as patch:
        patch.setattr(Figure if name == "savefig" else os, name, fail)
        assert cli.main(command) == 1
    told = capsys.readouterr()
    (line,) = told.err.splitlines()
    assert str(copy) in line
    assert "give the same command again" in line
    assert "accuracy" in told.out
    assert [path.name for path in (copy / "plots").iterdir()] == ["learning_curve.png"]
    assert (copy / "plots" / "learning_curve.png").read_bytes() == curve
    assert cli.main(command) == 0
    assert "already complete, drawing optimisation.png again" in capsys.readouterr().out
    assert (copy / "plots" / "optimisation.png").stat().st_size > 5000
    assert cli.main(command) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_a_run_whose_end_failed_is_ended_by_the_same_command(run_directory, tmp_path, capsys, monkeypatch):
    copy = tmp_path / "run"
    command = ["train", "tiny.yaml", "--run-dir", str(copy)]
    with monkeypatch.context() as patch:
        patch.setattr("experiments.training.evaluation.Evaluator.with_confusion", full_disk)
        assert cli.main(command) == 1
    assert not (copy / "summary.json").exists()
    capsys.readouterr()
    assert cli.main(command) == 0
    assert "resuming after step 60" in capsys.readouterr().out
    assert (copy / "metrics.jsonl").read_bytes() == (run_directory / "metrics.jsonl").read_bytes()
    assert sorted(path.name for path in (copy / "plots").iterdir()) == ["learning_curve.png", "optimisation.png"]


def test_report_writes_no_file_in_the_place_of_a_device_and_refuses_what_cannot_be(run_directory, tmp_path, capsys):
    for option in ("--page", "--plot"):
        assert cli.main(["report", "runs", option, "/dev/null"]) == 0
        assert Path("/dev/null").is_char_device()
        capsys.readouterr()
        assert cli.main(["report", "runs", option, str(tmp_path / "nowhere" / "file")]) == 2
        told = capsys.readouterr()
        # Before a table was printed.
        assert (told.out, len(told.err.splitlines())) == ("", 1)
    assert cli.main(["export", str(run_directory), "--to", "safetensors", "--output", "/dev/null"]) == 2
    assert "a device or a pipe" in capsys.readouterr().err


def test_eval_prints_the_metrics_of_the_summary_and_writes_nothing(run_directory, capsys):
    before = modification_times(run_directory)
    summary = json.loads((run_directory / "summary.json").read_text())
    for split in ("test", "validation"):
        assert cli.main(["eval", str(run_directory), "--split", split]) == 0
        out = capsys.readouterr().out
        assert "final parameters at step 60 of 60" in out
        assert f"{summary[split]['accuracy']:.4g}" in out
        assert f"{summary[split]['nll_per_step']:.4g}" in out
    assert modification_times(run_directory) == before


def test_plot_names_what_it_drew(run_directory, capsys):
    assert cli.main(["plot", str(run_directory)]) == 0
    drawn = capsys.readouterr().out.splitlines()
    assert drawn == [str(run_directory / "plots" / name) for name in ("learning_curve.png", "optimisation.png")]


def test_report_on_a_directory_of_runs(run_directory, capsys, tmp_path):
    assert cli.main(["report", "runs", "--markdown"]) == 0
    assert "| tiny | - | 1 |" in capsys.readouterr().out
    assert cli.main(["report", "runs", "--plot", str(tmp_path / "comparison.png")]) == 0
    assert (tmp_path / "comparison.png").stat().st_size > 5000
    assert "floor of copy" in capsys.readouterr().out


def test_config_prints_yaml_that_repeats_it_and_where_it_would_run(run_directory, capsys):
    assert cli.main(["config", "tiny.yaml"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0] == f"# {run_directory}"
    Path("printed.yaml").write_text(out)
    assert configs.load(Config, "printed.yaml") == configs.load(Config, run_directory / "config.yaml")
    # Every key is printed, those too that config.yaml leaves out.
    assert yaml.safe_load(out)["model"]["backend"] == "auto"


def test_overrides_may_stand_behind_options(run_directory, capsys):
    arguments = ["train", "tiny.yaml", "seed=0", "--run-dir", str(run_directory), "training.steps=61"]
    assert cli.main(arguments) == 2
    assert "training.steps: 60 in" in capsys.readouterr().err


def test_lost_checkpoints_are_told_and_results_kept(run_directory, tmp_path, capsys):
    copy = tmp_path / "run"
    shutil.copytree(run_directory, copy)
    shutil.rmtree(copy / "checkpoints")
    (copy / "summary.json").unlink()
    rows = (copy / "metrics.jsonl").read_bytes()
    assert cli.main(["train", "tiny.yaml", "--run-dir", str(copy)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "checkpoints: empty, though metrics.jsonl reaches step 60" in line
    assert "to begin again at step 0" in line
    assert (copy / "metrics.jsonl").read_bytes() == rows


def test_a_run_that_another_process_completed_meanwhile_is_left_as_it_is(run_directory):
    """Between the first look at the directory and the lock, others may have been at work."""
    before = {path: path.stat().st_mtime_ns for path in run_directory.rglob("*") if path.is_file()}
    directory = RunDirectory(run_directory)
    outcome = train(directory.read_config(), "tiny", directory, "command", Console(quiet=True))
    assert (outcome.status, outcome.exit_code) == ("complete", 0)
    assert {path: path.stat().st_mtime_ns for path in before if path.name != ".lock"} == {
        path: time_ for path, time_ in before.items() if path.name != ".lock"
    }


def test_a_path_that_the_system_refuses_is_one_line(capsys, run_directory):
    assert cli.main(["train", "tiny.yaml", "--run-dir", "x" * 300]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "File name too long" in line


def test_a_run_that_diverges_exits_with_1_and_advice(run_directory, tmp_path, capsys):
    arguments = ["train", "tiny.yaml", "--run-dir", str(tmp_path / "run"), "optimizer.name=sgd"]
    assert cli.main([*arguments, "optimizer.learning_rate=1e30"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "diverged at step 1: the update made parameters too large for float32" in line
    assert "optimizer.learning_rate" in line


SLOW_TRAINING = """
import sys, time
from experiments import cli
from experiments.config import configs
from experiments.training.experiment import Experiment
train_batch = Experiment.train_batch
def slowly(self, step):
    time.sleep(0.02)
    return train_batch(self, step)
Experiment.train_batch = slowly
cli.main(["train", "tiny.yaml", "--run-dir", sys.argv[1]])
"""


def test_a_run_killed_by_sigkill_resumes_to_the_same_bytes(run_directory, tmp_path, capsys):
    process = start(SLOW_TRAINING, str(tmp_path / "run"), directory=Path.cwd())
    log = tmp_path / "run" / "metrics.jsonl"
    # Somewhere in the second half: when exactly is left to the scheduler.
    while process.poll() is None and not (log.exists() and len(metrics_log.read(log)) >= 7):
        time.sleep(0.003)
    process.kill()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == -9, errors
    assert not (tmp_path / "run" / "summary.json").exists()
    assert cli.main(["train", "tiny.yaml", "--run-dir", str(tmp_path / "run")]) == 0
    assert "resuming after step" in capsys.readouterr().out
    assert log.read_bytes() == (run_directory / "metrics.jsonl").read_bytes()
