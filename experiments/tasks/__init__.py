"""The tasks: what there is to learn. A new task is one file here, a member of `TaskConfig`, and a case in `build`.

Nothing here imports JAX: configs and data are checked before it is loaded.
"""

from typing import Annotated

from pydantic import Field

from experiments.tasks import adding, chars, copying, digits
from experiments.tasks.task import Batch, Task, Tokens, Vectors

TaskConfig = Annotated[
    adding.AddingConfig | chars.CharsConfig | copying.CopyConfig | digits.DigitsConfig,
    Field(discriminator="name"),
]
"""The ``task`` block of a config, told apart by ``name``."""

__all__ = ["Batch", "Task", "TaskConfig", "Tokens", "Vectors", "build", "check_data"]


def check_data(config: TaskConfig) -> None:
    """Raise UserError, with the way to get it, if the data of the task is missing; cheap, loads nothing."""
    match config:
        case chars.CharsConfig():
            chars.check_data(config)
        case digits.DigitsConfig():
            digits.check_data(config)


def build(config: TaskConfig) -> Task:
    """Load the data of the task."""
    match config:
        case adding.AddingConfig():
            return adding.build(config)
        case chars.CharsConfig():
            return chars.build(config)
        case copying.CopyConfig():
            return copying.build(config)
        case digits.DigitsConfig():
            return digits.build(config)
