"""Checks ``model.start`` by the configs alone, before JAX is imported."""

import json
from typing import Any

from experiments.config import configs
from experiments.runs.config import Config
from experiments.runs.directory import RunDirectory
from experiments.system.errors import UserError, named_by

KEY = "model.start"
# Options that act only where weights are drawn.
_OF_RANDOM_WEIGHTS = ("update_bias", "forget_bias", "chrono_span")


def check(config: Config) -> Config | None:
    """The config of the run that ``config`` begins with, or None if it begins with none.

    Raises UserError, in one line, if that run is not finished or has other layers.
    """
    if config.model.start is None:
        return None
    run = RunDirectory(config.model.start)
    with named_by(KEY):
        there, _ = run.read_finished()
    old, new = _layers(there), _layers(config)
    different = [key for key in new | old if new.get(key) != old.get(key)]
    if "model.cell.name" in different:
        # Another cell has other options in any case.
        different = [key for key in different if not key.startswith("model.cell.") or key == "model.cell.name"]
    if different:
        here = ", ".join(f"{key}={_shown(new.get(key))}" for key in different)
        raise UserError(
            f"{KEY}: {run}: its layers are others: {', '.join(f'{key}={_shown(old.get(key))}' for key in different)} "
            f"there, {here} here; set the same, or start from another run"
        )
    return there


def _layers(config: Config) -> dict[str, Any]:
    """The settings, by path, that have to agree for weights to mean the same."""
    model = config.model
    cell = configs.flatten(model.cell.model_dump(mode="json"), "model.cell")
    return {key: value for key, value in cell.items() if key.rpartition(".")[2] not in _OF_RANDOM_WEIGHTS} | {
        "model.features": list(model.widths),
        "model.bidirectional": model.bidirectional,
        "model.members": model.members,
        "model.input_features": model.input_features,
        "model.attention": (model.attention or "additive") if config.task.translates else None,
    }


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
