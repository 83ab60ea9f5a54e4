"""Makes and saves figures that belong to no window, in shared colours; imports matplotlib where it is needed."""

import contextlib
import io
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.system.errors import FailedOnTheWay, UserError
from experiments.system.whole_files import write_whole

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


@contextlib.contextmanager
def drawing(place: object) -> Iterator[None]:
    """Tell in one line what fails within matplotlib: the results are on the disk, and can be drawn again."""
    try:
        yield
    except (UserError, OSError):
        raise
    except Exception as error:
        problem = str(error).strip().partition("\n")[0] or type(error).__name__
        raise FailedOnTheWay(
            f"{place}: the results are there, but the plots could not be drawn: {problem}; mend that, and give the "
            "same command again"
        ) from error


def draw_mean_and_range(panel: "Axes", curves: Sequence[Mapping[int, float]], color: str, label: str) -> list[float]:
    """Draw the mean of curves, values by step, at the steps that all of them have, and their range; the means."""
    steps = sorted(set.intersection(*map(set, curves)))
    means = [statistics.fmean(curve[step] for curve in curves) for step in steps]
    panel.plot(steps, means, color=color, marker=".", label=label)
    if len(curves) > 1:
        lowest, highest = ([pick(curve[step] for curve in curves) for step in steps] for pick in (min, max))
        panel.fill_between(steps, lowest, highest, color=color, alpha=0.2, linewidth=0)
    return means


def save(figure: "Figure", path: Path) -> Path:
    """Write ``figure`` as a PNG, as `write_whole` writes a file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        # A name that is not UTF-8 has letters that no font can draw.
        if not _drawable(text.get_text()):
            text.set_text(text.get_text().encode("utf-8", "replace").decode())
    FigureCanvasAgg(figure)
    # In memory first: what goes wrong in the drawing leaves no file, and a full disk comes as one OSError.
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=130, format="png")
    write_whole(path, drawn.getvalue())
    return path


def _drawable(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)
