"""What is told of a command that failed, and how it ends; each process here is started without JAX."""

import errno
import os
import signal
import subprocess
import sys
import time

import pytest

from experiments.system import process
from experiments.system.errors import FailedOnTheWay, UserError
from tests.places import CHECKOUT

TINY = "task: {name: copy}\n"
REPEAT = ["config", "tiny.yaml"]


def shell(command, directory, **environment):
    """Run a line of bash; ``$RUN`` is python -m experiments."""
    run = {"RUN": f"{sys.executable} -W error -m experiments", "PYTHONPATH": str(CHECKOUT)}
    return subprocess.run(
        ["bash", "-c", command], cwd=directory, env=os.environ | run | environment, capture_output=True, timeout=120
    )


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "tiny.yaml").write_text(TINY)
    return tmp_path


def raising(error):
    def run():
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("a mistake"), 2, "a mistake"),
        (FailedOnTheWay("the plots could not be drawn"), 1, "the plots could not be drawn"),
        (OSError(errno.ENOSPC, "No space left on device", "runs/x"), 1, "runs/x: No space left on device; make room"),
        (OSError(errno.EACCES, "Permission denied", "runs/x"), 2, "runs/x: Permission denied; mend that"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "standard output: No space left on device"),
        (OSError("unheard of"), 2, "unheard of"),
        (
            ModuleNotFoundError("No module named 'optax'", name="optax.schedules"),
            2,
            "needs the package optax, which is",
        ),
        (ImportError("no symbol", name="yaml"), 2, "needs the package pyyaml, which cannot be imported (no symbol)"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_each_failure_is_a_line_and_a_code(error, code, line, capsys):
    assert process.guarded(raising(error)) == code
    (told,) = capsys.readouterr().err.splitlines()
    assert line in told


def test_an_import_error_of_another_package_without_a_name_is_a_line(capsys):
    # As JAX's own, where jaxlib is missing.
    foreign = {"__name__": "jax._src.lib"}
    exec("def load(): raise ModuleNotFoundError('jax requires jaxlib')", foreign)
    assert process.guarded(foreign["load"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("this command needs the package jax, which cannot be imported (jax requires jaxlib): pip ")
    assert err.count("\n") == 1


def test_a_mistake_in_this_repository_keeps_its_traceback():
    for error in (ImportError("cannot import name", name="experiments.cli"), ZeroDivisionError()):
        with pytest.raises(type(error)):
            process.guarded(raising(error))


def test_a_reader_that_left_ends_the_command_without_a_word(directory):
    # `true` reads nothing, and is gone before a word is written.
    for arguments in ("config tiny.yaml", "data"):
        result = shell(f"$RUN {arguments} | true; exit ${{PIPESTATUS[0]}}", directory)
        assert (result.returncode, result.stderr) == (141, b""), arguments


def test_streams_that_are_closed_or_full(directory):
    assert shell("$RUN config tiny.yaml >&-", directory).returncode == 0
    result = shell("$RUN config nowhere.yaml 2>&-", directory)
    assert (result.returncode, result.stdout) == (2, b"")
    result = shell("$RUN config tiny.yaml > /dev/full", directory)
    assert result.returncode == 1
    assert result.stderr.decode().splitlines() == [
        "standard output: No space left on device; make room or mend that, and give the same command again"
    ]


def test_a_file_opened_first_does_not_become_a_closed_stream(directory):
    script = "from experiments.system import process; process.guarded(lambda: 0); print(open('tiny.yaml').fileno() > 2)"
    result = shell(f'{sys.executable} -c "{script}" <&- 2>&-', directory)
    assert result.stdout == b"True\n"


def test_names_that_are_not_text_and_letters_that_the_terminal_lacks(directory):
    name = os.fsdecode(b"caf\xe9.yaml")
    (directory / name).write_text(TINY)
    result = shell("$RUN config caf*.yaml", directory)
    assert result.stdout.startswith(b"# runs/caf\xe9/")
    result = shell("$RUN train caf*.yaml", directory)
    assert (result.returncode, len(result.stderr.splitlines())) == (2, 1)
    assert b"a name that is not UTF-8" in result.stderr
    result = shell("$RUN config tiny.yaml task.name=chars task.path=$(ls caf*.yaml)", directory)
    assert (result.returncode, len(result.stderr.splitlines())) == (2, 1)
    assert b"expected text in UTF-8" in result.stderr
    script = "from experiments.system import process; process.guarded(lambda: print('mean ± spread') or 0)"
    result = shell(f'{sys.executable} -c "{script}"', directory, PYTHONIOENCODING="ascii")
    assert result.stdout == b"mean \\xb1 spread\n"
    assert sorted(os.listdir(directory)) == sorted([name, "tiny.yaml"])


@pytest.mark.parametrize(
    ("module", "arguments", "package"),
    [
        ("rich", "config tiny.yaml", "rich"),
        ("yaml", "data", "pyyaml"),
        ("tensorboardX", "train tiny.yaml", "tensorboardX"),
    ],
)
def test_a_missing_package_is_a_line_before_the_work(module, arguments, package, directory):
    shadow = directory / "shadow" / module
    shadow.mkdir(parents=True)
    (shadow / "__init__.py").write_text(f"raise ModuleNotFoundError('No module named {module}', name={module!r})\n")
    result = shell(f"$RUN {arguments}", directory, PYTHONPATH=f"{shadow.parent}:{CHECKOUT}")
    assert (result.returncode, result.stdout) == (2, b"")
    (line,) = result.stderr.decode().splitlines()
    assert f'needs the package {package}, which is not installed: pip install "gru_jax[experiments]"' in line
    assert not (directory / "runs").exists()


def test_a_broken_package_is_a_line_with_the_reason(directory):
    (directory / "shadow" / "matplotlib").mkdir(parents=True)
    (directory / "shadow" / "matplotlib" / "__init__.py").write_text("raise AttributeError('of another version')\n")
    result = shell("$RUN train tiny.yaml", directory, PYTHONPATH=f"{directory / 'shadow'}:{CHECKOUT}")
    (line,) = result.stderr.decode().splitlines()
    assert "logging.plots: needs the package matplotlib, which cannot be imported (of another version)" in line


INTERRUPTED = """
import os, signal, sys, time
from experiments.system import process
class Dropped:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000): pass
def run():
    if sys.argv[1] == "dropped":
        Dropped()
        time.sleep(20)
    else:
        exec("os.kill(os.getpid(), signal.SIGINT); time.sleep(20)")
    return 0
process.exit_with(run)
"""


@pytest.mark.parametrize("where", ["dropped", "executed"])
def test_an_interrupt_that_python_would_drop_or_end_by_itself_is_one_line(where, directory):
    began = time.monotonic()
    (directory / "script.py").write_text(INTERRUPTED)
    result = shell(f"{sys.executable} script.py {where}", directory)
    assert time.monotonic() - began < 15
    assert (result.returncode, result.stderr) == (130, b"interrupted\n")


def test_an_interrupt_during_the_imports_is_one_line(directory):
    (directory / "shadow" / "yaml").mkdir(parents=True)
    (directory / "shadow" / "yaml" / "__init__.py").write_text(
        "print('here', flush=True)\nimport time\ntime.sleep(60)\n"
    )
    command = [sys.executable, "-m", "experiments", *REPEAT]
    environment = os.environ | {"PYTHONPATH": f"{directory / 'shadow'}:{CHECKOUT}"}
    with subprocess.Popen(
        command, cwd=directory, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as started:
        assert started.stdout.readline() == b"here\n"
        started.send_signal(signal.SIGINT)
        _, errors = started.communicate(timeout=60)
    assert (started.returncode, errors) == (130, b"interrupted\n")
