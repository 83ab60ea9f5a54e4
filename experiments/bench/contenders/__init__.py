"""The contenders, one file each: the weights of a problem in the library's own layout, and the call its users make.

Every file but ``program`` has a ``build`` that takes a `Problem` and returns a `Program`.
"""

import importlib

from experiments.bench import registry
from experiments.bench.contenders.program import Program
from experiments.bench.problem import Problem


def build(name: str, problem: Problem) -> Program:
    """The contender of this name, ready to be compiled; whatever its library raises passes through."""
    variant = registry.variant_of(name)
    if variant is not None:
        from experiments.bench.contenders.ours import build as build_ours

        return build_ours(problem, variant)
    return importlib.import_module(f"experiments.bench.contenders.{name}_gru").build(problem)
