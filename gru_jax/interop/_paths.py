"""Checks of a path before a file is read or written, and messages that say which file is wrong."""

import contextlib
import os
import stat
from collections.abc import Iterator
from typing import Any


def check_path(path: Any) -> str:
    """A path as a string."""
    try:
        name = os.fsdecode(path)
    except TypeError:
        raise TypeError(
            f"path: expected a string or a pathlib.Path, got {type(path).__name__}; pass where the file is."
        ) from None
    if not name or "\0" in name:
        raise ValueError(f"path: expected the name of a file, got {name!r}; pass where the file is.")
    return name


def read_beginning(name: str, kind: str) -> bytes:
    """The first bytes of a regular file: reading a pipe or a device might never end.

    Raises:
      OSError: as Python raises it for a file that is missing or may not be read; for a folder, it says what to do.
      ValueError: for a device or a pipe.
    """
    mode = os.stat(name).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(f"path: expected {kind} file, got the folder {name!r}; name the file in it.")
    if not stat.S_ISREG(mode):
        raise ValueError(f"path: expected {kind} file, got {name!r}, a device or a pipe; copy it to a file first.")
    with open(name, "rb") as file:
        return file.read(64)


@contextlib.contextmanager
def blaming(name: str) -> Iterator[None]:
    """A context in which errors about what is in a file begin with the name of the file."""
    try:
        yield
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from None
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def foreign(beginning: bytes) -> str | None:
    """What a file of another kind is, and how its weights get here; None where its first bytes say nothing."""
    for magic, what in _BEGINNINGS.items():
        if beginning.startswith(magic):
            return what
    return None


_UNPICKLE = (
    "gru_jax never unpickles; for a file of torch.save, torch.load(path, weights_only=True) and hand over the state "
    "dict to gru_jax.interop.from_torch"
)
_BEGINNINGS = {
    b"PK\x03\x04": f"a zip archive, as torch.save and numpy.savez write: {_UNPICKLE}",
    **{b"\x80" + bytes([protocol]): f"a pickle: {_UNPICKLE}" for protocol in range(2, 6)},
    b"\x89HDF": "an HDF5 file: load it with Keras and hand over layer.get_weights() to gru_jax.interop.from_keras",
    b"version https://git-lfs": "a pointer of Git LFS in the place of a file: fetch it with git lfs pull",
}
