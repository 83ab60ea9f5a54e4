"""Going on from a finished run to more steps, in a directory of its own.

    python -m experiments train CONFIG training.steps=2000 --continue RUN

The new run begins with the old one's last state and with its rows of metrics; batches and dropout are functions of
(seed, step), so nothing else has to be carried over. continued.json says where it began, and from then on the new
directory needs the old one no more. Nothing here imports JAX.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from experiments.config import configs
from experiments.runs import metrics_log
from experiments.runs.config import Config
from experiments.runs.directory import RunDirectory
from experiments.system import whole_files
from experiments.system.errors import UserError, named_by

_OPTION = "--continue"
# `_MUST_AGREE` decides what state and batches are; `_MAY_DIFFER`, a part of it, acts only at the start, in dropout, in
# searches or in rounding.
_MUST_AGREE = ("seed", "task", "model", "optimizer.name", "training.keep_best")
_MAY_DIFFER = (
    "model.start",
    "model.dropout_rate",
    "model.beam_size",
    "model.length_penalty",
    "model.backend",
    "model.dtype",
    "model.cell.update_bias",
    "model.cell.forget_bias",
    "model.cell.chrono_span",
)
# The optimiser's state is made of other parts with one of these than without.
_SWITCHES = ("optimizer.momentum", "optimizer.clip_norm")


class Origin(NamedTuple):
    """A run that another one goes on from."""

    directory: RunDirectory
    step: int
    """Its last step."""
    rows: bytes
    """Its rows of metrics but for those of the test split."""
    notes: list[str]
    """A line for each setting that is another one from here on."""

    @property
    def before(self) -> metrics_log.InheritedRows:
        """What the new run's metrics have of this run."""
        return metrics_log.InheritedRows(self.step, self.rows.count(b"\n"))


def load(file: Path | None, overrides: Sequence[str], origin: Path | None) -> tuple[Config, str]:
    """The config of ``train [CONFIG] [KEY=VALUE ...] [--continue RUN]``, and its name; without CONFIG it is the run's.

    Raises UserError for a mistake in any of them.
    """
    if origin is None:
        assert file is not None
        return configs.load(Config, file, overrides), file.stem
    run, name = RunDirectory(origin), ""
    if file is not None and "=" in str(file) and not file.exists():
        file, overrides = None, [str(file), *overrides]
    if file is None:
        name = _name_of(run)
    config = configs.load(Config, file or run.config, overrides)
    values = config.model_dump(mode="json")
    values["training"]["continue_from"] = str(origin)
    return configs.check(Config, values), name or (file or run.config).stem


def refuse_itself(config: Config, directory: RunDirectory) -> None:
    """UserError for a run that is to go on in its own directory: another run would take the old one's name."""
    origin = config.training.continue_from
    if origin is not None and Path(origin).resolve() == directory.path.resolve():
        raise UserError(f"{_OPTION}: {origin} is the run itself; choose another directory with --run-dir")


def check(config: Config, directory: RunDirectory) -> Origin | None:
    """The run that ``config`` goes on from in ``directory``, or None if it goes on from none.

    Raises UserError if that run is not finished, is damaged or has another model, or if ``config`` has no more steps.
    """
    if config.training.continue_from is None:
        return None
    refuse_itself(config, directory)
    run = RunDirectory(config.training.continue_from)
    with named_by(_OPTION):
        there, _ = run.read_finished()
        before = _before(run)
        step = there.training.steps
        rows = run.metrics.read_bytes() if run.metrics.exists() else b""
        known = metrics_log.known_rows(run.metrics, there.training, step, before)
    if config.training.steps <= step:
        raise UserError(f"training.steps: expected more than the {step} of {run}, got {config.training.steps}")
    if config.model.start not in (None, there.model.start):
        raise UserError(
            f"model.start: expected none beside {_OPTION}, which keeps the weights of {run}, got {config.model.start}; "
            "leave one of the two out"
        )
    old, new = configs.settings(there), configs.settings(config)
    refused, notes = [], []
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) == new.get(key) or key in ("training.steps", "training.continue_from", "model.start"):
            continue
        said = f"{key}: {json.dumps(old.get(key))} in {run}, {json.dumps(new.get(key))} now"
        (refused if _is_structure(key, old.get(key), new.get(key)) else notes).append(said)
    if refused:
        model = any(line.startswith("model.") for line in refused)
        raise UserError(
            f"{_OPTION}: expected the same task, seed, model and kind of optimiser; {'; '.join(refused)}; set them as "
            f"there{'' if model else f', or begin a new training with its weights: model.start={run}'}"
        )
    kept = b"".join(rows.splitlines(keepends=True)[:known])
    return Origin(run, step, kept, notes)


def inherited_rows(directory: RunDirectory) -> metrics_log.InheritedRows:
    """What a run in progress has of the one that it goes on from; UserError if the record is gone."""
    values = directory.read_continued()
    if values is None:
        raise UserError(f"{directory.continued}: missing; restore it, or train again in another --run-dir")
    return metrics_log.InheritedRows(values["step"], values["rows"])


def write_inherited(origin: Origin, directory: RunDirectory) -> None:
    """Write what the new run has of the old one before its own first step: continued.json, and rows of metrics."""
    values = {"run": str(origin.directory), "step": origin.step, "rows": origin.before.rows}
    whole_files.write_json(directory.continued, values)
    whole_files.write_whole(directory.metrics, origin.rows)


def _name_of(run: RunDirectory) -> str:
    """The name of the config of ``run``; UserError if the run is gone, or this version cannot read it."""
    try:
        run.read_config()
        return (run.read_summary() or {}).get("config") or run.path.resolve().parent.name
    except UserError as error:
        # A run that has begun needs the old one no more, but the command has no config without it.
        gone = "; a run DIR that went on from it: train DIR/config.yaml --run-dir DIR" if not run.path.exists() else ""
        raise UserError([f"{_OPTION}: {line}{gone}" for line in error.messages]) from None


def _before(run: RunDirectory) -> metrics_log.InheritedRows:
    return inherited_rows(run) if run.continued.exists() else metrics_log.NONE_INHERITED


def _is_structure(key: str, old: object, new: object) -> bool:
    if key in _SWITCHES:
        return bool(old) != bool(new)
    return key not in _MAY_DIFFER and any(key == one or key.startswith(f"{one}.") for one in _MUST_AGREE)
