"""The one way in which a file is written here as a whole: it appears complete or not at all.

A regular file is written beside its place and renamed into it, with the permissions that it had. A symbolic link is
followed and stays. A device or a pipe is written into and never replaced. An OSError names the file that was asked for.
"""

import contextlib
import errno
import json
import os
import secrets
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from experiments.system.errors import UserError


def write_whole(path: Path, contents: str | bytes) -> None:
    """Write text or bytes to ``path`` such that a reader or a crash finds the old file or the new, nothing between.

    Text is UTF-8; a file name in it that is not UTF-8 keeps its bytes. Raises OSError, with ``path``, for what cannot
    be written.
    """
    data = contents.encode("utf-8", "surrogateescape") if isinstance(contents, str) else contents
    with naming_errors(path):
        target = Path(os.path.realpath(path))
        try:
            found = os.stat(path)
        except FileNotFoundError:
            _replace(target, data, None)
            return
        if (descriptor := _standard_stream(found)) is not None:
            # A rename would leave the shell the old file of a redirected stream, as in `--page /dev/stdout > page.md`.
            _write_all(descriptor, data)
        elif stat.S_ISREG(found.st_mode):
            _refuse_protected(path)
            _replace(target, data, found)
        else:
            _write_into(path, found, data)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """As `write_whole`, for a mapping; NaN and infinity are refused with ValueError, as JSON has none."""
    text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    # Letters of file names that UTF-8 has no bytes for are written as JSON's own escapes.
    write_whole(path, text.encode("utf-8", "backslashreplace"))


# The files that a run cannot be read without.
_OF_RUNS = ("config.yaml", "command.txt", "environment.json", "metrics.jsonl", "summary.json")


def check_target(path: Path, option: str, *, devices: bool = True) -> None:
    """Raise UserError, before the work, if `write_whole` could not write ``path``, which the user gave as ``option``.

    ``devices``: whether ``path`` may be a device or a pipe.
    """
    try:
        found = os.stat(path)
    except FileNotFoundError:
        found = None
    except OSError as error:
        raise UserError(f"{option}: {path}: {error.strerror}; choose another place") from None
    if found is not None and stat.S_ISDIR(found.st_mode):
        raise UserError(f"{option}: expected the name of a file, got the directory {path}; add one to it")
    if found is not None and not stat.S_ISREG(found.st_mode):
        if not devices or stat.S_ISBLK(found.st_mode) or stat.S_ISSOCK(found.st_mode):
            raise UserError(f"{option}: expected the name of a file, got {path}, a device or a pipe; name a file")
        return
    real = Path(os.path.realpath(path))
    folder = real.parent
    if found is not None and real.name in _OF_RUNS and (folder / "config.yaml").exists():
        raise UserError(f"{option}: {path}: a file that the run beside it is made of; choose another name")
    if not folder.is_dir():
        raise UserError(f"{option}: {folder if path.is_symlink() else path.parent}: no such directory; make it first")
    if (found is not None and not os.access(path, os.W_OK)) or not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"{option}: {path}: cannot be written to; choose another place")


def check_folder(path: Path, option: str) -> None:
    """Raise UserError, before the work, if the folder ``path`` can neither be made nor be written to.

    ``option``: the option that chooses another folder.
    """
    place = path
    try:
        while not place.exists() and place != place.parent:
            if place.is_symlink():
                raise UserError(f"{path}: {place} is a link to nothing; choose another with {option}")
            place = place.parent
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; choose another with {option}") from None
    if not place.is_dir():
        raise UserError(f"{path}: cannot be made: {place} is a file; choose another with {option}")
    if not os.access(place, os.W_OK | os.X_OK):
        verb = "written to" if place == path else f"made: {place} cannot be written to"
        raise UserError(f"{path}: cannot be {verb}; choose another with {option}")


def check_utf8(path: Path) -> None:
    """Raise UserError if ``path`` is not UTF-8 from the root on: orbax can neither write nor read below it."""
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError:
        raise UserError(
            f"{path}: a name that is not UTF-8, which checkpoints cannot lie below; rename it, or choose another "
            "directory with --run-dir"
        ) from None


@contextlib.contextmanager
def naming_errors(path: Path | str) -> Iterator[None]:
    """Let an OSError from within name ``path``: that of a full disk names no file, that of a rename the draft."""
    try:
        yield
    except OSError as error:
        if error.errno is None or isinstance(error, BrokenPipeError):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def _replace(target: Path, data: bytes, before: os.stat_result | None) -> None:
    draft = target.with_name(f".{secrets.token_hex(6)}.partial")
    try:
        with open(draft, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if before is not None:
            with contextlib.suppress(PermissionError):
                os.chown(draft, before.st_uid, before.st_gid)
            os.chmod(draft, stat.S_IMODE(before.st_mode))
        os.replace(draft, target)
    finally:
        draft.unlink(missing_ok=True)


def _refuse_protected(path: Path) -> None:
    """PermissionError for a file that its owner made read-only: a rename would overwrite it."""
    if not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _write_into(path: Path, found: os.stat_result, data: bytes) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if stat.S_ISBLK(found.st_mode):
        raise PermissionError(errno.EPERM, "a disk, not a file")
    # O_NONBLOCK makes a pipe that nobody reads an error; the wait for a reader might never end.
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        reason = "a pipe or socket that nobody reads" if error.errno == errno.ENXIO else error.strerror
        raise OSError(error.errno, reason) from None
    try:
        os.set_blocking(descriptor, True)
        _write_all(descriptor, data)
    finally:
        os.close(descriptor)


def _standard_stream(found: os.stat_result) -> int | None:
    """1 or 2 if the regular file ``found`` is stdout or stderr, which is then flushed; else None."""
    for descriptor, stream in ((1, sys.stdout), (2, sys.stderr)):
        with contextlib.suppress(OSError):
            if stat.S_ISREG(found.st_mode) and os.path.samestat(found, os.fstat(descriptor)):
                stream.flush()
                return descriptor
    return None


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
