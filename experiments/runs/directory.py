"""The directory of one run: where it lies, what its files say about the run, and what forbids using it.

    config.yaml  command.txt  environment.json  metrics.jsonl  tensorboard/  checkpoints/  plots/  summary.json  …

config.yaml is written first and summary.json last, each in one rename. So a directory without config.yaml is not a
run, and a run without summary.json is not finished. Nothing here imports JAX.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from experiments import tasks
from experiments.config import configs, directory_kinds, stored_configs
from experiments.runs.command_directory import CommandDirectory
from experiments.runs.config import Config
from experiments.system.errors import UserError
from experiments.system.whole_files import write_whole

Status = Literal["new", "unfinished", "complete"]


class RunDirectory(CommandDirectory):
    """The paths in a run's directory, and what its files say."""

    kind = "run"

    def __init__(self, path: str | Path):
        """``path``: the directory, which may be absent."""
        super().__init__(path)
        self.continued = self.path / "continued.json"
        self.metrics = self.path / "metrics.jsonl"
        self.tensorboard = self.path / "tensorboard"
        self.checkpoints = self.path / "checkpoints"
        self.sample = self.path / "sample.txt"
        self.pictures = self.path / "pictures.json"
        self.summary = self.path / "summary.json"

    def read_config(self) -> Config:
        """The config that the run was started with; UserError if there is no run, or this version cannot read it."""
        directory_kinds.refuse_what_is_no_run(self.path)
        return stored_configs.read(Config, self.path)

    def check_data(self, config: Config) -> None:
        """UserError if the data of the run is not here, with the way to get it; loads nothing."""
        try:
            tasks.check_data(config.task)
        except UserError as error:
            lines = [line.removeprefix("task.name: ") for line in error.messages]
            raise UserError([f"{self}: its data is missing: {line}" for line in lines]) from None

    def read_finished(self) -> tuple[Config, dict[str, Any]]:
        """The config and the summary of a run that came to its end; UserError, with the way on, for any other."""
        config, summary = self.read_config(), self.read_summary() or {}
        if summary.get("status") == "diverged":
            raise UserError(
                f"{self}: this run diverged at step {summary.get('diverged_at_step')}, so it has no model to go on "
                "from; train another config"
            )
        if summary.get("status") != "complete":
            raise UserError(f"{self}: not finished; the command in {self.command} goes on with it")
        return config, summary

    def read_summary(self) -> dict[str, Any] | None:
        """What the end of the run left, or None if it has not ended; UserError if it was damaged."""
        remedy = "delete it, and train goes on from the last checkpoint"
        summary = self._read_json(self.summary, remedy)
        if summary and summary.get("status") == "complete" and not {"test", "seconds", "steps"} <= summary.keys():
            raise UserError(f"{self.summary}: damaged (complete, but without its results); {remedy}")
        return summary

    def read_environment(self) -> dict[str, Any] | None:
        """What the run was started on, or None if it did not come so far; UserError if it was damaged."""
        return self._read_json(self.environment, "delete it, and train writes it anew")

    def read_pictures(self) -> dict[str, Any]:
        """What `experiments.results.pictures` draws of the test split, by file stem; empty if there is nothing."""
        return self._read_json(self.pictures, "delete it, and train again in another --run-dir to have it back") or {}

    def read_continued(self) -> dict[str, Any] | None:
        """Which run this one goes on from, and where (``run``, ``step``, ``rows``); None if it goes on from none."""
        remedy = "restore it, or train again in another --run-dir"
        values = self._read_json(self.continued, remedy)
        if values is not None and not {"run", "step", "rows"} <= values.keys():
            raise UserError(f"{self.continued}: damaged (without run, step and rows); {remedy}")
        return values

    def _read_json(self, path: Path, remedy: str) -> dict[str, Any] | None:
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}; mend that") from None
        except ValueError as error:
            raise UserError(f"{path}: damaged ({error}); {remedy}") from None
        if not isinstance(values, dict):
            raise UserError(f"{path}: damaged (not a mapping); {remedy}")
        return values

    def refuse_other_data(self, facts: Mapping[str, Any]) -> None:
        """UserError if the run was started on data with another hash than ``facts``, those of its task now, have."""
        data = (self.read_environment() or {}).get("data", {})
        before, now = data.get("sha256") if isinstance(data, dict) else None, facts.get("sha256")
        if before is not None and before != now:
            raise UserError(
                f"{self}: was started on other data (sha256 {str(before)[:10]}... then, {str(now)[:10]}... now); bring "
                f"that data back ({self.environment} names the versions it came with), or train in another --run-dir"
            )

    def inspect(self, config: Config) -> Status:
        """Say whether ``config`` may be trained here, and how; UserError, with the way out, if it may not."""
        if not self.begun():
            return "new"
        self._refuse_wrong_kinds()
        self.refuse_another_config(config)
        summary = self.read_summary() or {}
        if summary.get("status") == "diverged":
            raise UserError(
                f"{self}: this run diverged at step {summary.get('diverged_at_step')}, and would again; {ADVICE} "
                "(another config gets a directory of its own); another --run-dir repeats it"
            )
        return "complete" if summary.get("status") == "complete" else "unfinished"

    def _refuse_wrong_kinds(self) -> None:
        folders = (self.tensorboard, self.checkpoints, self.plots)
        files = (self.config, self.command, self.environment, self.metrics, self.sample, self.pictures, self.summary)
        for path in (*folders, *files, self.continued):
            if path.exists() and path.is_dir() != (path in folders):
                kind = "directory" if path in folders else "file"
                raise UserError(f"{path}: expected a {kind}; move it away, or choose another directory with --run-dir")

    def begin(self, config: BaseModel, command: str) -> None:
        """Write what is known at the start; the files of a resumed run stay as they are."""
        if not self.config.exists():
            write_whole(self.config, configs.to_yaml(config))
        if not self.command.exists():
            write_whole(self.command, command + "\n")


ADVICE = "try a smaller optimizer.learning_rate, optimizer.clip_norm=1.0, or a longer optimizer.warmup_steps"


def find_runs(paths: list[Path]) -> list[RunDirectory]:
    """All run directories at or below ``paths``, in order of their paths; UserError for a path with none."""
    runs: dict[Path, RunDirectory] = {}
    for path in paths:
        below = [
            file.parent for file in sorted(path.rglob("config.yaml")) if directory_kinds.looks_like_a_run(file.parent)
        ]
        if not below:
            directory_kinds.refuse_what_holds_no_run(path)
        for directory in below:
            runs.setdefault(directory.resolve(), RunDirectory(directory))
    return list(runs.values())
