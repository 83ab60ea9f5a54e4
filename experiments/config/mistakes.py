"""Says what pydantic refuses in a config, one line a mistake: the path, what is expected there, and what came instead.

The expectation is read from the schema itself (type, bounds, choices), so that a line cannot disagree with the check.
"""

import difflib
import json
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
import pydantic
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from experiments.config.hints import hint
from experiments.config.schema_keys import choices, members, unknown_key

_TYPES = {int: "an integer", float: "a number", bool: "true or false", str: "text"}
_BOUNDS = {annotated_types.Gt: "gt", annotated_types.Ge: "ge", annotated_types.Lt: "lt", annotated_types.Le: "le"}
_SIGNS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}


def lines_of(
    error: pydantic.ValidationError, schema: type[BaseModel], values: dict[str, Any] | None = None
) -> list[str]:
    """One line for each mistake in ``error``, in the order of the schema; a field is named once.

    ``schema`` is the model of the whole config. ``values`` is the config; its task and cell say which keys it knows.
    """
    lines: dict[str, str] = {}
    for mistake in error.errors():
        path, model, field = _locate(mistake["loc"], schema)
        if mistake["type"] == "extra_forbidden":
            line = unknown_key(str(mistake["loc"][-1]), path, mistake["input"], model, schema, values or {})
        else:
            path, line = _line(mistake, path, field)
        lines.setdefault(path, f"{path}: {line}" if path else line)
    return list(lines.values())


def _line(mistake: Any, path: str, field: FieldInfo | None) -> tuple[str, str]:
    kind, value, context = mistake["type"], mistake["input"], mistake.get("ctx", {})
    if kind == "value_error":
        return path, str(context["error"]) + (hint(value, field) if field else "")
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        names = _tags(field.annotation if field else None)
        if kind == "union_tag_not_found":
            return f"{path}.name", f"missing; expected {_one_of(names)}"
        near = difflib.get_close_matches(str(context["tag"]).lower().replace("-", "_"), names, n=1)
        meant = f'; did you mean "{near[0]}"?' if near else ""
        return f"{path}.name", f"expected {_one_of(names)}, got {_show(value['name'])}{meant}"
    if kind == "missing":
        return path, f"missing; expected {_expected(field)}"
    if field is None:
        return path, f"expected a mapping, got {_show(value)}"
    if value is None:
        return path, f"expected {_expected(field)}, got null (which an empty value is, too)"
    meant = hint(value, field) or _block_of_name(value, path, field)
    return path, f"expected {_expected(field)}, got {_show(value)}{meant}"


def _block_of_name(value: Any, path: str, field: FieldInfo) -> str:
    """The hint that ``optimizer=sgd`` means ``optimizer.name=sgd``, or ``model=lstm`` ``model.cell=lstm``; else ""."""
    for model in members(field.annotation).values() if isinstance(value, str) else ():
        for key, known in model.model_fields.items():
            names = choices(known.annotation)
            near = difflib.get_close_matches(value.lower(), names, n=1)
            if key in ("name", "cell") and near:
                return f"; did you mean {path}.{key}={near[0]}?"
    return ""


def _locate(location: tuple[int | str, ...], schema: type[BaseModel]) -> tuple[str, type[BaseModel], FieldInfo | None]:
    """The dotted path of a mistake, the model that holds its last key, and that key's field (None if unknown).

    Pydantic's location also holds the tag of a union, the branch of a type and the place in a list. A user's path has
    none of these.
    """
    model: type[BaseModel] | None = schema
    holder, path, field = schema, [], None
    for part in location:
        if model is None:
            break
        if field is not None and part in (tagged := members(field.annotation)) and len(tagged) > 1:
            model, field = tagged[str(part)], None
            continue
        if isinstance(part, int):
            continue
        path.append(str(part))
        holder, field = model, model.model_fields.get(str(part))
        models = list(members(field.annotation).values()) if field else []
        model = models[0] if models else None
    return ".".join(path), holder, field


def _tags(annotation: Any) -> list[str]:
    return sorted(members(annotation))


def _expected(field: FieldInfo | None) -> str:
    return _describe(field.annotation, field.metadata) if field else "a mapping"


def _describe(annotation: Any, metadata: list[Any] | tuple[Any, ...] = ()) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _describe(arguments[0], [*arguments[1:], *metadata])
    if origin in (Union, types.UnionType):
        if len(members(annotation)) > 1:
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


def _one_of(choices: list[str]) -> str:
    return choices[0] if len(choices) == 1 else f"one of {', '.join(choices)}"


def _show(value: Any) -> str:
    if isinstance(value, dict | BaseModel):
        return "a mapping"
    try:
        return json.dumps(value, ensure_ascii=False)
    except TypeError:
        return repr(value)
