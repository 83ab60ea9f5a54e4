import subprocess
import sys

import pytest

from experiments.config import configs
from experiments.config.stored_configs import default_path
from experiments.runs.config import Config
from experiments.runs.directory import RunDirectory, find_runs
from experiments.system.errors import UserError
from experiments.system.whole_files import write_json, write_whole

CONFIG = configs.check(Config, {"task": {"name": "copy"}})


@pytest.fixture
def directory(tmp_path):
    """A run that was started."""
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    run.begin(CONFIG, "train it")
    return run


def refusal(directory, config=CONFIG):
    before = sorted(directory.path.rglob("*")) if directory.path.is_dir() else None
    with pytest.raises(UserError) as caught:
        directory.inspect(config)
    assert (sorted(directory.path.rglob("*")) if directory.path.is_dir() else None) == before
    return caught.value.messages


def test_a_directory_that_is_absent_or_empty_is_new_and_stays_so(tmp_path):
    assert RunDirectory(tmp_path / "absent").inspect(CONFIG) == "new"
    assert not (tmp_path / "absent").exists()
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".lock").touch()
    assert RunDirectory(tmp_path / "empty").inspect(CONFIG) == "new"


def test_a_started_run_is_unfinished_and_keeps_its_first_files(directory):
    assert directory.inspect(CONFIG) == "unfinished"
    assert directory.read_config() == CONFIG
    directory.begin(CONFIG, "another command")
    assert directory.command.read_text() == "train it\n"


@pytest.mark.parametrize(("status", "state"), [("complete", "complete"), ("interrupted", "unfinished")])
def test_the_summary_says_how_it_ended(directory, status, state):
    write_json(directory.summary, {"status": status, "test": {}, "seconds": {}, "steps": 1})
    assert directory.inspect(CONFIG) == state


def test_a_diverged_run_is_not_repeated(directory):
    write_json(directory.summary, {"status": "diverged", "diverged_at_step": 37})
    (line,) = refusal(directory)
    assert "diverged at step 37" in line
    assert "smaller optimizer.learning_rate" in line


def test_a_summary_without_its_results_is_damaged(directory):
    write_json(directory.summary, {"status": "complete"})
    (line,) = refusal(directory)
    assert "summary.json: damaged" in line
    assert "delete it" in line


@pytest.mark.parametrize(
    ("name", "kind"), [("checkpoints", "directory"), ("plots", "directory"), ("sample.txt", "file")]
)
def test_an_entry_of_the_wrong_kind_is_refused(directory, name, kind):
    path = directory.path / name
    path.touch() if kind == "directory" else path.mkdir()
    assert refusal(directory) == [
        f"{path}: expected a {kind}; move it away, or choose another directory with --run-dir"
    ]


def test_other_data_is_refused(directory):
    directory.refuse_other_data({"sha256": "anything"})
    write_json(directory.environment, {"data": {"sha256": "0123456789abcdef"}})
    directory.refuse_other_data({"sha256": "0123456789abcdef"})
    with pytest.raises(UserError, match=r"other data \(sha256 0123456789\.\.\. then, fedcba9876\.\.\. now\)"):
        directory.refuse_other_data({"sha256": "fedcba9876543210"})


def test_a_run_with_a_damaged_config_is_found_and_named(directory):
    directory.config.write_text("task: {name: co")
    (found,) = find_runs([directory.path.parent])
    with pytest.raises(UserError, match=r"config\.yaml: damaged \(.*restore it: config in place of train"):
        found.read_config()


def test_files_that_are_not_a_run_are_left_alone(tmp_path):
    (tmp_path / "thesis.tex").touch()
    (line,) = refusal(RunDirectory(tmp_path))
    assert "has no config.yaml" in line
    assert "--run-dir" in line
    assert "thesis.tex" in line


def test_a_file_in_the_place_of_a_directory(tmp_path):
    (tmp_path / "file").touch()
    assert refusal(RunDirectory(tmp_path / "file")) == [
        f"{tmp_path / 'file'}: is a file; choose another directory with --run-dir"
    ]


def test_another_config_is_refused_field_by_field(directory):
    changed = configs.check(Config, {"task": {"name": "copy"}, "model": {"features": 3, "cell": "rnn"}})
    lines = refusal(directory, changed)
    assert lines[0] == f"{directory}: holds a run of another config; choose another directory with --run-dir"
    assert f"model.features: 128 in {directory.config}, 3 now" in lines
    assert f'model.cell.name: "gru" in {directory.config}, "rnn" now' in lines
    assert f"model.cell.reset_after: true in {directory.config}, null now" in lines


@pytest.mark.parametrize("text", ["", "task: [", "- 1", "task: \x00"])
def test_a_damaged_config_is_named_and_nothing_is_to_be_deleted(directory, text):
    directory.config.write_text(text)
    (line,) = refusal(directory)
    assert line.startswith(f"{directory.config}: damaged (")
    assert "restore it" in line
    assert "delete" not in line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("task: {name: copy}\nfuture_key: 3\n", "config.yaml has future_key: unknown key"),
        ("task: {name: copy}\nmodel: {cell: {name: mamba}}\n", "config.yaml has model.cell.name: expected one of"),
        ("task: {name: protein}\n", "its task protein is none of this version, whose tasks are activity, adding"),
        ("task: protein\n", "its task protein is none of this version"),
    ],
)
def test_a_run_of_another_version_is_not_called_damaged(directory, text, said):
    directory.config.write_text(text)
    write_json(directory.environment, {"packages": {"gru_jax": "9.1"}, "git": "0123456789abcdef"})
    (line,) = refusal(directory)
    assert line.startswith(f"{directory}: ")
    assert said in line
    assert "(gru_jax 9.1, revision 0123456789, says" in line
    assert "damaged" not in line
    assert "delete" not in line


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"status": "compl'])
def test_a_damaged_summary_is_named_with_the_way_out(directory, text):
    directory.summary.write_text(text)
    (line,) = refusal(directory)
    assert line.startswith(f"{directory.summary}: damaged")
    assert "delete it" in line


def test_two_processes_cannot_train_in_one_directory(directory):
    hold = "import sys; from experiments.runs.directory import RunDirectory\nwith RunDirectory(sys.argv[1]).lock():"
    script = f"{hold}\n print('held', flush=True)\n sys.stdin.read()"
    command = [sys.executable, "-c", script, str(directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="another process is training here"), directory.lock():
            pass
        other.kill()
    with directory.lock():
        pass


def test_a_place_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    run = RunDirectory(tmp_path / "file" / "run")
    with pytest.raises(UserError, match=r"cannot be made: Not a directory; .*--run-dir"), run.lock():
        pass


def test_writing_leaves_no_partial_file_and_no_nan(tmp_path):
    write_whole(tmp_path / "a", "one")
    write_whole(tmp_path / "a", "two")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "two"
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a", {"loss": float("nan")})
    assert (tmp_path / "a").read_text() == "two"


def test_default_path_is_the_name_and_the_hash_of_the_config():
    path = default_path(CONFIG, "quickstart")
    assert path.parts == ("runs", "quickstart", configs.fingerprint(CONFIG))


def test_find_runs_looks_below_and_names_what_holds_none(directory, tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "config.yaml").write_text("- not a run\n")
    assert [run.path for run in find_runs([tmp_path, directory.path])] == [directory.path]
    with pytest.raises(UserError, match="no run in or below it"):
        find_runs([tmp_path / "configs"])
    with pytest.raises(UserError, match="no such directory"):
        find_runs([tmp_path / "nowhere"])


def test_run_directories_without_config_are_named(tmp_path):
    with pytest.raises(UserError, match="no such run directory"):
        RunDirectory(tmp_path / "nowhere").read_config()
    with pytest.raises(UserError, match="not a run directory"):
        RunDirectory(tmp_path).read_config()
    assert RunDirectory(tmp_path).read_summary() is None
