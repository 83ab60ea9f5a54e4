"""Finds the keys of a schema, the models that have them, and the key that may be meant by an unknown one."""

import difflib
import json
import re
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel

# The names that other libraries use -> ours.
_OTHER_NAMES = {
    "lr": "learning_rate",
    "hidden_size": "features",
    "hidden": "features",
    "hidden_dim": "features",
    "units": "features",
    "width": "features",
    "layers": "num_layers",
    "depth": "num_layers",
    "dropout": "dropout_rate",
    "embedding_size": "input_features",
    "embedding_dim": "input_features",
    "epochs": "steps",
    "max_steps": "steps",
    "num_steps": "steps",
    "batch": "batch_size",
    "bs": "batch_size",
    "clip": "clip_norm",
    "grad_clip": "clip_norm",
    "wd": "weight_decay",
    "warmup": "warmup_steps",
    "compute_dtype": "dtype",
    "random_seed": "seed",
    "init_from": "start",
    "pretrained": "start",
}


class Key(NamedTuple):
    """A key somewhere in a schema."""

    path: str
    """With dots, e.g. ``model.cell.update_bias``."""
    owner: str
    """Which of several models has the key, by name, e.g. ``gru``; "" where there is only one model."""


def members(annotation: Any) -> dict[str, type[BaseModel]]:
    """The models that an annotation allows, by their tag (the only value of their ``name``)."""
    found = {}
    for option in _options(annotation):
        if isinstance(option, type) and issubclass(option, BaseModel):
            name = option.model_fields.get("name")
            names = choices(name.annotation) if name else []
            found[names[0] if len(names) == 1 else option.__name__] = option
    return found


def choices(annotation: Any) -> list[str]:
    """The words that an annotation allows: of a Literal, or the tags of its models."""
    if get_origin(annotation) is Literal:
        return [str(choice) for choice in get_args(annotation)]
    tags = members(annotation)
    return sorted(tags) if len(tags) > 1 else []


def unknown_key(
    key: str, path: str, value: Any, model: type[BaseModel], schema: type[BaseModel], values: dict[str, Any]
) -> str:
    """What is wrong with the key at ``path``, which ``model`` does not know, and where it may belong.

    No key is suggested that the config, ``values``, could not have, nor the key that was given.
    """
    known = list(model.model_fields)
    here = f"known here: {', '.join(known)}"
    entry = re.fullmatch(r"(\w+)\s*[:=\s]\s*(\S.*)", key)
    if value is None and entry and entry[1] in known:
        return f'unknown key; an entry is written with a colon and a space: "{entry[1]}: {entry[2]}"'
    everywhere = list(_keys(schema))
    if "." in key and any(one.path == key for one in everywhere):
        first, _, rest = key.partition(".")
        return f"a key of a file has no dots; write {first}: {{{rest.replace('.', ': {')}: ...{'}' * rest.count('.')}}}"
    dotted = key.replace("/", ".").replace(":", ".")
    if dotted != key and any(one.path == dotted for one in everywhere):
        return f'unknown key; did you mean "{dotted}"? {here}'
    other = _OTHER_NAMES.get(key.lower(), key)
    elsewhere = [one for one in everywhere if one.path.rpartition(".")[2] == other and one.path != path]
    possible = list(dict.fromkeys(one.path for one in elsewhere if _is_available(one, values)))
    owners = [one.owner for one in everywhere if one.path == path and one.owner]
    if other in known:
        near = [other]
    elif owners:
        return f"unknown key; {_belongs_to(path, owners, values)}; {here}"
    else:
        close = difflib.get_close_matches(key.lower().replace("-", "_").lstrip("_"), known, n=1, cutoff=0.7)
        near = possible or close or difflib.get_close_matches(key, known, n=1)
    meant = f"did you mean {' or '.join(json.dumps(name) for name in near)}? " if near else ""
    if not near and elsewhere:
        paths = {one.path: [other.owner for other in elsewhere if other.path == one.path] for one in elsewhere}
        return f"unknown key; {' and '.join(_belongs_to(at, them, values) for at, them in paths.items())}; {here}"
    return f"unknown key; {meant}{here}"


def _belongs_to(path: str, owners: list[str], values: dict[str, Any]) -> str:
    block, _, key = path.rpartition(".")
    what = block.rpartition(".")[2]
    name = _name_of(block, values)
    mine = f"{what} {name} has no {key}" if name else f"there is no {key}"
    return f"{mine}, {what}{'s' * (len(owners) > 1)} {_listed(owners)} {'have' if len(owners) > 1 else 'has'} {path}"


def _listed(names: list[str]) -> str:
    names = list(dict.fromkeys(names))
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _is_available(key: Key, values: dict[str, Any]) -> bool:
    return not key.owner or key.owner == _name_of(key.path.rpartition(".")[0], values)


def _name_of(block: str, values: Any) -> str:
    """The name by which a config chooses the model of a block, e.g. "copy" for ``task``; "" if it has none."""
    for part in block.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    name = values.get("name", "gru" if block.endswith("cell") else "") if isinstance(values, dict) else values
    return name if isinstance(name, str) else "gru" if block == "model.cell" else ""


def _keys(schema: type[BaseModel], prefix: str = "", owner: str = "") -> Iterator[Key]:
    for key, field in schema.model_fields.items():
        yield Key(f"{prefix}{key}", owner)
        below = members(field.annotation)
        for name, model in below.items():
            yield from _keys(model, f"{prefix}{key}.", name if len(below) > 1 else owner)


def _options(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) in (Annotated, list):
        yield from _options(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, types.UnionType):
        for option in get_args(annotation):
            yield from _options(option)
    else:
        yield annotation
