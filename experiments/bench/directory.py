"""The directory of one bench, laid out as the directory of a run is. Nothing here imports JAX.

config.yaml  command.txt  environment.json  bench.json  table.md  plots/*.png
"""

from pathlib import Path

from experiments.bench import results
from experiments.bench.schema import BenchConfig
from experiments.runs.command_directory import CommandDirectory


class BenchDirectory(CommandDirectory):
    """The paths in a bench's directory, and what was measured there."""

    kind = "bench"

    def __init__(self, path: str | Path):
        """``path``: the directory, which may be absent."""
        super().__init__(path)
        self.results = self.path / "bench.json"
        self.table = self.path / "table.md"

    def inspect(self, config: BenchConfig) -> results.Results | None:
        """The results of ``config`` here, complete or not, or None; UserError if it may not be measured here."""
        if not self.begun():
            return None
        self.refuse_another_config(config)
        return results.read(self.results) if self.results.exists() else None
