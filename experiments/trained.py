"""The parameters that a run reports on, with the experiment they belong to."""

from typing import Any, NamedTuple

import jax

from experiments.checkpoints import restore, saved_steps
from experiments.errors import UserError
from experiments.experiment import Experiment, assemble
from experiments.run_directory import RunDirectory
from experiments.schema import Config


class Trained(NamedTuple):
    """What the last checkpoint of a run holds for those who use the model."""

    experiment: Experiment
    params: Any
    """The variables that `Experiment.model` is applied to."""
    step: int
    """That the parameters come from."""
    origin: str
    """Which they are: "final" or "best"."""


def restore_trained(config: Config, directory: RunDirectory) -> Trained:
    """Load the data and the last checkpoint of a run, writing nothing.

    Raises UserError if there is no checkpoint, the last one is damaged, or the data is not the run's.
    """
    steps = saved_steps(directory.checkpoints)
    if not steps:
        raise UserError(f"{directory.checkpoints}: no checkpoint yet; train the run first")
    experiment = assemble(config)
    directory.refuse_other_data(experiment.task.facts)
    like = jax.eval_shape(experiment.initial_state)
    state, _ = restore(directory.checkpoints, steps[-1], like)
    if state.best is not None and not int(state.best.step):
        raise UserError(f"{directory}: no validation yet, so no best parameters; train it on past its first eval_every")
    params, origin = experiment.parameters_to_report(state)
    return Trained(experiment, params, steps[-1] if state.best is None else int(state.best.step), origin)
