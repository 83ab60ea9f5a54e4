"""A run, a comparison or a bench on disk: where it lies, and its config.yaml read again.

Errors tell apart a damaged file, a file that another version wrote, and a task that this version does not have.
"""

from pathlib import Path
from typing import Any, TypeVar

import pydantic
import yaml

from experiments.config import configs, directory_kinds
from experiments.config.schema_keys import choices
from experiments.system.errors import UserError

Schema = TypeVar("Schema", bound=pydantic.BaseModel)

_SHOWN = 3


def default_path(config: pydantic.BaseModel, name: str) -> Path:
    """``runs/<name>/<hash of the resolved config>``, below the current directory."""
    return Path("runs") / name / configs.fingerprint(config)


def read(schema: type[Schema], directory: Path) -> Schema:
    """The config in ``directory``, checked as a ``schema``; UserError if this version cannot read it."""
    file = directory / directory_kinds.CONFIG
    values = _values(file)
    try:
        return configs.load(schema, file)
    except UserError as error:
        raise UserError(_explain_other_version(schema, directory, values, error.messages)) from None


def _values(file: Path) -> dict[str, Any]:
    """The mapping in ``file``; UserError if it is damaged or cannot be read."""
    remedy = f"restore it: config in place of train in the command of {file.with_name('command.txt')} prints it"
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}; mend that") from None
    except yaml.MarkedYAMLError as error:
        raise UserError(f"{file}: damaged ({str(error.problem or error.context).strip()}); {remedy}") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise UserError(f"{file}: damaged (not a YAML text file); {remedy}") from None
    if not isinstance(values, dict):
        raise UserError(f"{file}: damaged ({'it is empty' if values is None else 'not a mapping'}); {remedy}")
    return values


def _explain_other_version(
    schema: type[pydantic.BaseModel], directory: Path, values: dict[str, Any], lines: list[str]
) -> str:
    version = directory_kinds.version_of(directory)
    said = f"{version}, says {directory / 'environment.json'}" if version else "which one is not written down"
    task = values.get("task")
    name = task.get("name") if isinstance(task, dict) else task
    known = choices(schema.model_fields["task"].annotation) if "task" in schema.model_fields else []
    if known and isinstance(name, str) and name not in known:
        return (
            f"{directory}: its task {name} is none of this version, whose tasks are {', '.join(known)}; read it with "
            f"the version that trained it ({said})"
        )
    file = directory / directory_kinds.CONFIG
    lines = [line.removeprefix(f"{file}: ") for line in lines]
    more = f"; and {len(lines) - _SHOWN} more" if lines[_SHOWN:] else ""
    return (
        f"{directory}: of another version, or changed since: config.yaml has {'; '.join(lines[:_SHOWN])}{more}; read "
        f"it with the version that wrote it ({said})"
    )
