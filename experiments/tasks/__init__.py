"""The tasks: what there is to learn, from which data, with which floor. May import `config` and `system`.

A new task is one new file in a folder here, with its config block, `check_data` and `build`, and `register` at its end.
Nothing here imports JAX: configs and data are checked before JAX is loaded.
"""

import importlib
import pkgutil
from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from experiments.tasks.registry import named, registered
from experiments.tasks.task import Assessment, Batch, Quantiles, Task, TaskBlock


def _import_tasks() -> None:
    for module in pkgutil.walk_packages(__path__, f"{__name__}."):
        # Tasks lie in folders; what lies beside the folders serves them.
        if module.name.count(".") > __name__.count(".") + 1:
            importlib.import_module(module.name)


_import_tasks()
if TYPE_CHECKING:
    TaskConfig = TaskBlock
else:
    TaskConfig = Annotated[Union[tuple(task.block for _, task in registered())], Field(discriminator="name")]  # noqa: UP007
"""The ``task`` block of a config, told apart by ``name``."""

__all__ = ["Assessment", "Batch", "Quantiles", "Task", "TaskConfig", "build", "check_data"]


def check_data(config: TaskConfig) -> None:
    """Raise UserError, which says how to get the data, if the task's data is missing; cheap, loads nothing."""
    named(config.name).check_data(config)


def build(config: TaskConfig) -> Task:
    """Load the data of the task."""
    return named(config.name).build(config)
