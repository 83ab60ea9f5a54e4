"""The rooms of both packages: every import runs down, and each room says what it may import.

Imports are read as they are written; a module that is named in a string, for importlib, is not seen.
"""

import ast
import functools
import re

import pytest

from tests.places import CHECKOUT

ROOMS = {
    "gru_jax": [
        *("_cells", "_backends", "_scan", "_attention", "_layers", "_decoding", "_flax"),
        *("interop", "export", "linen", "nnx", "__init__"),
    ],
    "experiments": [
        *("__init__", "system", "config", "tasks", "runs", "models", "training", "results"),
        *("floors", "export", "compare", "bench", "arguments", "pooled_folds", "cli", "__main__"),
    ],
    "experiments.tasks": [
        *("packages", "rdatasets_tables", "inputs", "task", "registry", "logistic", "ridge", "risk_scores"),
        *("text", "translation", "summaries", "images", "video", "speech", "series", "motion", "health", "music"),
        *("synthetic", "data_table", "__init__"),
    ],
}
"""From the lowest to the highest; a room is a file or a folder of its package."""
PACKAGES = ("gru_jax", "experiments")
FILES_AT_MOST = 8
"""That lie directly in one of these."""


def imports(path):
    """Every module that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports with their whole names"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(module, package):
    """The room that a dotted name lies in; what stands in the package itself is in "__init__"."""
    name = module.removeprefix(package).lstrip(".").partition(".")[0]
    folder = CHECKOUT.joinpath(*package.split("."))
    return name if name and ((folder / name).is_dir() or (folder / f"{name}.py").is_file()) else "__init__"


@functools.cache
def arrows(package):
    """Pairs of (room, room) and, for each, the pairs of (file, module) behind it."""
    folder, found = CHECKOUT.joinpath(*package.split(".")), {}
    for path in sorted(folder.rglob("*.py")):
        here = path.relative_to(folder).parts[0].removesuffix(".py")
        for module in imports(path):
            there = room_of(module, package) if f"{module}.".startswith(f"{package}.") else here
            if there != here:
                found.setdefault((here, there), []).append((path.relative_to(CHECKOUT), module))
    return found


@pytest.mark.parametrize("package", ROOMS)
def test_imports_run_down(package):
    order = ROOMS[package]
    up = [
        f"{path} imports {module}, which is no lower"
        for (here, there), pairs in arrows(package).items()
        if order.index(there) >= order.index(here)
        for path, module in pairs
    ]
    assert not up, "\n".join(up)


def test_the_library_knows_neither_experiments_nor_tests():
    for path in sorted((CHECKOUT / "gru_jax").rglob("*.py")):
        above = [module for module in imports(path) if module.partition(".")[0] in ("experiments", "tests")]
        assert not above, f"{path} imports {above}"


@pytest.mark.parametrize("package", ROOMS)
def test_the_rooms_are_all_of_the_package(package):
    folder = CHECKOUT.joinpath(*package.split("."))
    files = {path.stem for path in folder.glob("*.py")}
    folders = {path.name for path in folder.iterdir() if any(path.glob("*.py"))}
    assert files | folders == set(ROOMS[package])
    assert package not in PACKAGES or len(files) <= FILES_AT_MOST


@pytest.mark.parametrize("package", ROOMS)
def test_a_room_says_what_it_is_for_and_what_it_may_import(package):
    for room in ROOMS[package]:
        folder = CHECKOUT.joinpath(*package.split("."), room)
        if not folder.is_dir():
            continue
        file = folder / "__init__.py"
        text = " ".join((ast.get_docstring(ast.parse(file.read_text())) or "").split())
        purpose, sentence, rest = text.partition("May import ")
        assert len(purpose) > 20, f"{file}: say in one sentence what the room is for"
        if package in PACKAGES:
            said = set(re.findall(r"`(\w+)`", rest.partition(".")[0]))
            imported = {there for here, there in arrows(package) if here == room}
            assert sentence, f"{file}: say what the room may import"
            assert said == imported, f"{file}: may import {sorted(said)}, imports {sorted(imported)}"
