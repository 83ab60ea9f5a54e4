"""One group of a bench: its contenders built, compiled, checked, calibrated, and then measured in turn."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from experiments.bench import contenders
from experiments.bench.contenders.program import Call, Program
from experiments.bench.measurement import calls_for, interleaved, seconds_of
from experiments.bench.problem import Problem, flops
from experiments.bench.reference import largest_difference, reference
from experiments.bench.results import Group, Measurement
from experiments.bench.schema import BenchConfig, Mode, Option, Shape


class Guard:
    """Remembers which contenders were too slow already, for problems of one kind and any size.

    Work is counted in operations, which grow with every size of a problem.
    """

    def __init__(self, max_seconds: float):
        self._max_seconds = max_seconds
        self._slow: dict[tuple[str, Option], tuple[int, str]] = {}

    def refuses(self, one: Measurement, work: int) -> str | None:
        """Why ``one`` should not be run on a problem of this ``work``; None if it may."""
        least, reason = self._slow.get((one.contender, one.option), (0, ""))
        return f"too slow: {reason}" if reason and work >= least else None

    def refuses_to_repeat(self, one: Measurement, work: int, shape: tuple[int, ...], seconds: float) -> str | None:
        """As `refuses`, now that one call took ``seconds``; a refusal is remembered for larger problems."""
        if seconds <= self._max_seconds:
            return None
        reason = f"one call took {seconds:.3g} s at {list(shape)}, more than max_seconds={self._max_seconds:g}"
        if work < self._slow.get((one.contender, one.option), (work + 1, ""))[0]:
            self._slow[one.contender, one.option] = work, reason
        return f"too slow: {reason}"


class _Ready(NamedTuple):
    """A measurement that lacks only its rounds, and the call to time."""

    one: Measurement
    call: Call


class Check(NamedTuple):
    """A contender compared with the reference on one problem."""

    difference: float
    """The largest difference of an output from the reference."""
    loss: float
    """The loss of the reference's outputs."""


Checks = dict[tuple[str, Shape, Option], Check]
"""By contender, shape and option. Checks of "forward" serve "training" too, whose programs return no outputs."""


class References:
    """The outputs expected on one problem, once for each form of the GRU: contenders differ in equations and biases."""

    def __init__(self) -> None:
        self._known: dict[Any, np.ndarray] = {}

    def of(self, program: Program) -> np.ndarray:
        """What the contender's own weights and equations must give, in float64."""
        biases = program.weights.b_h[-program.problem.features :].any()
        key = (program.problem.option, program.reset_after, bool(biases))
        if key not in self._known:
            self._known[key] = reference(program.problem, program.weights, reset_after=program.reset_after)
        return self._known[key]


def tolerance(config: BenchConfig) -> float:
    """How far a contender's outputs may lie from the reference before it counts as computing something else."""
    return 1e-3 if config.dtype == "float32" and config.matmul_precision != "tensorfloat32" else 5e-2


def measure(
    group: Group,
    config: BenchConfig,
    guard: Guard,
    between: Callable[[], None],
    checks: Checks | None = None,
) -> None:
    """Fill in the measurements of ``group``; what cannot be measured says why in ``left_out``.

    ``between`` is called now and then; if it raises, the group stays without times. ``checks`` holds the checks of
    earlier groups, and gets those made here.
    """
    ready: list[_Ready] = []
    references = References()
    checks = {} if checks is None else checks
    problems: dict[Option, Problem] = {}
    for one in group.measurements:
        between()
        problem = problems.setdefault(
            one.option, Problem(group.shape, dtype=config.dtype, seed=config.seed).with_option(one.option)
        )
        one.left_out = guard.refuses(one, flops(problem, group.mode))
        if one.left_out:
            continue
        try:
            call = _prepare(one, problem, group.mode, config, guard, references, checks)
        except Exception as error:
            # An error of another library is reported with its type, and the other contenders go on.
            one.left_out = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
            continue
        if call is not None:
            ready.append(_Ready(one, call))
    times = interleaved(
        [call.run for _, call in ready],
        [one.calls or 1 for one, _ in ready],
        config.rounds,
        config.seed,
        between,
    )
    for (one, _), rounds in zip(ready, times, strict=True):
        one.rounds = rounds


def _prepare(
    one: Measurement,
    problem: Problem,
    mode: Mode,
    config: BenchConfig,
    guard: Guard,
    references: References,
    checks: Checks,
) -> Call | None:
    """Bring ``one`` to where only the rounds are left; None, with ``left_out`` saying why, if it does not get there."""
    program = contenders.build(one.contender, problem)
    one.note, one.computed = program.note, program.problem.option
    if one.option != "plain" and one.computed == "plain":
        one.left_out = program.note
        return None
    one.flops = work = flops(program.problem, mode)
    calls: list[Call] = []
    seconds = seconds_of(lambda: calls.append(program.compile(mode)))
    (call,) = calls
    one.compile_seconds = seconds if call.compiled else None
    one.temporary_bytes = call.temporary_bytes
    gigabytes = (call.temporary_bytes or 0) / 2**30
    if gigabytes > config.max_gigabytes:
        one.left_out = (
            f"needs {gigabytes:.3g} GiB of temporary memory, more than max_gigabytes={config.max_gigabytes:g}"
        )
        return None
    returned: list[Any] = []
    one.first_call_seconds = seconds_of(lambda: returned.append(call.run()))
    one.left_out = guard.refuses_to_repeat(one, work, problem.shape, one.first_call_seconds)
    if one.left_out:
        return None
    one.difference = _difference(one.contender, program, mode, returned.pop(), references, checks)
    if not one.difference <= tolerance(config):
        one.left_out = (
            f"computes something else: its results differ from the reference by {one.difference:.2g}, "
            f"more than {tolerance(config):g}"
        )
        one.difference = min(one.difference, float(np.finfo(np.float32).max))
        return None
    one.calls = calls_for(config.seconds_per_measurement, seconds_of(call.run))
    return call


def _difference(
    name: str, program: Program, mode: Mode, returned: Any, references: References, checks: Checks
) -> float:
    """The largest difference from the reference, of the outputs or of the loss."""
    key = (name, program.problem.shape, program.problem.option)
    if key not in checks:
        expected = references.of(program)
        outputs = program.ys(returned if mode == "forward" else program.compile("forward").run())
        loss = np.square(expected).sum() / program.problem.outputs
        checks[key] = Check(largest_difference(program.problem, outputs, expected), float(loss))
    check = checks[key]
    off = abs(float(returned[0]) - check.loss) if mode == "training" else 0.0
    return float(np.nan_to_num(max(check.difference, off), nan=np.inf, posinf=np.inf))
