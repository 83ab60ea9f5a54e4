"""Figures that belong to no window, and the colours they share; matplotlib is imported where it is needed."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRAIN, VALIDATION, TEST, FLOOR = "#7f7f7f", "#1f77b4", "#d62728", "#2ca02c"


def new_figure(columns: int, *, width: float = 4.8, height: float = 3.6) -> tuple["Figure", list["Axes"]]:
    """A figure with ``columns`` panels side by side that belongs to no window."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height), layout="constrained")
    panels = [figure.add_subplot(1, columns, column + 1) for column in range(columns)]
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(alpha=0.25)
    return figure, panels


def save(figure: "Figure", path: Path) -> Path:
    """Write ``figure`` as a PNG, in one rename."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    partial = path.with_name(f".{path.name}.partial")
    figure.savefig(partial, dpi=130, format="png")
    partial.replace(path)
    return path
