"""Training: from a checked config to a finished run directory, resumed where an earlier process stopped.

All of metrics.jsonl is a function of (config, step). The order in a step is: update, row of the training split,
row of the validation split, checkpoint. So the checkpoint of a step knows of all rows up to that step.
"""

import contextlib
import dataclasses
import math
import time
from collections import deque
from typing import Any

import jax
import numpy as np
from rich.console import Console

from experiments.models.backend import backend_taken
from experiments.runs import environment, metrics_log
from experiments.runs.checkpoints import CheckpointWriter, saved_steps
from experiments.runs.config import Config
from experiments.runs.directory import RunDirectory
from experiments.runs.metrics_log import MetricsLog
from experiments.system import whole_files
from experiments.system.interruption import Interruption
from experiments.training import beginnings
from experiments.training.ahead_of_time import compiled
from experiments.training.evaluation import Evaluator
from experiments.training.experiment import Experiment, TrainState, assemble, count_parameters
from experiments.training.progress import ProgressLine

# How many steps may wait for the device: enough that the next batch is made while it computes, and few enough that
# Ctrl-C is answered soon.
_STEPS_AHEAD = 2


@dataclasses.dataclass
class Outcome:
    """How a run, or one process of it, ended."""

    status: str
    """"complete", "interrupted" or "diverged"."""
    exit_code: int
    summary: dict[str, Any]


class _Diverged(Exception):
    """Something is not finite: no checkpoint of this or a later state may be saved."""

    def __init__(self, step: int, what: str):
        super().__init__(f"{what} at step {step}")
        self.step, self.what = step, what


def train(config: Config, name: str, directory: RunDirectory, command: str, console: Console) -> Outcome:
    """Train ``config`` in ``directory`` to the end, or until a signal or a number that is not finite stops it.

    ``name``: the stem of the config file; ``command``: what repeats and resumes the run, for command.txt and messages.
    Raises UserError for a directory that may not be used, before anything in it is changed.
    """
    experiment = assemble(config)
    facts = environment.describe(dict(experiment.task.facts)) | {"backend": backend_taken(experiment.first_layer)}
    with directory.lock():
        # Ask again, now that no other process can be at work here.
        if directory.inspect(config) == "complete":
            return Outcome("complete", 0, directory.read_summary() or {})
        directory.refuse_other_data(experiment.task.facts)
        run = _Run(experiment, name, directory, console)
        directory.begin(config, command)
        run.beginning.adopt(directory)
        # The summary of an interrupted process is no longer true.
        directory.summary.unlink(missing_ok=True)
        run.tell_start(facts)
        outcome = run.go()
        if outcome.status == "interrupted":
            text = f"interrupted after step {outcome.summary['steps']}, with a checkpoint; to go on:\n  {command}"
            console.print(text, soft_wrap=True, markup=False, highlight=False)
        return outcome


class _Run:
    """One process's share of a run: what ``train`` keeps between its phases."""

    def __init__(self, experiment: Experiment, name: str, directory: RunDirectory, console: Console):
        self.experiment, self.config = experiment, experiment.config
        self.name, self.directory, self.console = name, directory, console
        self.evaluator = Evaluator(experiment)
        self.beginning = beginnings.begin(experiment, directory)
        self.state: TrainState = self.beginning.state
        self.start = self.beginning.step
        self.compile_seconds = 0.0
        self.validation: dict[str, float] = {}
        if self.beginning.notice:
            console.print(self.beginning.notice, highlight=False)

    def tell_start(self, facts: dict[str, Any]) -> None:
        """Print what is about to run, and record what it runs on."""
        before = self.directory.read_environment()
        if before is None:
            whole_files.write_json(self.directory.environment, facts | self.beginning.facts())
        else:
            for change in environment.changes(before, facts):
                self.console.print(f"note: not as at the start of the run: {change}", highlight=False)
        task, training = self.experiment.task, self.config.training
        lines = {
            "run": str(self.directory),
            "task": f"{task.name}, {training.steps} steps of {training.batch_size} sequences",
            "model": f"{self.config.model.cell.name} {'-'.join(map(str, self.config.model.widths))}"
            f"{', bidirectional' if self.config.model.bidirectional else ''}, "
            f"{count_parameters(self.state.params):,} parameters",
            "device": f"{facts['device']}, {facts['cores']} cores",
            "backend": f"{facts['backend']}, for {self.experiment.first_layer}",
        }
        for key, value in [*lines.items(), *self.beginning.lines()]:
            self.console.print(f"{key:<7} {value}", soft_wrap=True, markup=False, highlight=False)

    def go(self) -> Outcome:
        """Compile, train, evaluate, and write the summary.

        A signal during the steps stops the run after the step at hand, with a checkpoint; at other times, at once.
        """
        train_step = self._compile()
        with contextlib.ExitStack() as stack:
            tensorboard = self.directory.tensorboard if self.config.logging.tensorboard else None
            self.log = stack.enter_context(MetricsLog(self.directory.metrics, tensorboard, self.start))
            self.checkpoints = stack.enter_context(
                CheckpointWriter(self.directory.checkpoints, self.config.checkpoint.keep)
            )
            progress = stack.enter_context(ProgressLine(self.console, self.start, self.config.training.steps))
            self.began = time.monotonic()
            try:
                with Interruption() as interruption:
                    self._steps(train_step, interruption, progress)
                    # The last checkpoint is not left half written.
                    self.checkpoints.wait()
                if interruption.exit_code is not None:
                    return self._interrupted(interruption.exit_code)
                return self._complete()
            except _Diverged as divergence:
                return self._diverged(divergence)

    def _compile(self) -> Any:
        began = time.monotonic()
        with self.console.status("compiling") if self.console.is_terminal else contextlib.nullcontext():
            step = compiled(self.experiment.step_function(), self.state, self.experiment.train_batch(1))
            self.compile_seconds = time.monotonic() - began
            self.evaluator.prepare(self.state.params, "validation")
        return step

    def _steps(self, train_step: Any, interruption: Interruption, progress: ProgressLine) -> None:
        """Take the steps that are left, or stop at a signal; either way the last step gets a checkpoint."""
        training = self.config.training
        ahead: deque[jax.Array] = deque()
        batch = self.experiment.train_batch(self.start + 1)
        for step in range(self.start + 1, training.steps + 1):
            if interruption.exit_code is not None:
                self._checkpoint(step - 1)
                return
            self.state = train_step(self.state, batch)
            if step < training.steps:
                batch = self.experiment.train_batch(step + 1)
            ahead.append(self.state.step)
            if len(ahead) > _STEPS_AHEAD:
                ahead.popleft().block_until_ready()
            progress.step(step)
            if metrics_log.logs_at(training, step):
                progress.row(self._log_training(step))
            if metrics_log.evaluates_at(training, step):
                progress.row(self._log_validation(step))
            if step % self.config.checkpoint.every == 0 or step == training.steps:
                self._checkpoint(step)

    def _log_training(self, step: int) -> metrics_log.Row:
        self._refuse_divergence()
        every = self.config.training.log_every
        # Rows come at multiples of ``every``, and at the last step of a run: this run may go on from such a step.
        count = step - max((step - 1) // every * every, self.beginning.before.step)
        with jax.numpy_dtype_promotion("standard"):
            learning_rate = self.experiment.schedule(step - 1)
        values = {
            "loss": float(self.state.loss_sum) / count,
            "grad_norm": float(self.state.grad_norm_sum) / count,
            "learning_rate": float(np.asarray(learning_rate)),
        }
        self.state = self.state.forget_sums()
        return self._write(step, "train", values)

    def _log_validation(self, step: int) -> metrics_log.Row:
        self._refuse_divergence()
        self.validation = self.evaluator(self.state.params, "validation")
        row = self._write(step, "validation", self.validation)
        self.state = self.experiment.keep_if_best(self.state, self.validation)
        return row

    def _write(self, step: int, split: str, values: dict[str, float]) -> metrics_log.Row:
        for name, value in values.items():
            if not math.isfinite(value):
                raise _Diverged(step, f"{split} {name} was {value}")
        return self.log.write(step, split, values)

    def _checkpoint(self, step: int) -> None:
        self._refuse_divergence()
        self.log.sync()
        self.checkpoints.save(step, self.state, self._run_seconds())

    def _refuse_divergence(self) -> None:
        step = int(self.state.divergence.step)
        if step:
            loss, grad_norm = float(self.state.divergence.loss), float(self.state.divergence.grad_norm)
            if not math.isfinite(loss):
                raise _Diverged(step, f"the loss was {loss}")
            if not math.isfinite(grad_norm):
                raise _Diverged(step, f"the norm of the gradient was {grad_norm}")
            raise _Diverged(step, "the update made parameters too large for float32")

    def _run_seconds(self) -> float:
        return self.beginning.seconds + time.monotonic() - self.began

    def _complete(self) -> Outcome:
        task = self.experiment.task
        params, origin = self.experiment.parameters_to_report(self.state)
        if not self.validation or origin == "best":
            self.validation = self.evaluator(params, "validation")
        test, confusion = self.evaluator.with_confusion(params, "test")
        assessment = self.evaluator.assess(params)
        if assessment is not None:
            test |= assessment.metrics
        self._write(self.config.training.steps, "test", test)
        test, validation = (
            {name: metrics_log.rounded(value) for name, value in metrics.items()} for metrics in (test, self.validation)
        )
        summary = self._summary("complete", self.config.training.steps) | {
            "parameters_from": origin,
            "test": test,
            "validation": validation,
            "floor": dict(task.floor),
            "floor_note": task.floor_note,
        }
        self.checkpoints.wait()
        if self.state.best is not None:
            summary["best_step"] = int(self.state.best.step)
        if confusion is not None:
            summary |= {"confusion": confusion, "class_names": list(task.class_names)}
        if assessment is not None and assessment.pictures:
            whole_files.write_json(self.directory.pictures, dict(assessment.pictures))
        if task.alphabet:
            summary["sample"] = self._sample(params)
        whole_files.write_json(self.directory.summary, summary)
        return Outcome("complete", 0, summary)

    def _sample(self, params: Any) -> str:
        from experiments.training.sampling import sample

        text = sample(self.experiment.model, params, self.experiment.task, self.config.seed)
        whole_files.write_whole(self.directory.sample, text + "\n")
        return text

    def _interrupted(self, exit_code: int) -> Outcome:
        self.checkpoints.wait()
        summary = self._summary("interrupted", int(self.state.step))
        whole_files.write_json(self.directory.summary, summary)
        return Outcome("interrupted", exit_code, summary)

    def _diverged(self, divergence: _Diverged) -> Outcome:
        self.checkpoints.wait()
        saved = saved_steps(self.directory.checkpoints)
        summary = self._summary("diverged", divergence.step) | {
            "diverged_at_step": divergence.step,
            "reason": divergence.what,
            "last_good_checkpoint": saved[-1] if saved else None,
        }
        whole_files.write_json(self.directory.summary, summary)
        return Outcome("diverged", 1, summary)

    def _summary(self, status: str, steps: int) -> dict[str, Any]:
        compiling = self.compile_seconds + self.evaluator.compile_seconds
        return {
            "status": status,
            "config": self.name,
            "seed": self.config.seed,
            "task": self.experiment.task.name,
            "steps": steps,
            "seconds": {"compile": round(compiling, 2), "run": round(self._run_seconds(), 2)},
            "parameters": count_parameters(self.state.params),
            **beginnings.where_it_began(self.experiment, self.directory),
        }
