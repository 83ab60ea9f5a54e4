"""The tasks: what there is to learn. A new task is one file here, with its config, `check_data` and `build`.

Nothing here imports JAX: configs and data are checked before it is loaded.
"""

from types import ModuleType
from typing import Annotated

from pydantic import Field

from experiments.tasks import adding, chars, copying, digits
from experiments.tasks.task import Assessment, Batch, Quantiles, Task, TaskBlock, Tokens, Vectors

TaskConfig = Annotated[
    adding.AddingConfig | chars.CharsConfig | copying.CopyConfig | digits.DigitsConfig,
    Field(discriminator="name"),
]
"""The ``task`` block of a config, told apart by ``name``."""

_MODULES: dict[type[TaskBlock], ModuleType] = {
    adding.AddingConfig: adding,
    chars.CharsConfig: chars,
    copying.CopyConfig: copying,
    digits.DigitsConfig: digits,
}

__all__ = ["Assessment", "Batch", "Quantiles", "Task", "TaskConfig", "Tokens", "Vectors", "build", "check_data"]


def check_data(config: TaskConfig) -> None:
    """Raise UserError, with the way to get it, if the data of the task is missing; cheap, loads nothing."""
    _MODULES[type(config)].check_data(config)


def build(config: TaskConfig) -> Task:
    """Load the data of the task."""
    return _MODULES[type(config)].build(config)
