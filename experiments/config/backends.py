"""The backends that a config may name, and the cells that each of them serves. Nothing here imports JAX.

gru_jax knows its backends itself, but imports JAX; a test compares the two lists.
"""

from typing import Literal

Backend = Literal["auto", "scan", "fused"]
"""What ``model.backend`` takes."""

# The cells of a backend that does not serve every cell.
_CELLS: dict[str, tuple[str, ...]] = {"fused": ("gru",)}


def refusal(backend: str, cell: str) -> str:
    """Why a backend cannot run the layers of a cell, both by name, with the way out; "" if it can."""
    cells = _CELLS.get(backend)
    if cells is None or cell in cells:
        return ""
    return f"{backend} serves the cell {', '.join(cells)} alone, got {cell}; set model.backend=auto, or another cell"
