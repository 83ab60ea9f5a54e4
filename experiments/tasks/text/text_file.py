"""A text file of the user's own, named by ``task.path``."""

from pathlib import Path

from experiments.system.errors import UserError


def read(path: str | Path) -> str:
    """The text of a file in UTF-8; UserError if it is in another encoding, or cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"task.path: {path} is not UTF-8 text (byte {error.start}); convert it first") from None
    except OSError as error:
        raise UserError(f"task.path: {path} cannot be read: {error.strerror}") from None
