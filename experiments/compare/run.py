"""Trains all runs of a comparison in turn; each resumes by itself, so a comparison that was stopped goes on."""

from typing import Any, NamedTuple

from rich.console import Console

from experiments.compare import cost, gradient_flow
from experiments.compare.schema import CompareConfig
from experiments.compare.variants import variants, with_seed
from experiments.results import comparison_pages
from experiments.results.comparison_directory import CompareDirectory
from experiments.runs.checkpoints import saved_steps
from experiments.runs.config import Config
from experiments.runs.directory import RunDirectory
from experiments.system import whole_files
from experiments.system.errors import UserError
from experiments.training.ahead_of_time import need_jit
from experiments.training.experiment import Experiment, assemble
from experiments.training.train import train
from experiments.training.trained import last_trained


class Outcome(NamedTuple):
    """How a comparison ended."""

    exit_code: int
    results: dict[str, Any] | None
    """None where a signal stopped it."""


def compare(config: CompareConfig, name: str, directory: CompareDirectory, command: str, console: Console) -> Outcome:
    """Train every variant with every seed, measure what a step costs, and write the table and the plots.

    ``command``: what repeats and resumes the comparison. A run that diverges is counted and stops no other. Raises
    UserError for a directory that may not be used, or a cell that cannot be run.
    """
    need_jit("compare")
    directory.refuse_another(config)
    found = variants(config)
    if config.compare.gradient_flow:
        _check_gradient_flow(config, next(iter(found.values())))
    with directory.lock():
        directory.begin(config, command)
        # Earlier results may not fit the runs below, which are looked at again.
        directory.results.unlink(missing_ok=True)
        seeds = config.compare.seeds
        for number, (variant, one) in enumerate(found.items()):
            for turn, seed in enumerate(seeds):
                _say(console, f"\n[{number * len(seeds) + turn + 1}/{len(found) * len(seeds)}] {variant}, seed {seed}")
                exit_code = _train(with_seed(one, seed), directory.run(variant, seed), variant, command, console)
                if exit_code:
                    return Outcome(exit_code, None)
        _say(console, "\nmeasuring what a training step costs")
        experiments = {variant: assemble(one) for variant, one in found.items()}
        costs = cost.measure(experiments)
        results = {
            "config": name,
            "command": command,
            "task": config.task.name,
            "metric": next(iter(experiments.values())).task.metrics[0],
            "variants": {
                variant: _summary(directory, variant, one, seeds) | costs[variant]._asdict()
                for variant, one in found.items()
            },
        }
        if config.compare.gradient_flow:
            _say(console, "measuring how far back gradients reach")
            results["gradient_flow"] = _gradient_flow(config, directory, experiments)
        whole_files.write_json(directory.results, results)
        comparison_pages.write(results, directory)
    return Outcome(0, results)


def _check_gradient_flow(config: CompareConfig, first: Config) -> None:
    """Raise UserError before the runs are trained if gradient flow could not be measured after that."""
    task, model, block = config.task, config.model, config.compare.gradient_flow
    if model.bidirectional:
        raise UserError("compare.gradient_flow: expected layers in one direction; set model.bidirectional=false")
    if task.translates or task.measured or task.frame_shape is not None or model.members > 1:
        raise UserError(
            "compare.gradient_flow: expected one stack of layers over tokens or vectors, got "
            f"{'model.members > 1' if model.members > 1 else f'task {task.name}'}; leave compare.gradient_flow out"
        )
    assert block is not None
    gradient_flow.inputs_of(assemble(first), block.rows, block.steps)


def _train(config: Config, directory: RunDirectory, name: str, command: str, console: Console) -> int:
    """Train one run, unless it is done; returns the exit code of a signal, or 0."""
    summary = directory.read_summary() or {}
    if summary.get("status") in ("complete", "diverged"):
        _say(console, f"{directory}: {summary['status']} before")
        return 0
    outcome = train(config, name, directory, command, console)
    return outcome.exit_code if outcome.status == "interrupted" else 0


def _summary(directory: CompareDirectory, variant: str, config: Config, seeds: list[int]) -> dict[str, Any]:
    summaries = [directory.run(variant, seed).read_summary() or {} for seed in seeds]
    complete = [summary for summary in summaries if summary.get("status") == "complete"]
    return {
        "cell": config.model.cell.name,
        "widths": list(config.model.widths),
        "parameters": summaries[0]["parameters"],
        "test": [summary["test"] for summary in complete],
        "validation": [summary["validation"] for summary in complete],
        "floor": complete[0]["floor"] if complete else {},
        "diverged": len(summaries) - len(complete),
    }


def _gradient_flow(
    config: CompareConfig, directory: CompareDirectory, experiments: dict[str, Experiment]
) -> dict[str, dict[str, list[float]]]:
    """log10 norms by distance, before and after training with the first seed, of the variants of the first match."""
    block = config.compare.gradient_flow
    assert block is not None
    match = config.compare.match[0]
    flows = {}
    for variant, experiment in experiments.items():
        if not variant.endswith(f"-{match}"):
            continue
        inputs = gradient_flow.inputs_of(experiment, block.rows, block.steps)
        state = experiment.initial_state()
        flows[variant] = {"before": gradient_flow.log10_norms(experiment, state.params, inputs)}
        run = directory.run(variant, config.compare.seeds[0])
        if saved_steps(run.checkpoints):
            params = last_trained(experiment, run).params
            flows[variant]["after"] = gradient_flow.log10_norms(experiment, params, inputs)
    return flows


def _say(console: Console, text: str) -> None:
    console.print(text, soft_wrap=True, markup=False, highlight=False)
