"""Which backend runs a call: every backend by name, and the table that `backend="auto"` follows."""

import math
from typing import Any, NamedTuple

import jax

from gru_jax._backends.backend import Backend
from gru_jax._backends.fused import fused
from gru_jax._backends.scan import scan
from gru_jax._cells.cell import Cell
from gru_jax._scan.checks import check_cell

BACKENDS: dict[str, Backend] = {backend.name: backend for backend in (scan, fused)}


class Row(NamedTuple):
    """`cell` on `platform` over at most `steps` steps runs on `backend`; "*" stands for any, None for any number."""

    cell: str
    platform: str
    backend: str
    steps: int | None = None


# `choose` takes the first row that fits and whose backend can serve the cell.
TABLE = (
    # A single step needs no loop and half the products: it skips what the linear recurrence prepares.
    Row(cell="gru", platform="*", steps=1, backend="scan"),
    Row(cell="gru", platform="*", backend="fused"),
    Row(cell="*", platform="*", backend="scan"),
)


def choose(name: Any, cell: Cell, platform: str, steps: Any = None) -> Backend:
    """The backend that `backend=name` means for this cell on this platform ("cpu", "gpu", "tpu").

    `steps` is the number of steps; None or a symbolic size stands for any number.

    Raises:
      ValueError: for an unknown name, or a backend that was asked for by name and cannot serve the cell.
    """
    if isinstance(name, str) and name == "auto":
        few = steps if isinstance(steps, int) else math.inf
        rows = (
            row
            for row in TABLE
            if row.cell in ("*", cell.name)
            and row.platform in ("*", platform)
            and (row.steps is None or few <= row.steps)
        )
        return next(b for b in (BACKENDS[row.backend] for row in rows) if not b.refuses(cell))
    if not isinstance(name, str) or name not in BACKENDS:
        known = ", ".join(f'"{known}"' for known in ("auto", *BACKENDS))
        raise ValueError(f'backend: expected one of {known}, got {name!r}; "auto" picks one that serves the cell.')
    reason = BACKENDS[name].refuses(cell)
    if reason:
        raise ValueError(f'backend: "{name}" cannot run the cell {cell.name!r}: {reason}; pass backend="auto".')
    return BACKENDS[name]


def backend_for(cell: Cell, backend: str = "auto", platform: str | None = None) -> str:
    """The name of the backend that `scan(cell, ..., backend=backend)` runs on, for more than one step.

    Args:
      cell: the cell.
      backend: "auto", or the name of a backend.
      platform: "cpu", "gpu" or "tpu"; None: the default device's.

    Returns:
      The backend's name.

    Raises:
      TypeError: for what is no cell.
      ValueError: for an unknown name, or a backend that was asked for by name and cannot serve the cell.

    Example:
      >>> gru_jax.backend_for(gru_jax.lstm())
      'scan'
    """
    check_cell(cell)
    return choose(backend, cell, platform or jax.default_backend()).name
