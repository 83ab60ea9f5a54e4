"""The directory of a comparison. Nothing here imports JAX.

config.yaml  command.txt  <cell>-<match>/<seed>/ (each a run's directory)  comparison.json  table.md  plots/*.png
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.config import directory_kinds
from experiments.runs.command_directory import CommandDirectory
from experiments.runs.config import Config
from experiments.runs.directory import RunDirectory
from experiments.system.errors import UserError


class CompareDirectory(CommandDirectory):
    """The paths in a comparison's directory, and what it came to."""

    kind = "comparison"

    def __init__(self, path: str | Path):
        """``path``: the directory, which may be absent."""
        super().__init__(path)
        self.results = self.path / "comparison.json"
        self.table = self.path / "table.md"

    def run(self, variant: str, seed: int) -> RunDirectory:
        """The directory of one run."""
        return RunDirectory(self.path / variant / str(seed))

    def refuse_another(self, config: Config) -> None:
        """UserError if the directory holds anything but the comparison of ``config``."""
        if self.begun():
            self.refuse_another_config(config)

    def read_results(self) -> dict[str, Any]:
        """What the end of the comparison left; UserError if it has not ended, or was damaged."""
        try:
            results = json.loads(self.results.read_text(encoding="utf-8"))
            if missing := {"config", "command", "metric", "variants"} - set(results):
                raise ValueError(f"no {', '.join(sorted(missing))}")
            return results
        except FileNotFoundError:
            raise UserError(f"{self}: not finished; the command in {self.command} goes on with it") from None
        except ValueError as error:
            raise UserError(f"{self.results}: damaged ({error}); delete it, and compare writes it anew") from None


def find_comparisons(paths: Sequence[Path]) -> list[CompareDirectory]:
    """All comparisons at or below ``paths``, in order of their paths."""
    found = {
        file.parent.resolve(): CompareDirectory(file.parent)
        for path in paths
        for file in sorted(path.rglob("config.yaml"))
        if directory_kinds.kind_of(file.parent) == "comparison"
    }
    return list(found.values())
