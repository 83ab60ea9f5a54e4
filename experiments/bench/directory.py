"""The directory of one bench, laid out as the directory of a run is. Nothing here imports JAX.

config.yaml  command.txt  environment.json  bench.json  table.md  plots/*.png
"""

from pathlib import Path

from experiments.bench import results
from experiments.bench.schema import BenchConfig
from experiments.config import configs, kinds, stored
from experiments.runs.directory import RunDirectory
from experiments.system.errors import UserError
from experiments.system.whole_files import write_whole


class BenchDirectory:
    """The paths in a bench's directory; making one of these touches nothing."""

    def __init__(self, path: str | Path):
        """``path``: the directory, which may be absent."""
        run = RunDirectory(path)
        self.path, self.config, self.command = run.path, run.config, run.command
        self.environment, self.plots, self.lock = run.environment, run.plots, run.lock
        self.results = self.path / "bench.json"
        self.table = self.path / "table.md"

    def __str__(self) -> str:
        """The path, as it was given."""
        return str(self.path)

    def inspect(self, config: BenchConfig) -> results.Results | None:
        """The results of ``config`` here, complete or not, or None; UserError if it may not be measured here."""
        kinds.refuse_what_holds_another(self.path, "bench")
        if not kinds.visible(self.path):
            return None
        lines = configs.differences(stored.read(BenchConfig, self.path), config, self.config)
        if lines:
            other = f"{self}: holds a bench of another config; choose another directory with --run-dir"
            raise UserError([other, *lines])
        return results.read(self.results) if self.results.exists() else None

    def begin(self, config: BenchConfig, command: str) -> None:
        """Write what is known at the start."""
        write_whole(self.config, configs.to_yaml(config))
        write_whole(self.command, command + "\n")


def is_bench(path: Path) -> bool:
    """Whether a run directory is a bench's and not a training run's, however far the bench came."""
    return kinds.kind_of(path) == "bench"
