"""What a training step of each variant costs: time, in interleaved rounds of one process, and temporary memory."""

import statistics
import time
from typing import Any, NamedTuple

import jax

from experiments.training.experiment import Experiment

_ROUNDS, _SECONDS = 7, 0.3


class Cost(NamedTuple):
    """What one compiled training step takes."""

    milliseconds: float
    """Median over rounds."""
    mebibytes: float
    """Temporary memory, as the compiler reports it."""


def measure(experiments: dict[str, Experiment]) -> dict[str, Cost]:
    """Run training steps of all experiments in turns, each on its first training batch; returns what a step takes."""
    programs: dict[str, Any] = {}
    counts: dict[str, int] = {}
    for name, experiment in experiments.items():
        state, batch = experiment.initial_state(), experiment.train_batch(1)
        compiled = jax.jit(experiment.step_function()).lower(state, batch).compile()
        programs[name] = (compiled, state, batch)
        _seconds(programs[name], 1)
        counts[name] = max(1, int(_SECONDS / _seconds(programs[name], 1) / _ROUNDS))
    times: dict[str, list[float]] = {name: [] for name in programs}
    names = list(programs)
    for turn in range(_ROUNDS):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            times[name].append(_seconds(programs[name], counts[name]) / counts[name])
    return {
        name: Cost(
            milliseconds=1e3 * statistics.median(times[name]),
            mebibytes=programs[name][0].memory_analysis().temp_size_in_bytes / 2**20,
        )
        for name in names
    }


def _seconds(program: tuple[Any, Any, Any], count: int) -> float:
    compiled, state, batch = program
    began = time.perf_counter()
    for _ in range(count):
        state = compiled(state, batch)
    jax.block_until_ready(state)
    return time.perf_counter() - began
