"""Files that appear complete or not at all."""

import os
import secrets
from typing import Any

from gru_jax.interop._paths import check_path


def check_target(path: Any) -> str:
    """Where a file is to be written: the name in a folder that exists, links followed so that they stay links.

    Raises:
      TypeError, ValueError, OSError: for what cannot be a file's name.
    """
    target = os.path.realpath(check_path(path))
    if os.path.isdir(target):
        raise IsADirectoryError(f"path: expected the name of a file, got the folder {target!r}; add one to it.")
    if not os.path.isdir(os.path.dirname(target)):
        raise FileNotFoundError(
            f"path: expected a folder that exists, got {os.path.dirname(target)!r}; make it with os.makedirs first."
        )
    return target


def write_file(target: str, *pieces: bytes) -> None:
    """Beside the target first, and then in its place: a run that is killed leaves no half file under its name."""
    draft = f"{target}.{secrets.token_hex(4)}.draft"
    try:
        with open(draft, "xb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, target)
    finally:
        if os.path.exists(draft):
            os.unlink(draft)
