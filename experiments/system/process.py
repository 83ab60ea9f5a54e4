"""A command as a process: its streams, its signals, and what it says of all that went wrong.

Exit codes: 0 done, 1 failed on the way (a run diverged, a disk is full), 2 a mistake of the user's, 130 or 143 stopped
by a signal, 141 the reader of its output has gone. This module imports nothing that might be missing.
"""

import codecs
import errno
import io
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from experiments.system import needed_packages, whole_files
from experiments.system.errors import UserError

INTERRUPTED = 130
_OUTPUT_NOT_WANTED = 141
_SECONDS_UNTIL_AGAIN = 0.02

# Errors of the machine: the same command may end well another time. Those of `_WRITERS` come of writing.
_WRITERS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_MACHINES = (*_WRITERS, errno.EIO, errno.ENOMEM)


def guarded(run: Callable[[], int]) -> int:
    """Return the exit code of ``run()``, and print what the user or the machine got wrong to stderr, a line each."""
    _prepare_streams()
    try:
        try:
            code = run()
        except SystemExit as ended:
            # argparse has printed its help, or what is wrong with the arguments.
            code = ended.code if isinstance(ended.code, int) else 0
        with whole_files.naming_errors("standard output"):
            sys.stdout.flush()
        return code
    except UserError as error:
        return _print_errors(error.messages, error.exit_code)
    except BrokenPipeError:
        _forget_output()
        return _OUTPUT_NOT_WANTED
    except OSError as error:
        return _os_error(error)
    except ImportError as error:
        line = needed_packages.explanation(error)
        if line is None:
            raise
        return _print_errors([line], 2)
    except KeyboardInterrupt:
        return _print_errors(["interrupted"], INTERRUPTED)


def exit_with(run: Callable[[], int]) -> None:
    """Do as `guarded` for a whole process, from its first import to its end, and exit with the code."""
    sys.unraisablehook = _unraisable
    code = guarded(run)
    # Only Python's own shutdown is left. An interrupt there would print a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if code == INTERRUPTED:
        # Everything is closed by now. `sys.exit` may end otherwise: after an interrupt within `exec`, by which a named
        # tuple is made, Python dies of the signal even though the interrupt was caught.
        os._exit(code)
    sys.exit(code)


def _print_errors(lines: list[str], code: int) -> int:
    """Flush stdout, print ``lines`` to stderr, and return ``code``; either stream may be closed or full."""
    try:
        sys.stdout.flush()
    except OSError:
        _forget_output()
    try:
        for line in lines:
            print(line, file=sys.stderr)
        sys.stderr.flush()
    except OSError:
        _forget(sys.stderr)
    return code


def _os_error(error: OSError) -> int:
    name, reason = error.filename, error.strerror or str(error)
    if name is None and error.errno in _WRITERS:
        # Whatever writes a file names it, so this was standard output.
        name = "standard output"
    where = f"{os.fsdecode(name) if isinstance(name, str | bytes) else name}: " if name is not None else ""
    if error.errno in _MACHINES:
        return _print_errors([f"{where}{reason}; make room or mend that, and give the same command again"], 1)
    return _print_errors([f"{where}{reason}; mend that, or choose another place"], 2)


def _unraisable(what: Any) -> None:
    """Repeat, a little later, an interrupt that came where Python drops exceptions, as in a callback of JAX's."""
    if what.exc_type is not None and issubclass(what.exc_type, KeyboardInterrupt):
        # A signal, unlike `_thread.interrupt_main`, also ends a wait.
        again = threading.Timer(_SECONDS_UNTIL_AGAIN, os.kill, (os.getpid(), signal.SIGINT))
        again.daemon = True
        again.start()
    else:
        sys.__unraisablehook__(what)


def _prepare_streams() -> None:
    """See that every letter can be printed, and that no file opened later takes the place of a closed stream."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # This opens the lowest free number, which is ``descriptor``.
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 (open as long as the process)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ENCODING_HANDLER)


def _forget_output() -> None:
    _forget(sys.stdout)


def _forget(stream: Any) -> None:
    """Drop what a stream still holds: Python would try to write it again at its end, and print a traceback."""
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _as_bytes_or_escapes(error: UnicodeError) -> tuple[bytes, int]:
    """Encode for `codecs` a file name that is not text as its bytes, as ls does, and any other letter as an escape."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    parts = [
        bytes([ord(letter) - 0xDC00]) if 0xDC80 <= ord(letter) <= 0xDCFF else letter.encode("ascii", "backslashreplace")
        for letter in letters
    ]
    return b"".join(parts), error.end


_ENCODING_HANDLER = "experiments.letters"
codecs.register_error(_ENCODING_HANDLER, _as_bytes_or_escapes)
