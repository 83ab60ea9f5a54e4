"""All that is chosen by platform, in one table: which backend "auto" takes, and how pure JAX runs a GRU.

`ROWS` was chosen by reason, `SETTINGS` by measurement:

- "cpu": XLA:CPU, two cores with AVX-512, float32, jax 0.10.2.
- "gpu": one NVIDIA H200, float32 with products in TF32 and bfloat16, jax 0.11.2, six shapes (T, B, I, H) from (128, 8,
  32, 32) to (1024, 16, 768, 768). Against the settings of "cpu", geometric means: forward 1.63 times as fast (1.80 in
  bfloat16), training 1.72 (1.78), there with an unroll of 4 in both loops. An unroll of 8 in both gains another 3 %
  (6 %); how much longer that compiles was not measured.
- "tpu" and "rocm" take the settings of "gpu" and were not measured: there, too, launches cost more than arithmetic.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax

from gru_jax._backends.backend import BACKENDS, Backend, Problem

# The name of the setting that `jax.default_device` changes.
DEFAULT_DEVICE = "jax_default_device"


class Row(NamedTuple):
    """`cell` on `platform` over at most `steps` steps runs on `backend`; "*" stands for any, None for any number."""

    cell: str
    platform: str
    backend: str
    steps: int | None = None


# "auto" takes the first row that fits and whose backend can serve the problem.
ROWS: tuple[Row, ...] = (
    # A single step needs no loop and half the products: it skips what the linear recurrence prepares.
    Row(cell="gru", platform="*", steps=1, backend="scan"),
    Row(cell="gru", platform="*", backend="fused"),
    Row(cell="*", platform="*", backend="scan"),
)


def rows_for(problem: Problem) -> Iterator[Row]:
    """The rows that fit, first things first; a number of steps that is not known counts as many."""
    few = problem.steps if isinstance(problem.steps, int) else math.inf
    for row in ROWS:
        fits = row.cell in ("*", problem.cell.name) and row.platform in ("*", problem.platform)
        if fits and (row.steps is None or few <= row.steps):
            yield row


def backends_for(problem: Problem) -> Iterator[Backend]:
    """What "auto" may take: the backends of the rows that fit, without those that refuse; first things first."""
    backends = (BACKENDS[row.backend] for row in rows_for(problem))
    return (backend for backend in backends if not backend.refuses(problem))


class Chunking(NamedTuple):
    """How a run is cut in time.

    Attributes:
      steps: how many a chunk has.
      keeps_p: whether the backward pass finds p, or computes it again.
    """

    steps: Any
    keeps_p: bool


class Settings(NamedTuple):
    """How pure JAX runs a GRU.

    Attributes:
      wide_projection: whether the projections of r, z and n are one array, or one each.
      unroll: steps in an iteration of the loop over states.
      tangents_unroll: the same for the loop over their tangents.
      directions_apart: whether the derivative takes lanes of both directions apart, whatever its chunks.
      whole_bytes: a run that needs no more memory than this for its derivative is one chunk; None: the rule of
        `_cache_chunks`.
      chunk_bytes: what a chunk of a longer run may need.
    """

    wide_projection: bool
    unroll: int
    tangents_unroll: int
    directions_apart: bool
    whole_bytes: int | None = None
    chunk_bytes: int = 0


_LAUNCHED = Settings(
    wide_projection=True,
    unroll=8,
    tangents_unroll=4,
    directions_apart=False,
    whole_bytes=4 * 2**30,
    chunk_bytes=2**30,
)
SETTINGS = {
    "cpu": Settings(wide_projection=False, unroll=1, tangents_unroll=1, directions_apart=True),
    "gpu": _LAUNCHED,
    "rocm": _LAUNCHED,
    "tpu": _LAUNCHED,
}


def settings_for(platform: str | None) -> Settings:
    """The settings of a platform; of "cpu" for one that is not known, or for several at once (None)."""
    return SETTINGS.get(platform or "cpu", _LAUNCHED)


def named(platforms: Any) -> str | None:
    """The platform that a program is lowered for, in this table's words; None for several."""
    (first, *others) = platforms
    return None if others else {"cuda": "gpu"}.get(first, first)


def guess() -> str:
    """The platform that a program traced now is most likely to run on: where a guess changes no more than speed."""
    device = getattr(jax.config, DEFAULT_DEVICE)
    platform = device if isinstance(device, str) else getattr(device, "platform", None)
    return named([platform or jax.default_backend()]) or "cpu"


def unroll_for(platform: str | None, unroll: int | None, steps: Any, *, tangents: bool = False) -> int:
    """How many steps an iteration holds: what was asked for, or the platform's; 1 where `steps` is symbolic."""
    if unroll is not None:
        return unroll
    settings = settings_for(platform)
    return (settings.tangents_unroll if tangents else settings.unroll) if isinstance(steps, int) else 1


def chunking(platform: str | None, steps: Any, rows: Any, in_features: int, features: int) -> Chunking:
    """How to cut a run of `rows` rows, those of all lanes counted."""
    if not isinstance(steps, int) or not isinstance(rows, int):
        return Chunking(steps, keeps_p=False)  # Symbolic, for jax.export.
    settings = settings_for(platform)
    if settings.whole_bytes is None:
        return _cache_chunks(steps, rows, in_features, features)
    # Measured: about fifteen arrays of all states, in float32.
    needed = 15 * 4 * steps * rows * features
    if needed <= settings.whole_bytes:
        return Chunking(steps, keeps_p=False)
    return Chunking(_dividing(steps, max(16, steps * settings.chunk_bytes // needed)), keeps_p=False)


def _cache_chunks(steps: int, rows: int, in_features: int, features: int) -> Chunking:
    """Chunks that stay in a CPU's cache.

    Memory that a program has not touched before costs about half a nanosecond a byte, in every call that asks for more
    than 32 MiB at a time. Chunks of 2^17 to 2^19 elements an array are near the best: a run of up to 2^19 is one chunk,
    a longer one has chunks of 2^18. Below 16 steps, the start and end of a chunk are no longer small beside its steps.

    To compute the p of an element again takes 6 (I + H) operations; to keep it takes 16 bytes. The costs are even near
    I + H = 512, and keeping is better at any width while the elements are few. But keeping takes more kernels a step,
    which cost more than either where steps are short.
    """
    a_step, total = rows * features, steps * rows * features
    size = max(16, steps if total <= 2**19 else 2**18 // a_step)
    keeps = in_features + features >= 512 or (a_step >= 4096 and total <= 2**20)
    return Chunking(_dividing(steps, size), keeps)


def _dividing(steps: int, size: int) -> int:
    """A size that divides `steps`, where there is one near: steps left over are compiled as a program of their own."""
    return next((s for s in range(min(size, steps), size // 2, -1) if steps % s == 0), size)
