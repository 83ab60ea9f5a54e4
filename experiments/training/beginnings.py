"""Where one process of a run begins: at the run's own last checkpoint, at the end of another run, or at step 0.

At step 0 the weights are random, or those of another run (``model.start``).
"""

import dataclasses
from typing import Any

from experiments.runs import continuation, metrics_log
from experiments.runs.checkpoints import restore, saved_steps
from experiments.runs.directory import RunDirectory
from experiments.system.errors import UserError, named_by
from experiments.training.experiment import Experiment, TrainState
from experiments.training.start_weights import Start
from experiments.training.start_weights import begin as begin_with_weights


@dataclasses.dataclass(frozen=True)
class Beginning:
    """What a process begins with."""

    state: TrainState
    step: int = 0
    """How many steps are done."""
    seconds: float = 0.0
    """How long these steps took."""
    before: metrics_log.InheritedRows = metrics_log.NONE_INHERITED
    """What metrics.jsonl has of the run that this one goes on from."""
    origin: continuation.Origin | None = None
    """That run, if its end is where this process begins."""
    start: Start | None = None
    """The weights of another run, if this process begins with them."""
    notice: str = ""
    """A line on what was taken up, or dropped."""

    def adopt(self, directory: RunDirectory) -> None:
        """Write what the run has of the one that it goes on from, once config.yaml is there."""
        if self.origin:
            continuation.write_inherited(self.origin, directory)

    def lines(self) -> list[tuple[str, str]]:
        """Lines for the terminal, each with its heading."""
        told = []
        if self.origin:
            told = [("from", f"{self.origin.directory}, on from step {self.origin.step}")]
            told += [("", f"another from here on: {note}") for note in self.origin.notes]
        return told + [("start", line) for line in (self.start.lines() if self.start else [])]

    def facts(self) -> dict[str, Any]:
        """What environment.json says of the beginning."""
        return {"start": self.start.facts()} if self.start else {}


def begin(experiment: Experiment, directory: RunDirectory) -> Beginning:
    """Take up the latest checkpoint, and cut metrics.jsonl back to it; without one, begin as the config says.

    Raises UserError, before anything is written, for what is damaged, lost or does not fit.
    """
    config, state = experiment.config, experiment.initial_state()
    steps = saved_steps(directory.checkpoints)
    if not steps:
        origin = continuation.check(config, directory)
        _refuse_lost_checkpoints(experiment, directory, origin)
        if origin:
            return _at_the_end_of(origin, experiment, state)
        start = begin_with_weights(experiment, state.params)
        beginning = Beginning(experiment.state_before_training(start.params) if start else state, start=start)
    else:
        restored, seconds = restore(directory.checkpoints, steps[-1], state)
        before = continuation.inherited_rows(directory) if config.training.continue_from else metrics_log.NONE_INHERITED
        beginning = Beginning(restored, steps[-1], seconds, before)
    dropped = metrics_log.cut_back(directory.metrics, config.training, beginning.step, beginning.before)
    if not steps and not dropped:
        return beginning
    notice = f"resuming after step {beginning.step}" if steps else "no checkpoint yet: starting again at step 0"
    rows = f"; {dropped} later row{'s' * (dropped != 1)} of metrics.jsonl dropped" if dropped else ""
    return dataclasses.replace(beginning, notice=notice + rows)


def where_it_began(experiment: Experiment, directory: RunDirectory) -> dict[str, Any]:
    """For the summary: the run that this one goes on from, or whose weights it began with; {} if there is none."""
    if experiment.config.training.continue_from:
        return {"continued": directory.read_continued()}
    start = (directory.read_environment() or {}).get("start")
    return {} if start is None else {"start": start}


def _at_the_end_of(origin: continuation.Origin, experiment: Experiment, like: TrainState) -> Beginning:
    there = origin.directory
    with named_by("--continue"):
        if origin.step not in saved_steps(there.checkpoints):
            raise UserError(f"{there.checkpoints}: no checkpoint of step {origin.step}, the last; put it back")
        there.refuse_other_data(experiment.task.facts)
        state, seconds = restore(there.checkpoints, origin.step, like)
    return Beginning(state, origin.step, seconds, origin.before, origin)


def _refuse_lost_checkpoints(
    experiment: Experiment, directory: RunDirectory, origin: continuation.Origin | None
) -> None:
    """UserError for a run that had come past a checkpoint: its rows are results, so it is not begun again unasked."""
    rows = metrics_log.read(directory.metrics) if directory.metrics.exists() else []
    last = max((row["step"] for row in rows), default=0)
    first = origin.step if origin else 0
    # The process may have been killed while it wrote the first checkpoint; the second waits for the first.
    if last > first + 2 * experiment.config.checkpoint.every:
        raise UserError(
            f"{directory.checkpoints}: empty, though metrics.jsonl reaches step {last}; put the checkpoints back, or "
            f"choose another --run-dir to begin again at step {first}"
        )
