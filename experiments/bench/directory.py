"""The directory of one bench, by the conventions of a run's. Nothing here imports JAX.

config.yaml  command.txt  environment.json  bench.json  table.md  plots/*.png
"""

from pathlib import Path

from experiments import config as configs
from experiments import run_configs, run_kinds
from experiments.bench import results
from experiments.bench.schema import BenchConfig
from experiments.errors import UserError
from experiments.run_directory import RunDirectory
from experiments.whole_files import write_whole


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
        """What was measured here of ``config``, to its end or not; UserError if it may not be measured here."""
        run_kinds.refuse_what_holds_another(self.path, "bench")
        if not run_kinds.visible(self.path):
            return None
        lines = configs.differences(run_configs.read(BenchConfig, self.path), config, self.config)
        if lines:
            other = f"{self}: holds a bench of another config; choose another directory with --run-dir"
            raise UserError([other, *lines])
        return results.read(self.results) if self.results.exists() else None

    def begin(self, config: BenchConfig, command: str) -> None:
        """Write what is known at the start."""
        write_whole(self.config, configs.to_yaml(config))
        write_whole(self.command, command + "\n")


def default_path(config: BenchConfig) -> Path:
    """``runs/bench/<hash of the resolved config>``, below the current directory."""
    return Path("runs") / "bench" / configs.fingerprint(config)


def is_bench(path: Path) -> bool:
    """Whether a run directory is a bench's and not a training run's, however far it came."""
    return run_kinds.kind_of(path) == "bench"
