"""What pydantic refuses about a config, one line a mistake: the path, what is expected there, and what came instead.

The expectation is read from the schema itself (type, bounds, choices), so that a line cannot disagree with the check.
"""

import difflib
import json
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
import pydantic
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from experiments.schema import Config

_TYPES = {int: "an integer", float: "a number", bool: "true or false", str: "text"}
_BOUNDS = {annotated_types.Gt: "gt", annotated_types.Ge: "ge", annotated_types.Lt: "lt", annotated_types.Le: "le"}
_SIGNS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}


def lines_of(error: pydantic.ValidationError, schema: type[BaseModel] = Config) -> list[str]:
    """One line for each mistake in ``error``, in the order of the schema; a field is named once.

    ``schema``: the model of the whole config that was refused.
    """
    lines: dict[str, str] = {}
    for mistake in error.errors():
        path, model, field = _locate(mistake["loc"], schema)
        path, line = _line(mistake, path, model, field, schema)
        lines.setdefault(path, f"{path}: {line}" if path else line)
    return list(lines.values())


def _line(
    mistake: Any, path: str, model: type[BaseModel], field: FieldInfo | None, schema: type[BaseModel]
) -> tuple[str, str]:
    kind, value, context = mistake["type"], mistake["input"], mistake.get("ctx", {})
    if kind == "extra_forbidden":
        return path, _unknown_key(path, model, schema)
    if kind == "value_error":
        return path, str(context["error"])
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        names = _tags(field.annotation if field else None)
        if kind == "union_tag_not_found":
            return f"{path}.name", f"missing; expected {_one_of(names)}"
        near = difflib.get_close_matches(context["tag"], names, n=1)
        hint = f'; did you mean "{near[0]}"?' if near else ""
        return f"{path}.name", f"expected {_one_of(names)}, got {_show(value['name'])}{hint}"
    if kind == "missing":
        return path, f"missing; expected {_expected(field)}"
    if field is None:
        return path, f"expected a mapping, got {_show(value)}"
    return path, f"expected {_expected(field)}, got {_show(value)}"


def _locate(location: tuple[int | str, ...], schema: type[BaseModel]) -> tuple[str, type[BaseModel], FieldInfo | None]:
    """The dotted path of a mistake, the model that holds its last key, and that key's field (None if unknown).

    Pydantic puts the tag of a union, the branch of a type or the place in a list into the location too: a user's path
    has none of these.
    """
    model: type[BaseModel] | None = schema
    holder, path, field = schema, [], None
    for part in location:
        if model is None:
            break
        if field is not None and part in (members := _members(field.annotation)) and len(members) > 1:
            model, field = members[str(part)], None
            continue
        if isinstance(part, int):
            continue
        path.append(str(part))
        holder, field = model, model.model_fields.get(str(part))
        models = list(_members(field.annotation).values()) if field else []
        model = models[0] if models else None
    return ".".join(path), holder, field


def _members(annotation: Any) -> dict[str, type[BaseModel]]:
    """The models that an annotation allows, by their tag (the only value of their ``name``)."""
    members = {}
    for option in _options(annotation):
        if isinstance(option, type) and issubclass(option, BaseModel):
            name = option.model_fields.get("name")
            names = get_args(name.annotation) if name and get_origin(name.annotation) is Literal else ()
            members[str(names[0]) if len(names) == 1 else option.__name__] = option
    return members


def _tags(annotation: Any) -> list[str]:
    return sorted(_members(annotation))


def _options(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) in (Annotated, list):
        yield from _options(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, types.UnionType):
        for option in get_args(annotation):
            yield from _options(option)
    else:
        yield annotation


def _expected(field: FieldInfo | None) -> str:
    return _describe(field.annotation, field.metadata) if field else "a mapping"


def _describe(annotation: Any, metadata: list[Any] | tuple[Any, ...] = ()) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _describe(arguments[0], [*arguments[1:], *metadata])
    if origin in (Union, types.UnionType):
        if len(_members(annotation)) > 1:
            return f"a mapping whose name is {_one_of(_tags(annotation))}"
        parts = [_describe(option, metadata) for option in arguments if option is not type(None)]
        if parts and all(part == parts[0] for part in parts):
            parts = parts[:1]
        return " or ".join([*parts, *(["null"] if type(None) in arguments else [])])
    if origin is Literal:
        return _one_of([str(choice) for choice in arguments])
    if origin in (tuple, list):
        least = next((item.min_length for item in metadata if isinstance(item, annotated_types.MinLen)), 0)
        return f"a list{f' of at least {least}' if least else ''}, each of it {_describe(arguments[0])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "a mapping"
    return " ".join([_TYPES.get(annotation, "another value"), *([_bounds(metadata)] if metadata else [])]).strip()


def _bounds(metadata: list[Any] | tuple[Any, ...]) -> str:
    constraints = [item for meta in metadata for item in (meta.metadata if isinstance(meta, FieldInfo) else [meta])]
    bounds = {_BOUNDS[type(item)]: item for item in constraints if type(item) in _BOUNDS}
    return " and ".join(f"{_SIGNS[name]} {getattr(item, name)}" for name, item in bounds.items())


def _unknown_key(path: str, model: type[BaseModel], schema: type[BaseModel]) -> str:
    key = path.rpartition(".")[2]
    known = list(model.model_fields)
    near = difflib.get_close_matches(key, known, n=1) or _paths_ending_in(key, schema)
    hint = f"did you mean {' or '.join(json.dumps(name) for name in near)}? " if near else ""
    return f"unknown key; {hint}known here: {', '.join(known)}"


def _paths_ending_in(key: str, schema: type[BaseModel]) -> list[str]:
    """Where else in the config a key of this name is known, e.g. ``steps`` under ``training.steps``."""
    blocks = {name: _members(field.annotation).values() for name, field in schema.model_fields.items()}
    return [f"{name}.{key}" for name, models in blocks.items() if any(key in model.model_fields for model in models)]


def _one_of(choices: list[str]) -> str:
    return choices[0] if len(choices) == 1 else f"one of {', '.join(choices)}"


def _show(value: Any) -> str:
    if isinstance(value, dict | BaseModel):
        return "a mapping"
    try:
        return json.dumps(value, ensure_ascii=False)
    except TypeError:
        return repr(value)
