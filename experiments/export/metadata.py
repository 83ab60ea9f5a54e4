"""What an exported file says of itself: the equations of the cell, and the run that it comes from."""

import json
from typing import Any

import gru_jax
import gru_jax.interop
from experiments.config import configs
from experiments.training.trained import Trained


def metadata(trained: Trained) -> dict[str, str]:
    """Strings by name, "gru_jax.equations" and "experiments.config" among them."""
    experiment = trained.experiment
    task = experiment.task
    record = {f"gru_jax.{key}": text for key, text in gru_jax.interop.describe(_cell_of(experiment.model)).items()}
    record["experiments.config"] = configs.to_yaml(experiment.config)
    record["experiments.parameters"] = f"{trained.origin}, of step {trained.step}"
    if task.class_names:
        record["experiments.class_names"] = json.dumps(task.class_names, ensure_ascii=False)
    if task.alphabet:
        record["experiments.alphabet"] = task.alphabet
    return record


def _cell_of(model: Any) -> gru_jax.Cell:
    return getattr(model, "member", model).cell
