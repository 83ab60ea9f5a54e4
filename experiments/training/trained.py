"""The parameters that a run reports on, with the experiment they belong to."""

from typing import Any, NamedTuple

import jax

from experiments.runs.checkpoints import restore, restore_as_saved, saved_steps
from experiments.runs.config import Config
from experiments.runs.directory import RunDirectory
from experiments.system.errors import UserError
from experiments.training.experiment import Experiment, assemble


class Trained(NamedTuple):
    """What the last checkpoint of a run holds for those who use the model."""

    experiment: Experiment
    params: Any
    """The variables that `Experiment.model` is applied to."""
    step: int
    """The step that the parameters come from; 0 before the first validation of a run that keeps the best ones."""
    origin: str
    """Which parameters they are: "final" or "best"."""


def restore_trained(config: Config, directory: RunDirectory) -> Trained:
    """Load the data and the last checkpoint of a run, writing nothing.

    Raises UserError if there is no checkpoint, the last one is damaged, or the data is not the run's.
    """
    if not saved_steps(directory.checkpoints):
        raise UserError(f"{directory.checkpoints}: no checkpoint yet; train the run first")
    experiment = assemble(config)
    directory.refuse_other_data(experiment.task.facts)
    trained = last_trained(experiment, directory)
    if trained.step == 0:
        raise UserError(f"{directory}: no validation yet, so no best parameters; train it on past its first eval_every")
    return trained


def last_as_saved(directory: RunDirectory, step: int) -> tuple[Any, int, str]:
    """The params, step and origin of a `Trained` at the checkpoint of ``step``, for those who have no experiment of it.

    The params are nested dicts of NumPy arrays.
    """
    state = restore_as_saved(directory.checkpoints, step)
    best = state.get("best")
    return (best["params"], int(best["step"]), "best") if best else (state["params"], step, "final")


def last_trained(experiment: Experiment, directory: RunDirectory) -> Trained:
    """What the last checkpoint of a run holds; it is a run of ``experiment``, and has at least one checkpoint."""
    step = saved_steps(directory.checkpoints)[-1]
    state, _ = restore(directory.checkpoints, step, jax.eval_shape(experiment.initial_state))
    params, origin = experiment.parameters_to_report(state)
    return Trained(experiment, params, step if state.best is None else int(state.best.step), origin)
