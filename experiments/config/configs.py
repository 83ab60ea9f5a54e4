"""From YAML files and dotted overrides to one checked config: base file < file < command line, merged by OmegaConf.

Nothing here imports JAX, so that a mistake is told at once. A ``UserError`` has one line for each mistake.
"""

import difflib
import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import pydantic
import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.config import directory_kinds, yaml_traps
from experiments.config import overrides as command_line
from experiments.config.block import EVERY_KEY
from experiments.config.mistakes import lines_of
from experiments.system.errors import UserError

# Blocks that are one of several models, told apart by `name`: another name starts the block afresh, because the options
# of a chars task or of an LSTM mean nothing to what replaces them.
_NAMED_UNIONS = (("task",), ("model", "cell"))

Schema = TypeVar("Schema", bound=pydantic.BaseModel)


def load(schema: type[Schema], path: str | Path, overrides: Sequence[str] = ()) -> Schema:
    """Read a config file with its bases, apply ``key.path=value`` overrides, and check the result.

    ``schema``: the model of the whole file, e.g. `experiments.runs.config.Config` of a training run. Raises UserError
    for every mistake in the files and the overrides.
    """
    command_line.refuse_before_config(path, overrides)
    layers = [*_file_layers(Path(path)), *([_parse_overrides(overrides)] if overrides else [])]
    values = _merge(layers)
    directory_kinds.refuse_config_of_another_kind(schema, values, path)
    return check(schema, values)


def check(schema: type[Schema], values: dict[str, Any]) -> Schema:
    """Turn plain nested values into a ``schema``, or raise a UserError with one line for each mistake."""
    try:
        return schema.model_validate(values)
    except pydantic.ValidationError as error:
        raise UserError(lines_of(error, schema, values)) from None


def to_yaml(config: pydantic.BaseModel, *, every_key: bool = False) -> str:
    """The resolved config as YAML; loading it gives an equal config.

    ``every_key``: write also the keys that are left out of files where they have their default.
    """
    values = config.model_dump(mode="json", context=EVERY_KEY if every_key else None)
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def fingerprint(config: pydantic.BaseModel) -> str:
    """Ten hex digits that differ when the resolved config differs."""
    values = config.model_dump(mode="json")
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def flatten(values: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one mapping of dotted paths, e.g. ``{"model.cell.name": "gru"}``."""
    if not isinstance(values, dict) or not values:
        return {prefix: values}
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}.{key}" if prefix else str(key))
    return flat


def settings(config: pydantic.BaseModel) -> dict[str, Any]:
    """Every key of a config as a dotted path, with its value; also those that files leave out."""
    return flatten(config.model_dump(mode="json", context=EVERY_KEY))


def differences(there: pydantic.BaseModel, here: pydantic.BaseModel, file: Path) -> list[str]:
    """One line for each key in which ``there``, the config in ``file``, differs from ``here``, the config of now."""
    old, new = settings(there), settings(here)
    return [
        f"{key}: {json.dumps(old.get(key))} in {file}, {json.dumps(new.get(key))} now"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]


def _file_layers(path: Path) -> list[DictConfig]:
    """The config at ``path`` and its chain of bases, the lowest first."""
    layers: list[DictConfig] = []
    chain: list[Path] = []
    while True:
        if path.resolve() in [earlier.resolve() for earlier in chain]:
            raise UserError(f"{chain[-1]}: base: a cycle: {' -> '.join(str(file) for file in [*chain, path])}")
        layer = _read(path, named_by=chain[-1] if chain else None)
        chain.append(path)
        raw: Any = OmegaConf.to_container(layer, resolve=False)
        base = raw.get("base")
        if "base" in raw:
            del layer["base"]
        layers.insert(0, layer)
        if base is None:
            return layers
        if not isinstance(base, str):
            raise UserError(f"{path}: base: expected the path of a config file, relative to this one, got {base!r}")
        path = path.parent / base


def _read(path: Path, named_by: Path | None) -> DictConfig:
    label = f"{named_by}: base: {path}" if named_by else f"{path}"
    if path.is_dir():
        directory_kinds.refuse_directory_as_config(path)
    if not path.exists():
        raise UserError(f"{label}: {_no_such_file(path)}")
    text = ""
    try:
        text = path.read_text(encoding="utf-8")
        traps = yaml_traps.find(text)
        if traps:
            raise UserError([f"{path}:{trap.line}:{trap.column}: {trap.problem}" for trap in traps])
        layer = OmegaConf.load(io.StringIO(text))
    except yaml.MarkedYAMLError as error:
        mark, problem = yaml_traps.problem_of(error, text)
        place = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise UserError(f"{place}: {problem}") from None
    except RecursionError:
        raise UserError(f"{label}: nested too deeply, or in itself (an alias within its anchor)") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{label}: not a YAML text file: {_first_line(error)}") from None
    except OSError as error:
        raise UserError(f"{label}: cannot be read: {error.strerror or _first_line(error)}") from None
    except OmegaConfBaseException as error:
        raise UserError(f"{label}: {_omegaconf_problem(error)}") from None
    if not isinstance(layer, DictConfig):
        raise UserError(f"{label}: expected a mapping of config keys at the top, got a list")
    return layer


def _parse_overrides(overrides: Sequence[str]) -> DictConfig:
    mistakes, layer = [], OmegaConf.create({})
    for override in command_line.parse_overrides(overrides):
        if override.mistake:
            mistakes.append(override.mistake)
            continue
        try:
            layer = _merge_two(layer, OmegaConf.from_dotlist([f"{override.key}={override.value}"]))
        except yaml.YAMLError as error:
            mistakes.append(f"{override}: the value is not YAML: {_yaml_problem(error)}")
        except OmegaConfBaseException as error:
            mistakes.append(f"{override}: {_omegaconf_problem(error)}")
    if mistakes:
        raise UserError(mistakes)
    return layer


def _merge(layers: Sequence[DictConfig]) -> dict[str, Any]:
    merged = OmegaConf.create({})
    try:
        for layer in layers:
            merged = _merge_two(merged, layer)
        values: Any = OmegaConf.to_container(merged, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise UserError(_omegaconf_problem(error)) from None
    return values


def _merge_two(lower: DictConfig, upper: DictConfig) -> DictConfig:
    _delete_replaced(lower, upper)
    merged: Any = OmegaConf.merge(lower, upper)
    return merged


def _delete_replaced(lower: DictConfig, upper: DictConfig, path: tuple[str, ...] = ()) -> None:
    """Delete from ``lower`` what ``upper`` replaces as a whole; the rest of the two may then be merged key by key."""
    for key in list(upper):
        here = (*path, key)
        for layer in (lower, upper) if here in _NAMED_UNIONS else ():
            if isinstance(_child(layer, key), str):
                layer[key] = {"name": _child(layer, key)}
        below, above = _child(lower, key), _child(upper, key)
        if isinstance(below, DictConfig) and isinstance(above, DictConfig):
            names = _child(below, "name"), _child(above, "name")
            if here in _NAMED_UNIONS and None not in names and names[0] != names[1]:
                del lower[key]
            else:
                _delete_replaced(below, above, here)
        elif isinstance(below, DictConfig | ListConfig):
            del lower[key]


def _child(layer: DictConfig, key: str) -> Any:
    """The value under ``key``, or None if it is absent or not yet known (``???`` or an interpolation)."""
    if key not in layer or OmegaConf.is_missing(layer, key) or OmegaConf.is_interpolation(layer, key):
        return None
    return layer[key]


def _no_such_file(path: Path) -> str:
    beside = {file.stem: file for file in sorted(path.parent.glob("*.y*ml"))} if path.parent.is_dir() else {}
    near = difflib.get_close_matches(path.stem, beside, n=1)
    if near:
        return f"no such file; did you mean {beside[near[0]]}?"
    names = ", ".join(file.name for file in beside.values())
    return f"no such file; there: {names}" if names else "no such file"


def _yaml_problem(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError):
        return ", ".join(part for part in (error.problem, error.context) if part)
    return _first_line(error)


def _omegaconf_problem(error: OmegaConfBaseException) -> str:
    problem = _first_line(error)
    if problem.startswith("Missing mandatory value"):
        problem = 'has the value "???", which stands for one that must be given'
    return f"{error.full_key}: {problem}" if error.full_key else problem


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
