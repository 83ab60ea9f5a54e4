"""Pictures of one run, drawn from metrics.jsonl, summary.json and pictures.json alone."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.results import pictures
from experiments.results.figures import FLOOR, TEST, TRAIN, VALIDATION, drawing, new_figure, save
from experiments.runs import metrics_log
from experiments.runs.directory import RunDirectory
from experiments.runs.metrics_log import Row
from experiments.system.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Metrics that are the training loss in a unit of their own: metric = loss * factor.
_LOSS_UNITS = {"loss": 1.0, "nll": 1.0, "nll_per_step": 1.0, "mse": 1.0, "bits_per_char": 1 / math.log(2)}
# A line of fewer points gets marks: it would not show where the points are, and one alone is invisible.
_FEW = 5


def draw(directory: RunDirectory) -> list[Path]:
    """Draw all plots of a run into its ``plots`` directory, and return their paths; UserError if there are no rows.

    Raises OSError, with the path, for a plot that cannot be written; the plots before it stay.
    """
    rows = metrics_log.read(directory.metrics)
    if not rows:
        raise UserError(f"{directory.metrics}: no rows yet: nothing to draw")
    summary = directory.read_summary() or {}
    title = _title(directory, summary)
    with drawing(directory):
        figures = {
            "learning_curve.png": _learning_curve(rows, summary, title),
            "optimisation.png": _optimisation(rows, title),
        }
        if "confusion" in summary:
            figures["confusion.png"] = _confusion(summary["confusion"], summary["class_names"], title)
        for name, picture in directory.read_pictures().items():
            figures[f"{name}.png"] = pictures.draw(picture, title)
        directory.plots.mkdir(exist_ok=True)
        return [save(figure, directory.plots / name) for name, figure in figures.items() if figure is not None]


def missing(directory: RunDirectory) -> list[Path]:
    """The plots of a complete run that `draw` would draw and that are not there; matplotlib is not imported."""
    if not directory.metrics.is_file():
        return []
    rows, summary = metrics_log.read(directory.metrics), directory.read_summary() or {}
    train = _columns(rows, "train")
    names = [*(["learning_curve"] if rows else []), *(["optimisation"] if _optimised(train) else [])]
    names += [*(["confusion"] if "confusion" in summary else []), *directory.read_pictures()]
    return [path for path in (directory.plots / f"{name}.png" for name in names) if not path.is_file()]


def label(metric: str) -> str:
    """A metric's name with its unit, for an axis."""
    units = {"bits_per_char": "bits per character", "nll": "NLL (nats)", "nll_per_step": "NLL per step (nats)"}
    return units.get(metric, {"mse": "MSE", "mae": "MAE", "grad_norm": "norm of the gradient"}.get(metric, metric))


def wants_log_scale(values: Sequence[float]) -> bool:
    """Whether positive ``values`` span so much that only a logarithmic axis shows them all."""
    positive = [value for value in values if value > 0]
    return len(positive) == len(values) > 0 and max(positive) / min(positive) > 30


def _title(directory: RunDirectory, summary: dict[str, Any]) -> str:
    name = summary.get("config") or directory.path.resolve().parent.name
    return f"{name}, seed {summary['seed']}" if "seed" in summary else name


def _columns(rows: list[Row], split: str) -> dict[str, list[float]]:
    """The rows of a split by column; a metric that is not in all of them is left out."""
    chosen = [row for row in rows if row["split"] == split]
    names = [name for name in (chosen[0] if chosen else {}) if name != "split"]
    return {name: [row[name] for row in chosen] for name in names if all(name in row for row in chosen)}


def _marker(values: Sequence[float]) -> str | None:
    """The marker of the points of a curve; None for a curve of many."""
    return "." if len(values) < _FEW else None


def _learning_curve(rows: list[Row], summary: dict[str, Any], title: str) -> "Figure":
    train, validation = _columns(rows, "train"), _columns(rows, "validation")
    metrics = [name for name in validation if name != "step"] or ["loss"]
    figure, panels = new_figure(len(metrics))
    for panel, metric in zip(panels, metrics, strict=True):
        drawn: list[float] = []
        if metric in _LOSS_UNITS and train:
            losses = [value * _LOSS_UNITS[metric] for value in train["loss"]]
            marker = _marker(losses)
            panel.plot(train["step"], losses, color=TRAIN, marker=marker, linewidth=1, label="training")
            drawn += losses
        if metric in validation:
            values = validation[metric]
            panel.plot(validation["step"], values, color=VALIDATION, marker=".", linewidth=1.8, label="validation")
            drawn += values
        drawn += _end_and_floor(panel, metric, rows, summary)
        if metric in _LOSS_UNITS and wants_log_scale(drawn):
            panel.set_yscale("log")
        panel.set_xlabel("step")
        panel.set_ylabel(label(metric))
        panel.legend(frameon=False, fontsize="small")
    figure.suptitle(title, fontsize="medium")
    return figure


def _end_and_floor(panel: "Axes", metric: str, rows: list[Row], summary: dict[str, Any]) -> list[float]:
    """Draw the test value and the floor of a metric, where known; return them."""
    test, floor = summary.get("test", {}).get(metric), summary.get("floor", {}).get(metric)
    if test is not None:
        last = max(row["step"] for row in rows)
        panel.plot([last], [test], color=TEST, marker="*", markersize=10, linestyle="", label=f"test {test:.4g}")
    if floor is not None:
        panel.axhline(floor, color=FLOOR, linestyle="--", linewidth=1, label=f"floor {floor:.4g}")
    return [value for value in (test, floor) if value is not None]


def _optimisation(rows: list[Row], title: str) -> "Figure | None":
    train = _columns(rows, "train")
    names = _optimised(train)
    if not names:
        return None
    figure, panels = new_figure(len(names))
    for panel, name in zip(panels, names, strict=True):
        panel.plot(train["step"], train[name], color=VALIDATION, marker=_marker(train[name]), linewidth=1.2)
        if name == "grad_norm" and wants_log_scale(train[name]):
            panel.set_yscale("log")
        elif min(train[name]) >= 0:
            panel.set_ylim(bottom=0)
        panel.set_xlabel("step")
        panel.set_ylabel(label(name).replace("_", " "))
    figure.suptitle(title, fontsize="medium")
    return figure


def _optimised(train: dict[str, list[float]]) -> list[str]:
    return [name for name in ("grad_norm", "learning_rate") if name in train]


def _confusion(counts: list[list[int]], names: list[str], title: str) -> "Figure":
    figure, (panel,) = new_figure(1, width=5.2, height=4.8)
    panel.grid(visible=False)
    # The colour is the share of the true class, so that rare classes are seen as well as common ones.
    shares = [[count / max(sum(row), 1) for count in row] for row in counts]
    image = panel.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for true, row in enumerate(counts):
        for predicted, count in enumerate(row):
            if count:
                colour = "white" if shares[true][predicted] > 0.5 else "black"
                panel.text(predicted, true, str(count), ha="center", va="center", color=colour, fontsize="small")
    panel.set_xticks(range(len(names)), names)
    panel.set_yticks(range(len(names)), names)
    panel.set_xlabel("predicted")
    panel.set_ylabel("true")
    figure.colorbar(image, ax=panel, label="share of the true class")
    figure.suptitle(f"{title}: test split", fontsize="medium")
    return figure
