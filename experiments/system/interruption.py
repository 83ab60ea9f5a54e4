"""Ctrl-C and SIGTERM as a request to stop after the step at hand; a second one stops at once."""

import signal
import threading
from types import FrameType
from typing import Any

_EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


class Interruption:
    """While this context manager is entered, the first SIGINT or SIGTERM only sets ``exit_code``."""

    def __init__(self) -> None:
        """Nothing was requested yet."""
        self.exit_code: int | None = None
        """What the shell expects of a process stopped by the signal that came; None while none did."""
        self._before: dict[signal.Signals, Any] = {}

    def _request(self, number: int, _: FrameType | None) -> None:
        self.exit_code = _EXIT_CODES[signal.Signals(number)]
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            # A handler of None was set outside Python, and Python cannot set it again.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before = {}

    def __enter__(self) -> "Interruption":
        """Take the signals; outside the main thread, where Python does not deliver them, do nothing."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._request) for number in _EXIT_CODES}
        return self

    def __exit__(self, *_: object) -> None:
        """Give the signals back."""
        self._restore()
