"""Says what lies at a path: a training run, a comparison, a bench, a part of one, runs, or something else.

Every command that reads a directory asks here before it reads more, and says what it found. Nothing here imports JAX.
"""

import difflib
import itertools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel

from experiments.system.errors import UserError

Kind = Literal["run", "comparison", "bench"]

CONFIG = "config.yaml"
_NAMES: dict[Kind, str] = {"run": "a training run", "comparison": "a comparison", "bench": "a bench"}
_COMMANDS: dict[Kind, str] = {"run": "train", "comparison": "compare", "bench": "bench"}
# The key at the top of its config, and the file, by which each kind is known; the first kind that fits counts.
_MARKS: dict[Kind, tuple[str, str]] = {
    "comparison": ("compare", "comparison.json"),
    "bench": ("contenders", "bench.json"),
    "run": ("task", "metrics.jsonl"),
}
_RUN_FILES = ("command.txt", "metrics.jsonl", "checkpoints", "summary.json", "environment.json")
_DEPTH = 4
_SHOWN = 3


def kind_of(path: Path) -> Kind | None:
    """The kind of a directory, though it be unfinished or its config damaged; None if it is of no kind."""
    try:
        lines = (path / CONFIG).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError):
        lines = []
    for kind, (key, file) in _MARKS.items():
        # A file counts only where the config is damaged: a run's directory may hold any file, say comparison.json.
        if any(line.startswith(f"{key}:") for line in lines) or (not lines and (path / file).exists()):
            return kind
    return "run" if any((path / name).exists() for name in _RUN_FILES) else None


def looks_like_a_run(path: Path) -> bool:
    """Whether a directory may be of one of the kinds, by its files or a task in its config: `report` looks at these."""
    if any((path / name).exists() for name in ("command.txt", "metrics.jsonl", "checkpoints")):
        return True
    try:
        values = yaml.safe_load((path / CONFIG).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        return False
    return isinstance(values, dict) and "task" in values


def refuse_what_is_no_run(path: Path) -> None:
    """UserError unless ``path`` is a training run's directory; it says what is there, and what to name instead."""
    if problem := _why_no_run(path):
        raise UserError(f"{path}: {problem}")


def refuse_what_holds_another(path: Path, wanted: Kind) -> None:
    """UserError if ``path`` is neither new nor empty nor the directory of a ``wanted`` one: none can be made there."""
    if path.exists() and not path.is_dir():
        raise UserError(f"{path}: is a file; choose another directory with --run-dir")
    found = visible_names(path)
    if not found:
        return
    kind = kind_of(path)
    if kind is not None and kind != wanted:
        raise UserError(f"{path}: holds {_NAMES[kind]}; choose another directory with --run-dir")
    if CONFIG in found:
        if kind is None:
            raise UserError(f"{path}: holds something else (its config.yaml); choose another directory with --run-dir")
        return
    there = f"(found there: {', '.join(found[:5])}{', ...' if found[5:] else ''})"
    what = f"so it is not {'a run' if wanted == 'run' else _NAMES[wanted]}"
    if any(name in found for name in _RUN_FILES):
        raise UserError(
            f"{path}: has no config.yaml, {what}, or one that lost it; put it back, or choose another directory with "
            f"--run-dir {there}"
        )
    if runs := runs_below(path):
        raise UserError(
            f"{path}: has no config.yaml, {what}, but one that holds runs ({_listed(runs)}); choose another directory "
            f"with --run-dir, such as {path / 'new'}"
        )
    raise UserError(f"{path}: has no config.yaml, {what}; choose another directory with --run-dir {there}")


def refuse_what_holds_no_run(path: Path) -> None:
    """UserError for a path without a run in or below it; it says what is there instead."""
    if not path.exists():
        raise UserError(f"{path}: no such directory{_near(path)}")
    if path.is_dir() and kind_of(path) is None and not any((path / name).exists() for name in _RUN_FILES):
        if owner := _enclosing_run(path):
            raise UserError(f"{path}: no run in or below it, but a part of the run {owner}; name that")
        raise UserError(f"{path}: no run in or below it{'' if visible_names(path) else ', which is empty'}")
    refuse_what_is_no_run(path)


def refuse_config_of_another_kind(schema: type[BaseModel], values: Mapping[str, Any], file: str | Path) -> None:
    """UserError if ``values``, read for ``schema``, are the config of another command."""
    for kind, (key, _) in _MARKS.items():
        if key in schema.model_fields or (kind == "run" and values.keys() & {"compare", "contenders"}):
            continue
        if key in values:
            raise UserError(
                f"{file}: the config of {_NAMES[kind]} (it has {key}); run: python -m experiments {_COMMANDS[kind]} "
                f"{file}"
            )
    if "compare" in schema.model_fields and "compare" not in values and "task" in values:
        raise UserError(
            f"{file}: the config of a training run (it has no compare); run: python -m experiments train {file}"
        )


def refuse_directory_as_config(path: Path) -> None:
    """UserError for a directory that is given as a config file, with what to write if it is of one of the kinds."""
    kind = kind_of(path)
    if kind is None:
        raise UserError(f"{path}: a directory, not a config file")
    command = f"python -m experiments {_COMMANDS[kind]} {path / CONFIG} --run-dir {path}"
    raise UserError(f"{path}: the directory of {_NAMES[kind]}, not a config file; to go on with it: {command}")


def runs_below(path: Path) -> list[Path]:
    """Training runs up to three levels below a directory, in order of their paths."""
    patterns = ["/".join(["*"] * depth + [CONFIG]) for depth in range(1, _DEPTH)]
    files = itertools.chain.from_iterable(path.glob(pattern) for pattern in patterns)
    return sorted(file.parent for file in files if kind_of(file.parent) == "run")


def visible_names(path: Path) -> list[str]:
    """The names in a directory, if there is one, but for hidden files: the lock, and drafts that were not renamed."""
    return sorted(entry.name for entry in path.iterdir() if not entry.name.startswith(".")) if path.is_dir() else []


def version_of(path: Path) -> str:
    """The version that a run says it was started by, e.g. ``gru_jax 0.3.0, revision 0123456``; "" if it says none."""
    try:
        facts = json.loads((path / "environment.json").read_text(encoding="utf-8"))
        version, revision = facts["packages"].get("gru_jax"), facts.get("git")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""
    said = [f"gru_jax {version}" if version else "", f"revision {str(revision)[:10]}" if revision else ""]
    return ", ".join(filter(None, said))


def _why_no_run(path: Path) -> str | None:
    if not path.exists():
        return f"no such run directory{_near(path)}"
    if not path.is_dir():
        owner = _enclosing_run(path)
        return f"a file of the run {owner}; name that" if owner else "a file, not a run directory"
    kind = kind_of(path)
    if kind == "comparison":
        runs = runs_below(path)
        if not runs:
            return f"a comparison, of which no run has begun; the command in {path / 'command.txt'} goes on with it"
        return f"a comparison, of many models; name one of its runs: {_listed(runs)}"
    if kind == "bench":
        return "a bench, which keeps no model; name the directory of a training run (plot draws a bench)"
    if (path / CONFIG).exists():
        return None if kind == "run" else "not a run directory: its config.yaml has no task"
    runs = runs_below(path)
    if runs:
        return f"not a run directory, but one of runs; name one of them: {_listed(runs)}"
    owner = _enclosing_run(path)
    if owner:
        return f"a part of the run {owner}; name that"
    if not visible_names(path):
        return f"not a run directory: it is empty; train CONFIG --run-dir {path} makes a run there"
    if any((path / name).exists() for name in _RUN_FILES):
        return (
            f"not a run directory: it has no config.yaml, which it seems to have lost; put it back (config in place of "
            f"train in the command of {path / 'command.txt'} prints it)"
        )
    return "not a run directory: it has no config.yaml"


def _enclosing_run(path: Path) -> Path | None:
    """The run that a path lies in, or None."""
    return next((above for above in itertools.islice(path.parents, _DEPTH) if kind_of(above) == "run"), None)


def _near(path: Path) -> str:
    beside = [entry.name for entry in path.parent.iterdir() if entry.is_dir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, beside, n=1)
    return f"; did you mean {path.parent / near[0]}?" if near else ""


def _listed(paths: Iterable[Path]) -> str:
    paths = list(paths)
    return ", ".join(map(str, paths[:_SHOWN])) + (f", ... ({len(paths)} in all)" if paths[_SHOWN:] else "")
