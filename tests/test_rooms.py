"""The rooms of both packages: every import runs down, and each room says what it may import."""

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


def imports(path, package):
    """Every module of ``package`` that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports with their whole names"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name for name in names if name == package or name.startswith(f"{package}."))


def room_of(module, package):
    """The room that a dotted name lies in; what stands in the package itself is in "__init__"."""
    name = module.removeprefix(package).lstrip(".").partition(".")[0]
    folder = CHECKOUT.joinpath(*package.split("."))
    return name if (folder / name).is_dir() or (folder / f"{name}.py").is_file() else "__init__"


@functools.cache
def arrows(package):
    """Pairs of (room, room) and, for each, the pairs of (file, module) behind it."""
    folder, found = CHECKOUT.joinpath(*package.split(".")), {}
    for path in sorted(folder.rglob("*.py")):
        here = path.relative_to(folder).parts[0].removesuffix(".py")
        for module in imports(path, package):
            there = room_of(module, package)
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


@pytest.mark.parametrize("package", ROOMS)
def test_the_rooms_are_all_of_the_package(package):
    folder = CHECKOUT.joinpath(*package.split("."))
    files = {path.stem for path in folder.glob("*.py")}
    folders = {path.name for path in folder.iterdir() if (path / "__init__.py").is_file()}
    assert files | folders == set(ROOMS[package])
    assert package not in PACKAGES or len(files) <= FILES_AT_MOST


@pytest.mark.parametrize("package", PACKAGES)
def test_a_room_says_what_it_may_import(package):
    for room in ROOMS[package]:
        file = CHECKOUT.joinpath(*package.split("."), room, "__init__.py")
        if not file.is_file():
            continue
        text = " ".join(ast.get_docstring(ast.parse(file.read_text())).split())
        said = re.search(r"May import (.*?)\.(?: |$)", text)
        assert said, f"{file} does not say what it may import"
        imported = {there for here, there in arrows(package) if here == room}
        assert set(re.findall(r"`(\w+)`", said[1])) == imported, file
