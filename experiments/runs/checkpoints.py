"""Saves and restores the state of training as checkpoints, with orbax, which no other file knows.

A checkpoint is the folder ``checkpoints/<step>``. Orbax writes it under another name and renames it when it is whole.
Before the next save, or at the end, it gets ``checksums.json``, of all its files: orbax itself answers a truncated file
with pages of tracebacks from its threads.
"""

import contextlib
import gc
import json
import logging
import os
import re
import shutil
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1

from experiments.system.errors import FailedOnTheWay, UserError
from experiments.system.whole_files import check_utf8, naming_errors, write_json

# Orbax accepts more than its annotations allow.
_orbax: Any = v1

_CHECKSUMS = "checksums.json"
# What orbax calls a folder until it is whole: <step>.orbax-checkpoint-tmp
_HALF_WRITTEN = ".orbax-checkpoint-tmp"


class CheckpointWriter:
    """Saves states in the background and keeps the latest few; a context manager that waits for the last save.

    Folders that a killed run left half written are removed at the start.
    """

    def __init__(self, directory: Path, keep: int):
        """``keep``: how many of the latest checkpoints stay."""
        self._directory = directory
        _remove_half_written(directory)
        self._steps = set(saved_steps(directory))
        self._saving: tuple[int, Any] | None = None
        self._failed = False
        with contextlib.ExitStack() as stack:
            # Orbax's threads would each print a whole error on the terminal; `wait` gets the error as well.
            stack.enter_context(_silence())
            with self._telling(directory):
                self._checkpointer = _orbax.training.Checkpointer(
                    directory.absolute(),
                    preservation_policy=_orbax.training.preservation_policies.LatestN(keep),
                )
            self._quiet = stack.pop_all()

    def save(self, step: int, state: Any, seconds: float) -> None:
        """Save ``state``, after ``seconds`` of training in all; returns while the files are still being written."""
        if step in self._steps:
            return
        self.wait()
        self._steps.add(step)
        with self._telling(self._directory / str(step)):
            response = self._checkpointer.save_async(step, _contents(state, seconds), force=True)
        self._saving = (step, response)

    def wait(self) -> None:
        """Wait until the save in progress is whole, and add its checksums."""
        if self._saving is not None:
            step, response = self._saving
            self._saving = None
            folder = self._directory / str(step)
            with self._telling(folder):
                response.result()
                write_json(folder / _CHECKSUMS, _checksums(folder))

    def __enter__(self) -> "CheckpointWriter":
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Wait until the last save is whole; after one that failed, remove what it left."""
        try:
            if not self._failed:
                self.wait()
                with self._telling(self._directory):
                    self._checkpointer.close()
                self._quiet.close()
        finally:
            if self._failed:
                self._give_up()

    def _give_up(self) -> None:
        # Closing waits for the same save, and gets the same error. The objects left behind complain when they are
        # collected, at the latest at the end of the process: so the silence stays.
        with contextlib.suppress(Exception):
            self._checkpointer.close()
        _remove_half_written(self._directory)

    @contextlib.contextmanager
    def _telling(self, place: Path) -> Iterator[None]:
        """Turn what orbax raises into one line of an OSError or UserError that names ``place``."""
        try:
            with naming_errors(place):
                yield
        except OSError:
            self._failed = True
            raise
        except Exception as error:
            self._failed = True
            if known := re.search(r"os_error_code='(\d+)'", str(error)):
                number = int(known.group(1))
                raise OSError(number, os.strerror(number), str(place)) from error
            problem = str(error).strip().partition("\n")[0][:200] or type(error).__name__
            raise FailedOnTheWay(f"{place}: the checkpoint could not be saved: {problem}") from error


def _remove_half_written(directory: Path) -> None:
    for half in directory.glob(f"*{_HALF_WRITTEN}*") if directory.is_dir() else ():
        shutil.rmtree(half)


def saved_steps(directory: Path) -> list[int]:
    """The steps of the whole checkpoints in ``directory``, ascending; nothing is touched."""
    if not directory.is_dir():
        return []
    return sorted(int(entry.name) for entry in directory.iterdir() if entry.name.isdecimal() and entry.is_dir())


def restore(directory: Path, step: int, like: Any) -> tuple[Any, float]:
    """The state saved at ``step`` and the seconds of training it took; ``like`` has its structure, shapes and dtypes.

    Raises UserError, with the folder and the way out, if the checkpoint is damaged or its state has other shapes.
    """
    abstract = jax.tree.map(lambda leaf: np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape), like)
    contents = _load(directory, step, _contents(abstract, 0.0))
    shapes = [leaf.shape for leaf in jax.tree.leaves(like)]
    if [np.shape(leaf) for leaf in jax.tree.leaves(contents["state"])] != shapes:
        raise UserError(
            f"{directory / str(step)}: a checkpoint of another config or other data: its arrays have other shapes"
        )
    return jax.tree.map(jax.numpy.asarray, contents["state"]), float(contents["seconds"])


def restore_as_saved(directory: Path, step: int) -> dict[str, Any]:
    """The state saved at ``step`` as nested dicts of NumPy arrays, for callers that cannot build its structure."""
    return _load(directory, step, None)["state"]


def _load(directory: Path, step: int, like: Any) -> dict[str, Any]:
    """What was saved, in the structure of ``like`` (None: dicts); UserError if it is damaged or does not fit."""
    folder = directory / str(step)
    check_utf8(folder)
    problem, known_whole = _damage(folder)
    if not problem:
        with _silence():
            try:
                return _orbax.load(folder.absolute(), *([] if like is None else [like]))
            except (ValueError, TypeError, KeyError, OSError) as error:
                problem = str(error).partition("[tensorstore_spec")[0].partition("\n")[0][:200].strip()
                full = isinstance(error, OSError) and error.errno is not None
            # What a failed load leaves behind complains when it is collected: so now, while orbax is silent.
            finally:
                gc.collect()
        if full:
            raise UserError(f"{folder}: cannot be read: {problem}; mend that")
        if known_whole:
            raise UserError(
                f"{folder}: a whole checkpoint, but of another config, other data or another version: {problem}"
            )
    earlier = [other for other in saved_steps(directory) if other < step]
    remedy = f"fall back to step {earlier[-1]}" if earlier else "begin again at step 0"
    raise UserError(f"{folder}: a damaged checkpoint ({problem}); delete this folder to {remedy}")


def _contents(state: Any, seconds: float) -> dict[str, Any]:
    return {"state": jax.tree.map(np.asarray, state), "seconds": np.asarray(seconds)}


def _checksums(folder: Path) -> dict[str, int]:
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.name != _CHECKSUMS)
    return {file.relative_to(folder).as_posix(): zlib.crc32(file.read_bytes()) for file in files}


def _damage(folder: Path) -> tuple[str, bool]:
    """What differs from the checksums, or ""; and whether there are checksums.

    They are written with the next save: a killed run's last checkpoint has none.
    """
    try:
        expected = json.loads((folder / _CHECKSUMS).read_text())
    except FileNotFoundError:
        return "", False
    except ValueError as error:
        return f"{_CHECKSUMS}: {error}", True
    except OSError as error:
        raise UserError(f"{folder / _CHECKSUMS}: cannot be read: {error.strerror}; mend that") from None
    try:
        found = _checksums(folder)
    except OSError as error:
        raise UserError(f"{error.filename or folder}: cannot be read: {error.strerror}; mend that") from None
    changed = [name for name in expected if found.get(name) != expected[name]]
    if not changed:
        return "", True
    return f"{changed[0]} {'differs from what was saved' if changed[0] in found else 'is missing'}", True


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep orbax's threads from the terminal: whoever waits for them gets what matters of their errors."""
    loggers = [logging.getLogger(name) for name in ("absl", "asyncio")]
    levels, hook = [logger.level for logger in loggers], sys.unraisablehook

    def without_closed_loops(what: Any) -> None:
        # After an error, tensorstore's threads report to an event loop that orbax has closed.
        if str(what.exc_value) != "Event loop is closed":
            hook(what)

    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    sys.unraisablehook = without_closed_loops
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        sys.unraisablehook = hook
