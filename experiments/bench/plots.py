"""Draws what was measured: bench.png by shape, growth.png on two logarithmic axes. Reads results only."""

from pathlib import Path
from typing import TYPE_CHECKING

from experiments.bench import registry
from experiments.bench.results import Group, Results
from experiments.results.figures import drawing, new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKERS = "osD^vP*X<>hd"


def draw(results: Results, folder: Path) -> list[Path]:
    """Draw what there is into ``folder``; returns the paths of the pictures."""
    with drawing(folder):
        figures = {"bench.png": _shapes(results), "growth.png": _growth(results)}
        folder.mkdir(exist_ok=True)
        return [save(figure, folder / name) for name, figure in figures.items() if figure is not None]


def missing(results: Results, folder: Path) -> list[Path]:
    """The pictures of `draw` that are not there; nothing is drawn."""
    growth = [group for group in results.of("growth") if group.axis]
    expected = {"bench.png": results.of("shapes"), "growth.png": growth}
    return [folder / name for name, groups in expected.items() if groups and not (folder / name).is_file()]


def _shapes(results: Results) -> "Figure | None":
    """A panel for each mode, a column for each shape; a dot is a contender, with the middle half of its rounds."""
    modes = list(dict.fromkeys(group.mode for group in results.of("shapes")))
    if not modes:
        return None
    figure, panels = new_figure(len(modes), width=6.4, height=4.6)
    for panel, mode in zip(panels, modes, strict=True):
        groups = results.of("shapes", mode)
        names = _present(results, groups)
        for number, name in enumerate(names):
            offset = (number - (len(names) - 1) / 2) * 0.7 / len(names)
            _dots(panel, results, name, groups, [place + offset for place in range(len(groups))], line=False)
        panel.set_xticks(range(len(groups)), ["\n".join(_split(group)) for group in groups], fontsize="small")
        panel.set_ylabel("ms")
        panel.set_title(mode, fontsize="medium")
    return _finished(figure, panels)


def _growth(results: Results) -> "Figure | None":
    """A panel for each size that grows."""
    axes = list(dict.fromkeys(group.axis for group in results.of("growth") if group.axis))
    if not axes:
        return None
    figure, panels = new_figure(len(axes), width=5.0, height=4.6)
    for panel, axis in zip(panels, axes, strict=True):
        groups = [group for group in results.of("growth") if group.axis == axis]
        place = "TBIH".index(axis)
        for name in _present(results, groups):
            measured = [group for group in groups if group.find(name)]
            _dots(panel, results, name, measured, [group.shape[place] for group in measured], line=True)
        fixed = dict(zip("TBIH", groups[0].shape, strict=True))
        panel.set_xscale("log", base=2)
        panel.set_xlabel(axis)
        panel.set_ylabel(f"ms, {groups[0].mode}")
        panel.set_title(", ".join(f"{key}={size}" for key, size in fixed.items() if key != axis), fontsize="medium")
    return _finished(figure, panels)


def _dots(panel: "Axes", results: Results, name: str, groups: list[Group], xs: list[float], *, line: bool) -> None:
    """Draw the medians of a contender, with the quartiles as bars."""
    points = [(x, one) for x, group in zip(xs, groups, strict=True) if (one := group.find(name))]
    number = results.contenders.index(name)
    medians = [1e3 * one.median for _, one in points]
    below = [max(0.0, middle - 1e3 * one.quartiles[0]) for middle, (_, one) in zip(medians, points, strict=True)]
    above = [max(0.0, 1e3 * one.quartiles[1] - middle) for middle, (_, one) in zip(medians, points, strict=True)]
    ours = registry.variant_of(name) is not None
    panel.errorbar(
        [x for x, _ in points],
        medians,
        yerr=[below, above],
        label=name,
        color=f"C{number % 10}",
        marker=_MARKERS[number % len(_MARKERS)],
        markersize=7 if ours else 5,
        linestyle="-" if line else "",
        linewidth=2.2 if ours else 1.1,
        elinewidth=1,
        # The first contender is on top, so that it is seen where two of ours are level.
        zorder=(3 if ours else 2) + 1 / (1 + number),
    )


def _finished(figure: "Figure", panels: list["Axes"]) -> "Figure":
    for panel in panels:
        panel.set_yscale("log")
    # A contender may be in one panel only, so the legend takes the first entry of each name.
    entries = {}
    for panel in panels:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    figure.legend(
        entries.values(), entries.keys(), frameon=False, fontsize="small", loc="outside lower center", ncols=6
    )
    return figure


def _present(results: Results, groups: list[Group]) -> list[str]:
    return [name for name in results.contenders if any(group.find(name) for group in groups)]


def _split(group: Group) -> tuple[str, str]:
    steps, batch, inputs, features = group.shape
    return f"T={steps} B={batch}", f"I={inputs} H={features}"
