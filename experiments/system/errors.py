"""The one exception for everything that a user can put right."""

import contextlib
from collections.abc import Iterable, Iterator


class UserError(Exception):
    """A mistake in a config, an argument or a run directory: what is wrong and the way out, without a traceback.

    ``messages`` holds one line for each mistake; the command line prints them to stderr and exits with ``exit_code``.
    """

    exit_code = 2

    def __init__(self, messages: str | Iterable[str]):
        """Take one line, or one for each of several mistakes."""
        self.messages = [messages] if isinstance(messages, str) else list(messages)
        super().__init__("\n".join(self.messages))


class FailedOnTheWay(UserError):
    """A failure after the work had begun that is no mistake of the user's: a full disk, a plot that failed."""

    exit_code = 1


@contextlib.contextmanager
def named_by(argument: str) -> Iterator[None]:
    """Put ``argument``, which is to blame, before each line of a UserError from within."""
    try:
        yield
    except UserError as error:
        raise UserError([f"{argument}: {line}" for line in error.messages]) from None
