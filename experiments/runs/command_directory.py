"""What the directories of a run, a comparison and a bench have in common. Nothing here imports JAX."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel

from experiments.config import configs, directory_kinds, stored_configs
from experiments.system.errors import UserError
from experiments.system.whole_files import write_whole


class CommandDirectory:
    """The paths in the directory that a command writes into; making one of these touches nothing."""

    kind: ClassVar[directory_kinds.Kind]

    def __init__(self, path: str | Path):
        """``path``: the directory, which may be absent."""
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.command = self.path / "command.txt"
        self.environment = self.path / "environment.json"
        self.plots = self.path / "plots"

    def __str__(self) -> str:
        """The path, as it was given."""
        return str(self.path)

    def begun(self) -> bool:
        """Whether something is here; UserError if that is of another kind."""
        directory_kinds.refuse_what_holds_another(self.path, self.kind)
        return bool(directory_kinds.visible_names(self.path))

    def refuse_another_config(self, config: BaseModel) -> None:
        """UserError if what has begun here has another config."""
        lines = configs.differences(stored_configs.read(type(config), self.path), config, self.config)
        if lines:
            other = f"{self}: holds a {self.kind} of another config; choose another directory with --run-dir"
            raise UserError([other, *lines])

    def begin(self, config: BaseModel, command: str) -> None:
        """Write what is known at the start."""
        write_whole(self.config, configs.to_yaml(config))
        write_whole(self.command, command + "\n")

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Make the directory and hold it: UserError if another process does. The hold ends with the process."""
        self._make()
        with open(self.path / ".lock", "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(
                    f"{self}: another process is training here; wait for it, or choose another directory with --run-dir"
                ) from None
            yield

    def _make(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{self}: cannot be made: {error.strerror}; choose another with --run-dir") from None
        if not os.access(self.path, os.W_OK):
            raise UserError(f"{self}: cannot be written to; choose another with --run-dir")
