"""Writes numbers as TensorBoard events, in the thread that has them.

tensorboardX's own SummaryWriter writes in another thread, which dies of a full disk. Whoever then gives it an eleventh
number waits for ever.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from experiments.system.whole_files import naming_errors

# TensorBoard shows only what was flushed. A flush costs a write, but no wait for the disk.
_SECONDS_BETWEEN_FLUSHES = 10.0


class EventFile:
    """One file of scalars in a folder that TensorBoard reads; an OSError names the folder."""

    def __init__(self, folder: Path, resumed_at: int = 0):
        """``resumed_at``: a step; TensorBoard forgets what an earlier process wrote of later steps."""
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto import event_pb2
        from tensorboardX.summary import scalar

        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._scalar = folder, scalar
        # The module's annotations lack the classes that protobuf makes.
        self._messages = cast("Any", event_pb2)
        with naming_errors(folder):
            # The suffix keeps a process from overwriting the file of an earlier one that began in the same second.
            self._writer = EventsWriter(str(folder / "events"), f".from_step_{resumed_at}")
            if resumed_at:
                log = self._messages.SessionLog
                self._write(step=resumed_at + 1, file_version="brain.Event:2")
                self._write(step=resumed_at + 1, session_log=log(status=log.START))
        self._flushed = time.monotonic()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write each value under its name."""
        with naming_errors(self._folder):
            for name, value in values.items():
                self._write(step=step, summary=self._scalar(name, value))
        if time.monotonic() - self._flushed > _SECONDS_BETWEEN_FLUSHES:
            self.flush()

    def flush(self) -> None:
        """Write all values to the file."""
        with naming_errors(self._folder):
            self._writer.flush()
        self._flushed = time.monotonic()

    def close(self) -> None:
        """Write all values to the file, and close it."""
        with naming_errors(self._folder):
            self._writer.close()

    def _write(self, **fields: Any) -> None:
        self._writer.write_event(self._messages.Event(wall_time=time.time(), **fields))
