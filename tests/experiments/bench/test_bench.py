"""The bench from its command line to its files, on problems of a few steps."""

import importlib.util
import json
import os
import signal

import pytest

from experiments import cli
from experiments.bench import results

TINY = """
contenders: ["gru_jax:scan", linen, haiku]
modes: [forward]
shapes: [[4, 2, 3, 5]]
masked: {shapes: [[4, 2, 3, 5]], options: [lengths]}
growth: {fixed: [4, 2, 3, 5], T: [8], mode: training}
rounds: 3
seconds_per_measurement: 1.0e-4
matmul_sizes: [16]
"""


@pytest.fixture(autouse=True, scope="module")
def haiku_is_missing():
    """Wherever it is installed or not."""
    find = importlib.util.find_spec
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: None if name == "haiku" else find(name))
        yield


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """Where ``bench tiny.yaml`` was run to its end, into ``run``."""
    directory = tmp_path_factory.mktemp("bench")
    (directory / "tiny.yaml").write_text(TINY)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        assert cli.main(["bench", "tiny.yaml", "--run-dir", "run"]) == 0
    return directory


@pytest.fixture
def run_directory(directory, monkeypatch):
    monkeypatch.chdir(directory)
    return directory / "run"


def test_a_bench_leaves_a_directory(run_directory):
    names = sorted(path.name for path in run_directory.iterdir() if path.name != ".lock")
    assert names == ["bench.json", "command.txt", "config.yaml", "environment.json", "plots", "table.md"]
    assert sorted(path.name for path in (run_directory / "plots").iterdir()) == ["bench.png", "growth.png"]
    assert (run_directory / "command.txt").read_text() == "python -m experiments bench tiny.yaml --run-dir run\n"
    facts = json.loads((run_directory / "environment.json").read_text())
    assert facts["cpu"]
    assert facts["cores"] >= 1
    assert {"jax", "flax", "dm-haiku", "equinox", "keras", "torch"} <= facts["packages"].keys()
    assert "XLA_FLAGS" in facts["environment"]


def test_everything_that_was_asked_for_is_measured_in_every_round(run_directory):
    measured = results.read(run_directory / "bench.json")
    assert measured.status == "complete"
    assert [group.kind for group in measured.groups] == ["shapes", "masked", "growth"]
    assert list(measured.missing) == ["haiku"]
    assert measured.matmul_rate > 0
    for group in measured.groups:
        assert {one.contender for one in group.measurements} == {"gru_jax:scan", "linen"}
        for one in group.measurements:
            assert one.left_out is None
            assert len(one.rounds) == 3
            assert one.computed == one.option
    assert {one.option for one in measured.groups[1].measurements} == {"lengths"}


def test_the_same_command_again_shows_the_table_and_measures_nothing(run_directory, capsys):
    before = (run_directory / "bench.json").stat().st_mtime_ns
    assert cli.main(["bench", "tiny.yaml", "--run-dir", "run"]) == 0
    out = capsys.readouterr().out
    assert "already complete" in out
    assert "best JAX peer / gru_jax:scan" in out
    assert (run_directory / "bench.json").stat().st_mtime_ns == before


def test_another_config_is_refused(run_directory, capsys):
    assert cli.main(["bench", "tiny.yaml", "--run-dir", "run", "rounds=4"]) == 2
    assert f"rounds: 3 in {os.path.join('run', 'config.yaml')}, 4 now" in capsys.readouterr().err


def test_table_and_plots_are_made_anew_without_measuring(run_directory, capsys):
    text = (run_directory / "table.md").read_text()
    (run_directory / "table.md").unlink()
    assert cli.main(["plot", "run"]) == 0
    drawn = capsys.readouterr().out.splitlines()
    assert drawn == [os.path.join("run", name) for name in ("table.md", "plots/bench.png", "plots/growth.png")]
    assert (run_directory / "table.md").read_text() == text


def test_a_bench_is_no_training_run_to_the_report(run_directory, capsys):
    assert cli.main(["report", "."]) == 2
    assert "only benches" in capsys.readouterr().err


def test_what_was_measured_before_an_interruption_is_kept(run_directory, monkeypatch, capsys):
    """Ctrl-C in the second group: the first is in bench.json, and the same command begins again."""
    from experiments.bench import run

    measure, seen = run.measure, []

    def interrupted_in_the_second(group, *arguments):
        seen.append(group)
        if len(seen) == 2:
            signal.raise_signal(signal.SIGINT)
        measure(group, *arguments)

    monkeypatch.setattr(run, "measure", interrupted_in_the_second)
    command = ["bench", "tiny.yaml", "--run-dir", "interrupted", "contenders=[linen]"]
    assert cli.main(command) == 130
    out = capsys.readouterr().out
    assert "interrupted: these are the groups that were finished" in out
    assert "(4, 2, 3, 5)" in out
    path = run_directory.parent / "interrupted"
    measured = results.read(path / "bench.json")
    assert measured.status == "interrupted"
    assert [group.shape for group in measured.groups] == [(4, 2, 3, 5)]
    assert "interrupted" in (path / "table.md").read_text()

    seen += [None] * 2
    assert cli.main(command) == 0
    assert "an unfinished bench, which begins again" in capsys.readouterr().out
    assert results.read(path / "bench.json").status == "complete"


def test_nobody_there(run_directory, capsys):
    """All contenders missing: an empty bench, that says so."""
    assert cli.main(["bench", "tiny.yaml", "--run-dir", "nobody", "contenders=[haiku]"]) == 0
    assert "haiku is left out: dm-haiku is not installed" in capsys.readouterr().out


def test_pages_that_were_lost_are_written_by_the_same_command(run_directory, capsys):
    """As after a full disk: what was measured stays, and is not measured again."""
    before = (run_directory / "bench.json").read_bytes()
    (run_directory / "plots" / "growth.png").unlink()
    (run_directory / "table.md").unlink()
    assert cli.main(["bench", "tiny.yaml", "--run-dir", "run"]) == 0
    assert "already complete, writing table.md, growth.png again" in capsys.readouterr().out
    assert (run_directory / "plots" / "growth.png").stat().st_size > 5000
    assert (run_directory / "table.md").is_file()
    assert (run_directory / "bench.json").read_bytes() == before
