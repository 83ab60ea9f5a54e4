"""The shape of the package: what importing it costs, which floor sees which, and that its examples run."""

import ast
import doctest
import importlib
import json
import pkgutil
import re
import subprocess
import sys

import pytest

import gru_jax
from tests.places import CHECKOUT


def imports(path):
    """Every module that a file imports, dotted."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_only_its_room_imports_flax():
    for path in (CHECKOUT / "gru_jax").rglob("*.py"):
        if path.relative_to(CHECKOUT / "gru_jax").parts[0] != "_flax":
            assert not any(name.split(".")[0] == "flax" for name in imports(path)), f"{path} imports flax"


def test_backends_do_not_know_each_other():
    for name, other in (("scan", "fused"), ("fused", "scan")):
        for found in imports(CHECKOUT / "gru_jax" / "_backends" / f"{name}.py"):
            assert not found.startswith(f"gru_jax._backends.{other}")


# A kernel is part of the package: what it stands on is not public.
OF_THE_SEAM = (CHECKOUT / "tests" / "backends", CHECKOUT / "tests" / "throwaway_kernel.py")


def test_experiments_and_tests_use_public_names_only():
    for folder in ("experiments", "tests"):
        for path in (CHECKOUT / folder).rglob("*.py"):
            if any(path.is_relative_to(place) for place in OF_THE_SEAM):
                continue
            hidden = [name for name in imports(path) if re.match(r"gru_jax\._", name or "")]
            assert not hidden, f"{path} imports {hidden}"


def test_importing_costs_little_beyond_jax():
    code = """
import json, sys, time
import jax, jax.numpy
# Of the processor: what other processes take is not the package's.
start = time.process_time()
import gru_jax
seconds = time.process_time() - start
heavy = [name for name in ("flax", "optax", "chex", "torch", "keras", "onnx", "matplotlib") if name in sys.modules]
print(json.dumps([seconds, heavy]))
"""
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=CHECKOUT
    ).stdout
    seconds, heavy = json.loads(printed)
    assert heavy == []
    assert seconds < 0.3


def test_public_names_exist_and_are_documented():
    for name in gru_jax.__all__:
        assert getattr(gru_jax, name).__doc__, name
    assert set(gru_jax.__all__) <= set(dir(gru_jax))


MODULES = ["gru_jax", *(m.name for m in pkgutil.walk_packages(gru_jax.__path__, "gru_jax."))]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name):
    module = importlib.import_module(name)
    result = doctest.testmod(module, extraglobs={"gru_jax": gru_jax}, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    count = sum(len(test.examples) > 0 for name in MODULES for test in finder.find(importlib.import_module(name)))
    assert count >= 8


def test_examples_in_the_readme_run():
    """Every python block, in order, in one namespace; `>>>` is not needed, so asserts in them do the checking."""
    blocks = re.findall(r"```python\n(.*?)```", (CHECKOUT / "README.md").read_text(), re.DOTALL)
    assert blocks
    namespace = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), namespace)


def test_configs_named_in_the_readme_exist():
    text = (CHECKOUT / "README.md").read_text()
    for path in re.findall(r"configs/[\w./-]+\.yaml", text):
        assert (CHECKOUT / path).is_file(), path
