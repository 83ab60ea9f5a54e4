"""The table and the plots of a comparison, from comparison.json and the runs' metrics alone."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.results.comparison_directory import CompareDirectory
from experiments.results.figures import FLOOR, draw_mean_and_range, drawing, new_figure, save
from experiments.results.plots import label, wants_log_scale
from experiments.results.run_records import mean_and_spread
from experiments.runs import metrics_log
from experiments.runs.directory import find_runs
from experiments.system.whole_files import write_whole
from experiments.training.losses import BETTER

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write(results: dict[str, Any], directory: CompareDirectory) -> list[Path]:
    """Write table.md and draw plots/; returns their paths."""
    write_whole(directory.table, markdown(results))
    with drawing(directory):
        directory.plots.mkdir(exist_ok=True)
        figures = {"learning_curves.png": _curves(results, directory)}
        if "gradient_flow" in results:
            figures["gradient_flow.png"] = _flow(results)
        return [directory.table, *(save(figure, directory.plots / name) for name, figure in figures.items())]


def markdown(results: dict[str, Any]) -> str:
    """The comparison as a Markdown table."""
    metrics = list(dict.fromkeys(name for one in results["variants"].values() for test in one["test"] for name in test))
    # Comparisons of older code wrote down the test split alone.
    chooses = [results["metric"]] if any(one.get("validation") for one in results["variants"].values()) else []
    validation = [f"validation {metric}" for metric in chooses]
    headings = ["cell", "width", "parameters", *validation, *metrics, "ms a step", "temporary MiB"]
    lines = [headings, ["---", "---", *["---:"] * (len(headings) - 2)]]
    for variant, one in results["variants"].items():
        widths = " ".join(map(str, one["widths"]))
        match = variant.rpartition("-")[2]
        values = [[test[metric] for test in one["test"]] for metric in metrics]
        chosen_by = [[found[metric] for found in one.get("validation", [])] for metric in chooses]
        diverged = f" ({one['diverged']} diverged)" if one["diverged"] else ""
        lines.append(
            [
                f"{one['cell']}, equal {match}",
                widths,
                f"{one['parameters']:,}",
                *(mean_and_spread(value) for value in chosen_by),
                *(mean_and_spread(value) + diverged for value in values),
                f"{one['milliseconds']:.3g}",
                f"{one['mebibytes']:.3g}",
            ]
        )
    floor = next((one["floor"] for one in results["variants"].values() if one["floor"]), {})
    floors = [f"{floor[metric]:.4g}" if metric in floor else "-" for metric in metrics]
    lines.append(["floor", "", "", *("" for _ in chooses), *floors, "", ""])
    seeds = max(len(one["test"]) + one["diverged"] for one in results["variants"].values())
    splits = "validation split, to choose by, and test split" if chooses else "test split"
    better = BETTER[results["metric"]]
    notes = [
        f"`{results['command']}`",
        f"{splits}, mean ± standard deviation over {seeds} seeds; {results['metric']}: {better} is better; time and "
        "memory of one training step, medians of interleaved rounds",
    ]
    return "\n\n".join(["\n".join(f"| {' | '.join(line)} |" for line in lines), *notes]) + "\n"


def _curves(results: dict[str, Any], directory: CompareDirectory) -> "Figure":
    """The deciding metric on the validation split, mean over seeds; a panel for each way of matching."""
    metric = results["metric"]
    matches = list(dict.fromkeys(variant.rpartition("-")[2] for variant in results["variants"]))
    figure, panels = new_figure(len(matches), width=5.2)
    cells = list(dict.fromkeys(one["cell"] for one in results["variants"].values()))
    drawn: list[float] = []
    for panel, match in zip(panels, matches, strict=True):
        for variant, one in results["variants"].items():
            # The first cell is what the others are matched to, so it stands in every panel.
            if not variant.endswith(f"-{match}") and one["cell"] != cells[0]:
                continue
            curves = [
                {row["step"]: row[metric] for row in metrics_log.read(run.metrics) if row["split"] == "validation"}
                for run in find_runs([directory.path / variant])
            ]
            drawn += draw_mean_and_range(panel, curves, f"C{cells.index(one['cell'])}", one["cell"])
        floor = next((one["floor"].get(metric) for one in results["variants"].values() if one["floor"]), None)
        if floor is not None:
            panel.axhline(floor, color=FLOOR, linestyle="--", linewidth=1, label=f"floor {floor:.4g}")
        panel.set_title(f"equal {match}", fontsize="medium")
        panel.set_xlabel("step")
        panel.set_ylabel(f"validation {label(metric)}")
    if BETTER[metric] == "lower" and wants_log_scale(drawn):
        for panel in panels:
            panel.set_yscale("log")
    panels[0].legend(frameon=False, fontsize="small")
    figure.suptitle(f"{results['config']}", fontsize="medium")
    return figure


def _flow(results: dict[str, Any]) -> "Figure":
    moments = ("before", "after")
    figure, panels = new_figure(len(moments), width=5.2)
    for panel, moment in zip(panels, moments, strict=True):
        for number, (variant, flow) in enumerate(results["gradient_flow"].items()):
            if moment in flow:
                distances = range(1, len(flow[moment]) + 1)
                panel.plot(distances, flow[moment], color=f"C{number}", label=variant.rpartition("-")[0])
        panel.set_title(f"{moment} training", fontsize="medium")
        panel.set_xlabel("T - t (steps)")
    lowest = min(min(flow[m]) for flow in results["gradient_flow"].values() for m in flow)
    highest = max(max(flow[m]) for flow in results["gradient_flow"].values() for m in flow)
    for panel in panels:
        panel.set_ylim(max(lowest, -16) - 0.5, highest + 0.5)
    panels[0].set_ylabel("log10 of the norm of d s_T / d s_t")
    panels[0].legend(frameon=False, fontsize="small")
    figure.suptitle(f"{results['config']}: how far back gradients reach", fontsize="medium")
    return figure
