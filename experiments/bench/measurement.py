"""Measures time: all contenders in turn, round after round, so that what disturbs the machine disturbs all alike."""

import contextlib
import gc
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

_MOST_CALLS = 100_000


def seconds_of(run: Callable[[], Any]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def calls_for(seconds: float, one_call: float) -> int:
    """How many calls fill ``seconds``, at least one."""
    return min(max(1, math.ceil(seconds / max(one_call, 1e-9))), _MOST_CALLS)


def interleaved(
    runs: Sequence[Callable[[], Any]],
    calls: Sequence[int],
    rounds: int,
    seed: int,
    between: Callable[[], None],
) -> list[list[float]]:
    """Seconds a call: for each of ``runs`` a list with one number for each round.

    Each round calls every one of ``runs`` ``calls`` times on end, in an order that is shuffled anew. A measurement of
    several calls begins with one that is not counted: the measurement before it has left its own data in the caches,
    and its threads may still wait for work. ``between`` is called before each measurement, and may raise.
    """
    times: list[list[float]] = [[] for _ in runs]
    shuffle = random.Random(seed)
    with _no_garbage_collection():
        for _ in range(rounds):
            for place in shuffle.sample(range(len(runs)), len(runs)):
                between()
                run, count = runs[place], calls[place]
                if count > 1:
                    run()
                start = time.perf_counter()
                for _ in range(count):
                    run()
                times[place].append((time.perf_counter() - start) / count)
    return times


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
