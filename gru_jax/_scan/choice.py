"""Which backend runs a call, and what `backend_for` says of it; the table that "auto" follows is in `platforms`."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from gru_jax._backends.backend import BACKENDS, Backend, Problem, register
from gru_jax._backends.fused import fused
from gru_jax._backends.platforms import SETTINGS, backends_for, guess
from gru_jax._backends.scan import scan
from gru_jax._cells.cell import Cell
from gru_jax._cells.checks import float_dtype
from gru_jax._cells.precision import current_precision
from gru_jax._scan.checks import check_cell, check_precision

for backend in (scan, fused):
    register(backend)


def choose(name: Any, problem: Problem) -> Backend:
    """The backend whose `run` computes this problem.

    While JAX traces, the platform is not known. Of "auto", this is "scan" or "fused"; a kernel may take the place of
    the latter when the program is lowered.

    Raises:
      ValueError: for an unknown name, or a backend that was asked for by name and cannot serve the problem.
    """
    if isinstance(name, str) and name == "auto":
        return next(one for one in backends_for(problem) if not one.is_kernel)
    if not isinstance(name, str) or name not in BACKENDS:
        known = ", ".join(f'"{known}"' for known in ("auto", *BACKENDS))
        raise ValueError(f'backend: expected one of {known}, got {name!r}; "auto" picks one that serves the cell.')
    reason = BACKENDS[name].refuses(problem)
    if reason:
        raise ValueError(f'backend: "{name}" cannot run the cell {problem.cell.name!r}: {reason}; pass backend="auto".')
    return BACKENDS[name]


def backend_for(
    cell: Cell,
    backend: str = "auto",
    platform: str | None = None,
    *,
    shape: Sequence[int] | None = None,
    dtype: Any = jnp.float32,
    precision: Any = None,
) -> str:
    """The name of the backend that `scan(cell, ..., backend=backend)` runs on.

    The answer comes from a table: nothing is compiled, and with a `platform` no device is asked. `jax.export` and
    batches of a symbolic size run on "fused" where a kernel is named here.

    Args:
      cell: the cell.
      backend: "auto", or the name of a backend.
      platform: "cpu", "gpu", "rocm" or "tpu"; None: the default device's.
      shape: (T, B, I, H): steps, rows (all batch axes multiplied), inputs and features; None: many steps, and sizes
        that every backend serves.
      dtype: of the inputs.
      precision: as in `gru_jax.scan`.

    Returns:
      The backend's name.

    Raises:
      TypeError: for what is no cell, or no float dtype.
      ValueError: for an unknown name, platform or shape, or a backend that was asked for by name and cannot serve.

    Example:
      >>> gru_jax.backend_for(gru_jax.lstm()), gru_jax.backend_for(gru_jax.gru(), shape=(1, 8, 32, 64))
      ('scan', 'scan')
    """
    check_cell(cell)
    if platform is not None and platform not in SETTINGS:
        known = ", ".join(f'"{name}"' for name in SETTINGS)
        raise ValueError(f"platform: expected one of {known}, got {platform!r}; None stands for the default device's.")
    steps, rows, in_features, features = _check_shape(shape)
    problem = Problem(
        cell,
        platform or guess(),
        steps,
        rows,
        in_features,
        features,
        float_dtype("dtype", dtype),
        check_precision(precision) or current_precision(),
    )
    return next(backends_for(problem)).name if backend == "auto" else choose(backend, problem).name


def _check_shape(shape: Any) -> tuple[Any, ...]:
    if shape is None:
        return (None,) * 4
    sizes = list(shape) if isinstance(shape, Sequence) and not isinstance(shape, str) else []
    if len(sizes) != 4 or not all(isinstance(size, int) and not isinstance(size, bool) and size >= 0 for size in sizes):
        raise ValueError(
            f"shape: expected four sizes (T, B, I, H), got {shape!r}; multiply the axes of the batch, as in "
            "(100, 8, 32, 64)."
        )
    return tuple(sizes)
