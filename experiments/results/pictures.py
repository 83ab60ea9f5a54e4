"""Draws what a task shows of its test split: a run's pictures.json maps file stems to pictures of these kinds.

    {"kind": "attention", "panels": [{"rows": [...], "columns": [...], "weights": [[...]]}]}      output x input tokens
    {"kind": "fan", "unit": "GW", "panels": [{"past": [...], "future": [...], "levels": [...], "quantiles": [[...]]}]}
    {"kind": "frames", "rows": {"true": [[[...]]], ...}}                          for each row a list of images in 0..1
    {"kind": "lines", "x": "step", "y": "torque", "panels": [{"title": ..., "lines": {"true": [...], ...}}]}
        with "at": [...] in a panel, where on x its values lie, and "limits": [low, high] beside "kind", of every y axis
    {"kind": "reliability", "predicted": [...], "observed": [...], "count": [...]}                        of each bin
    {"kind": "roll", "rows": {"true": [[...]], "probability": [[...]]}, "lowest": 21}              steps x keys, 0..1
    {"kind": "words", "panels": [{"title": ..., "words": [...], "weights": [...]}]}     a text, shaded by weights >= 0

`quantiles` are (levels, future).
"""

import textwrap
from typing import TYPE_CHECKING, Any

from experiments.results.figures import FLOOR, TEST, TRAIN, VALIDATION, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TOKENS = 40
"""How many of the inputs and of the outputs an attention map shows at most."""
_TOKEN_INCHES, _PAGE_INCHES = 0.18, 18.0
"""The side of a token there, and how wide a figure gets before panels go below one another."""
_LETTERS = 100
"""How many letters a line of running text has."""
_TITLE_LETTERS = 105
"""How many a line of its title has, which is bold and not in typewriter letters."""
_LETTER_INCHES = 0.602 * 9 / 72
"""How wide a letter of matplotlib's own typewriter font is at 9 points."""

_READING = {"words": "; the darker a word, the more it weighs"}
"""How to read a picture of a kind, where nothing else in it says so."""


def draw(picture: dict[str, Any], title: str) -> "Figure":
    """Draw one picture; ValueError for a kind that is not known."""
    kinds = {
        "attention": _attention,
        "fan": _fan,
        "frames": _frames,
        "lines": _lines,
        "reliability": _reliability,
        "roll": _roll,
        "words": _words,
    }
    kind = picture.get("kind")
    if kind not in kinds:
        raise ValueError(f"picture: expected one of {', '.join(kinds)}, got {kind!r}")
    figure = kinds[kind](picture)
    figure.suptitle(f"{title}: test split{_READING.get(kind, '')}", fontsize="medium")
    return figure


def _attention(picture: dict[str, Any]) -> "Figure":
    """All panels share one colour scale, up to the largest weight; long sequences show only their beginning."""
    from matplotlib.figure import Figure

    panels = picture["panels"]
    columns = [panel["columns"][:_TOKENS] for panel in panels]
    rows = [panel["rows"][:_TOKENS] for panel in panels]
    width = max(3.2, _TOKEN_INCHES * max(map(len, columns)) + 1.2)
    # Tokens of several letters are written upwards, and need their length below the map.
    upright = max(len(token) for tokens in columns for token in tokens) > 1
    letters = max(len(token) for tokens in columns for token in tokens) if upright else 1
    height = max(2.2, _TOKEN_INCHES * max(map(len, rows)) + 0.9 + 0.08 * letters)
    across = max(1, min(len(panels), int(_PAGE_INCHES // width)))
    down = -(-len(panels) // across)
    figure = Figure(figsize=(width * across + 0.8, height * down), layout="constrained")
    heaviest = max(max(map(max, panel["weights"])) for panel in panels) or 1.0
    axes = [figure.add_subplot(down, across, number + 1) for number in range(len(panels))]
    for panel, axis, inputs, outputs in zip(panels, axes, columns, rows, strict=True):
        weights = [row[:_TOKENS] for row in panel["weights"][:_TOKENS]]
        axis.imshow(weights, cmap="magma", vmin=0, vmax=heaviest, aspect="auto")
        axis.set_xticks(range(len(inputs)), inputs, rotation=90 if upright else 0, fontsize="small")
        axis.set_yticks(range(len(outputs)), outputs, fontsize="small")
        axis.set(xlabel="input", ylabel="output")
        counts = {"inputs": len(panel["columns"]), "outputs": len(panel["rows"])}
        if cut := [f"{_TOKENS} of {count} {name}" for name, count in counts.items() if count > _TOKENS]:
            axis.set_title(f"the first {', '.join(cut)}", fontsize="small")
    figure.colorbar(axes[0].images[0], ax=axes, label="weight", aspect=30)
    return figure


def _fan(picture: dict[str, Any]) -> "Figure":
    panels = picture["panels"]
    figure, axes = new_figure(len(panels), width=4.6)
    for panel, axis in zip(panels, axes, strict=True):
        past, future, levels = panel["past"], panel["future"], panel["levels"]
        ahead = range(len(future))
        bands = len(levels) // 2
        for low, high in zip(range(bands), reversed(range(len(levels))), strict=False):
            # Inner bands are darker, in the legend as well.
            shade = {"color": VALIDATION, "alpha": 0.15 + 0.3 * low / bands, "linewidth": 0}
            label = f"{levels[low]:g} to {levels[high]:g}"
            axis.fill_between(ahead, panel["quantiles"][low], panel["quantiles"][high], **shade, label=label)
        if 0.5 in levels:
            axis.plot(ahead, panel["quantiles"][levels.index(0.5)], color=VALIDATION, label="forecast")
        axis.plot(range(-len(past), 0), past, color=TRAIN, linewidth=1, label="past")
        axis.plot(ahead, future, color=TEST, linewidth=1, label="what came")
        axis.set_xlabel("steps from the first forecast")
        axis.set_ylabel(picture.get("unit", ""))
    _legend_below(figure, axes[0])
    return figure


def _frames(picture: dict[str, Any]) -> "Figure":
    from matplotlib.figure import Figure

    rows = picture["rows"]
    columns = max(map(len, rows.values()))
    figure = Figure(figsize=(0.9 * columns + 1.2, 0.95 * len(rows) + 0.5), layout="constrained")
    for number, (name, images) in enumerate(rows.items()):
        for column, image in enumerate(images):
            axis = figure.add_subplot(len(rows), columns, number * columns + column + 1)
            axis.imshow(image, cmap="gray", vmin=0, vmax=1)
            axis.set_xticks([])
            axis.set_yticks([])
            if number == 0:
                axis.set_title(str(column + 1), fontsize="small")
            if column == 0:
                axis.set_ylabel(name, rotation=0, ha="right", va="center")
    return figure


def _lines(picture: dict[str, Any]) -> "Figure":
    panels = picture["panels"]
    figure, axes = new_figure(len(panels))
    for panel, axis in zip(panels, axes, strict=True):
        for name, values in panel["lines"].items():
            # Marks show where values lie that are not at even places.
            at, marker = (panel["at"], ".") if "at" in panel else (range(len(values)), "")
            axis.plot(at, values, marker=marker, linewidth=1.2, label=name)
        if "limits" in picture:
            low, high = picture["limits"]
            # Leave a margin, so that lines along the limits are drawn whole.
            axis.set_ylim(low - 0.03 * (high - low), high + 0.03 * (high - low))
        axis.set_title(panel.get("title", ""), fontsize="medium")
        axis.set_xlabel(picture.get("x", "step"))
        axis.set_ylabel(picture.get("y", ""))
    _legend_below(figure, axes[0])
    return figure


def _legend_below(figure: "Figure", axis: "Axes") -> None:
    """Put the legend that all panels share below them, where it hides no line."""
    figure.legend(
        *axis.get_legend_handles_labels(), loc="outside lower center", ncols=6, frameon=False, fontsize="small"
    )


def _reliability(picture: dict[str, Any]) -> "Figure":
    figure, (axis,) = new_figure(1, width=4.4, height=4.4)
    axis.plot([0, 1], [0, 1], color=FLOOR, linestyle="--", linewidth=1, label="as it should be")
    axis.plot(picture["predicted"], picture["observed"], color=VALIDATION, marker="o", label="the model")
    cases = " to ".join(map(str, sorted({min(picture["count"]), max(picture["count"])})))
    axis.set_xlabel("predicted probability")
    axis.set_ylabel(f"observed frequency, in bins of {cases} cases")
    axis.legend(frameon=False, fontsize="small")
    return figure


def _roll(picture: dict[str, Any]) -> "Figure":
    rows = picture["rows"]
    figure, axes = new_figure(len(rows), width=4.8, height=4.2)
    for axis, (name, steps) in zip(axes, rows.items(), strict=True):
        axis.grid(visible=False)
        keys = list(zip(*steps, strict=True))
        lowest = picture.get("lowest", 0)
        extent = (0.0, float(len(steps)), float(lowest), float(lowest + len(keys)))
        axis.imshow(keys, cmap="Greys", vmin=0, vmax=1, aspect="auto", origin="lower", extent=extent)
        axis.set_title(name, fontsize="medium")
        axis.set_xlabel("step")
        axis.set_ylabel("key (60 is the middle C)" if "lowest" in picture else "key")
    figure.colorbar(axes[0].images[0], ax=axes, label="probability")
    return figure


def _words(picture: dict[str, Any]) -> "Figure":
    """Running text: the more a word weighs, the darker it is; the heaviest word of each panel is darkest."""
    from matplotlib.figure import Figure

    titles = [textwrap.wrap(panel["title"], _TITLE_LETTERS) or [""] for panel in picture["panels"]]
    places = [_running_text(panel["words"]) for panel in picture["panels"]]
    rows = sum(panel[-1][0] + len(title) + 2 for panel, title in zip(places, titles, strict=True))
    width, height = _LETTERS * _LETTER_INCHES + 0.4, 0.22 * rows + 0.4
    figure = Figure(figsize=(width, height))
    # One unit is a letter across, and a line down.
    axis = figure.add_axes((0.2 / width, 0, 1 - 0.4 / width, 1 - 0.4 / height), frame_on=False)
    axis.set(xlim=(0, _LETTERS), ylim=(rows, 0), xticks=[], yticks=[])
    top = 0.5
    for panel, title, where in zip(picture["panels"], titles, places, strict=True):
        for line, text in enumerate(title):
            axis.text(0, top + line, text, fontsize=9, weight="bold", verticalalignment="center")
        top += len(title)
        heaviest = max(panel["weights"]) or 1.0
        for word, weight, (row, column) in zip(panel["words"], panel["weights"], where, strict=True):
            shade = {"facecolor": VALIDATION, "alpha": 0.8 * weight / heaviest, "linewidth": 0, "pad": 1.5}
            y = top + row + 0.1
            axis.text(column, y, word, family="monospace", fontsize=9, verticalalignment="center", bbox=shade)
        top += where[-1][0] + 2
    return figure


def _running_text(words: list[str]) -> list[tuple[int, int]]:
    """Line and column of each word, lines being `_LETTERS` wide."""
    places, row, column = [], 0, 0
    for word in words:
        if column and column + len(word) > _LETTERS:
            row, column = row + 1, 0
        places.append((row, column))
        column += len(word) + 1
    return places
