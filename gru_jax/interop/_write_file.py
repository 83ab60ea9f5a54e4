"""Writing files that appear complete or not at all."""

import os
import secrets
import stat
from typing import Any

from gru_jax.interop._paths import check_path


def check_target(path: Any) -> str:
    """The real name of a file to write, in a folder that exists; links are followed, so that they stay links.

    Raises:
      TypeError, ValueError, OSError: for what cannot be a file's name.
    """
    target = os.path.realpath(check_path(path))
    if os.path.isdir(target):
        raise IsADirectoryError(f"path: expected the name of a file, got the folder {target!r}; add one to it.")
    if os.path.exists(target) and not os.path.isfile(target):
        # Else a file would take the place of /dev/null, where the user may do that.
        raise ValueError(f"path: expected the name of a file, got {target!r}, a device or a pipe; name a file.")
    if not os.path.isdir(os.path.dirname(target)):
        raise FileNotFoundError(
            f"path: expected a folder that exists, got {os.path.dirname(target)!r}; make it with os.makedirs first."
        )
    return target


def write_file(target: str, *pieces: bytes) -> None:
    """Write beside the target first, then replace it: a run that is killed leaves no half file under its name."""
    draft = f"{target}.{secrets.token_hex(4)}.draft"
    try:
        with open(draft, "xb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        if os.path.exists(target):
            # Who may read the file stays as it was.
            os.chmod(draft, stat.S_IMODE(os.stat(target).st_mode))
        os.replace(draft, target)
    finally:
        if os.path.exists(draft):
            os.unlink(draft)
