"""Which tasks there are: each registers itself, at the end of its own file."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, get_args

from experiments.tasks.packages import DataSet
from experiments.tasks.task import Task, TaskBlock


class Registered(NamedTuple):
    """The parts of a task."""

    block: type[TaskBlock]
    """Its config block."""
    check_data: Callable[[Any], None]
    """(config) -> None; raises UserError, which says how to get the data, if data is missing. Cheap, loads nothing."""
    build: Callable[[Any], Task]
    """(config) -> the task, its data loaded."""
    data: tuple[DataSet, ...]
    """The data that it reads in installed packages."""


_TASKS: dict[str, Registered] = {}


def register(
    block: type[TaskBlock],
    *,
    check_data: Callable[[Any], None],
    build: Callable[[Any], Task],
    data: Sequence[DataSet] = (),
) -> None:
    """Make a task known by the ``name`` of its config block.

    Raises ValueError if another task has that name, or if the block lacks what every task says of itself.
    """
    where = f"{block.__module__}: {block.__name__}"
    names = get_args(block.model_fields["name"].annotation)
    if len(names) != 1:
        raise ValueError(f'{where}: expected the name of the task as a Literal of one word; write name: Literal["..."]')
    if not hasattr(block, "per_step"):
        raise ValueError(f"{where}: expected per_step; write per_step: ClassVar[bool] = True or False")
    name = names[0]
    if name in _TASKS and _TASKS[name].block is not block:
        raise ValueError(f"{where}: {_TASKS[name].block.__module__} has a task named {name}; choose another name")
    _TASKS[name] = Registered(block, check_data, build, tuple(data))


def registered() -> Iterator[tuple[str, Registered]]:
    """All tasks with their names, in order of the names."""
    return iter(sorted(_TASKS.items()))


def named(name: str) -> Registered:
    """The task of this name."""
    return _TASKS[name]


def data_sets() -> list[tuple[DataSet, list[str]]]:
    """Every set of data, with the names of the tasks that read it."""
    readers: dict[DataSet, list[str]] = {}
    for name, task in registered():
        for data in task.data:
            readers.setdefault(data, []).append(name)
    return list(readers.items())
