"""Measures all groups of a bench in turn; the results are written after each, and so survive an interruption."""

import os
from collections.abc import Iterator
from typing import NamedTuple

# JAX would take most of a GPU's memory for itself, and leave none to torch.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
from rich.console import Console

from experiments.bench import machine, pages, registry, results
from experiments.bench.directory import BenchDirectory
from experiments.bench.group import Checks, Guard, measure
from experiments.bench.results import Group, Measurement, Results
from experiments.bench.schema import BenchConfig, Option
from experiments.system import whole_files
from experiments.system.interruption import Interruption
from experiments.training.ahead_of_time import need_jit


class Outcome(NamedTuple):
    """How a bench ended."""

    results: Results
    exit_code: int


class _Interrupted(Exception):
    """A signal came, and the group at hand is given up."""


def bench(config: BenchConfig, directory: BenchDirectory, command: str, console: Console) -> Outcome:
    """Measure all that ``config`` asks for into ``directory``, or as much of it as comes before a signal.

    ``command``: what repeats it, for command.txt and bench.json. Raises UserError if another process is at work there.
    """
    need_jit("bench")
    missing = registry.missing(config.contenders)
    with directory.lock():
        directory.begin(config, command)
        for name, reason in missing.items():
            _print(console, f"{name} is left out: {reason}")
        machine.set_precision(config.matmul_precision)
        facts = machine.describe()
        whole_files.write_json(directory.environment, facts)
        measured = Results(
            config=config.model_dump(mode="json"),
            command=command,
            machine=facts,
            contenders=config.contenders,
            baseline=config.baseline,
            missing=missing,
            matmul=machine.matmul_rates(config.matmul_sizes, config.dtype),
        )
        rate = f"{measured.matmul_rate / 1e9:.4g} GFLOP/s in square {config.dtype} products"
        _print(console, f"{facts['cpu']}, {facts['cores']} cores, {facts['device']}: {rate}")
        if facts["load"] > 0.25 * facts["cores"]:
            _print(console, f"the load of this machine is {facts['load']}: other work bends times, torch's most of all")
        with Interruption() as interruption:
            _measure_all(measured, config, directory, interruption, console)
        measured.machine |= machine.torch_facts()
        whole_files.write_json(directory.environment, measured.machine)
        results.write(measured, directory.results)
        pages.write(measured, directory)
    return Outcome(measured, interruption.exit_code or 0)


def _measure_all(
    measured: Results, config: BenchConfig, directory: BenchDirectory, interruption: Interruption, console: Console
) -> None:
    def between() -> None:
        if interruption.exit_code is not None:
            raise _Interrupted

    guards: dict[tuple[str, str, str | None], Guard] = {}
    checks: Checks = {}
    groups = list(_groups(config, measured.missing))
    results.write(measured, directory.results)
    try:
        for number, group in enumerate(groups, start=1):
            _print(console, f"[{number}/{len(groups)}] {_title(group)}")
            guard = guards.setdefault((group.kind, group.mode, group.axis), Guard(config.max_seconds))
            measure(group, config, guard, between, checks)
            measured.groups.append(group)
            results.write(measured, directory.results)
            # The programs of this group are not called again.
            jax.clear_caches()
            for line in _lines(group):
                _print(console, f"    {line}")
    except _Interrupted:
        measured.status = "interrupted"
    else:
        measured.status = "complete"


def _groups(config: BenchConfig, missing: dict[str, str]) -> Iterator[Group]:
    """What is to be measured, in order, without the contenders that are missing."""
    present = [name for name in config.contenders if name not in missing]

    def measurements(options: list[Option]) -> list[Measurement]:
        return [Measurement(name, option) for option in options for name in present]

    for mode in config.modes:
        for shape in config.shapes:
            yield Group("shapes", mode, shape, measurements(["plain"]))
        if config.masked:
            for shape in config.masked.shapes:
                yield Group("masked", mode, shape, measurements(config.masked.options))
    if config.growth:
        for axis, place in (("T", 0), ("B", 1), ("H", 3)):
            for size in getattr(config.growth, axis):
                steps, batch, inputs, features = (
                    size if index == place else fixed for index, fixed in enumerate(config.growth.fixed)
                )
                shape = (steps, batch, inputs, features)
                yield Group("growth", config.growth.mode, shape, measurements(["plain"]), axis)


def _title(group: Group) -> str:
    steps, batch, inputs, features = group.shape
    what = f"growth of {group.axis}" if group.axis else group.kind
    return f"{what}, {group.mode}: T={steps} B={batch} I={inputs} H={features}, {len(group.measurements)} programs"


def _lines(group: Group) -> Iterator[str]:
    """A line for each measurement of a group."""
    for one in group.measurements:
        name = one.contender if one.option == "plain" else f"{one.contender} {one.option}"
        if one.left_out:
            yield f"{name:<24} left out: {one.left_out}"
        else:
            low, high = (1e3 * seconds for seconds in one.quartiles)
            yield f"{name:<24} {1e3 * one.median:9.3f} ms   half of the rounds in {low:.3f} to {high:.3f}"


def _print(console: Console, text: str) -> None:
    console.print(text, soft_wrap=True, markup=False, highlight=False)
