"""The command line: ``python -m experiments train | eval | plot | export | compare | report | config | data | bench``.

`experiments/system/process.py` lists the exit codes; after a mistake of the user's (2) nothing is written. JAX is
imported only once the config was found to be good. Packages that are needed only after the work are tried before it.
"""

import argparse
import os
import shlex
import sys
from collections.abc import Sequence

from rich.console import Console

from experiments import tasks
from experiments.arguments import parse
from experiments.bench.directory import BenchDirectory
from experiments.bench.schema import BenchConfig
from experiments.compare.schema import CompareConfig
from experiments.config import configs, directory_kinds
from experiments.config.stored_configs import default_path
from experiments.export import request as export_request
from experiments.results.comparison_directory import CompareDirectory, find_comparisons
from experiments.runs import continuation, start_check
from experiments.runs.config import Config
from experiments.runs.directory import ADVICE, RunDirectory
from experiments.system import needed_packages, process, terminal
from experiments.system.errors import UserError
from experiments.system.whole_files import check_folder, check_target, check_utf8


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    options = parse(arguments)
    run = _COMMANDS[options.command]
    return process.guarded(lambda: run(options, "python -m experiments " + shlex.join(arguments)))


def _train(options: argparse.Namespace, command: str) -> int:
    config, name = continuation.load(options.config, options.overrides, options.continue_from)
    tasks.check_data(config.task)
    directory = RunDirectory(options.run_dir or default_path(config, name))
    console = terminal.console()
    continuation.refuse_itself(config, directory)
    status = directory.inspect(config)
    if status == "complete":
        return _train_nothing(config, directory, console)
    if status == "new" and continuation.check(config, directory) is None:
        start_check.check(config)
    check_folder(directory.path, "--run-dir")
    check_utf8(directory.path)
    needed_packages.need_for_runs(plots=config.logging.plots, tensorboard=config.logging.tensorboard)

    from experiments.training.train import train

    outcome = train(config, name, directory, command, console)
    if outcome.status == "interrupted":
        return outcome.exit_code
    terminal.say(console, "")
    if outcome.status == "complete":
        terminal.show_results(console, outcome.summary)
    if outcome.status == "diverged":
        last = outcome.summary["last_good_checkpoint"]
        kept = f"the checkpoint of step {last} is kept" if last is not None else "there was no checkpoint yet"
        step, reason = outcome.summary["diverged_at_step"], outcome.summary["reason"]
        print(f"{directory}: diverged at step {step}: {reason}; {kept}; {ADVICE}", file=sys.stderr)
    if config.logging.plots and directory.metrics.stat().st_size:
        _draw(directory, console)
    terminal.say(console, f"summary {directory.summary}")
    return outcome.exit_code


def _train_nothing(config: Config, directory: RunDirectory, console: Console) -> int:
    """Print what a complete run reached, draw the plots that it lacks, as after a full disk, and return 0."""
    from experiments.results.plots import missing

    lost = missing(directory) if config.logging.plots else []
    rest = f"drawing {', '.join(path.name for path in lost)} again" if lost else "nothing to do"
    terminal.say(console, f"{directory}: already complete, {rest}; --run-dir DIR trains it again elsewhere")
    terminal.show_results(console, directory.read_summary() or {})
    if lost:
        needed_packages.need(*needed_packages.FOR_PLOTS, what="logging.plots")
        _draw(directory, console)
    return 0


def _draw(directory: RunDirectory, console: Console) -> None:
    from experiments.results.plots import draw

    terminal.say(console, "plots   " + ", ".join(str(path) for path in draw(directory)))


def _eval(options: argparse.Namespace, _: str) -> int:
    directory = RunDirectory(options.run_directory)
    config = directory.read_config()
    directory.check_data(config)

    from experiments.training.evaluation import evaluate_checkpoint

    console = terminal.console()
    step, origin, metrics, floor = evaluate_checkpoint(config, directory, options.split)
    terminal.say(console, f"{directory}: {origin} parameters at step {step} of {config.training.steps}")
    terminal.show_metrics(console, options.split, metrics, floor if options.split == "test" else {})
    return 0


def _plot(options: argparse.Namespace, _: str) -> int:
    needed_packages.need(*needed_packages.FOR_PLOTS, what="plot")
    kind = directory_kinds.kind_of(options.run_directory)
    if kind == "bench":
        from experiments.bench import pages, results

        bench = BenchDirectory(options.run_directory)
        if not bench.results.is_file():
            raise UserError(f"{bench}: a bench that measured nothing yet: nothing to draw")
        for path in pages.write(results.read(bench.results), bench):
            print(path)
        return 0
    if kind == "comparison":
        from experiments.results import comparison_pages as compare_pages

        comparison = CompareDirectory(options.run_directory)
        for path in compare_pages.write(comparison.read_results(), comparison):
            print(path)
        return 0
    directory = RunDirectory(options.run_directory)
    directory.read_config()

    from experiments.results.plots import draw

    for path in draw(directory):
        print(path)
    return 0


def _export(options: argparse.Namespace, _: str) -> int:
    request = export_request.check(options.run_directory, options.to, options.output)
    request.directory.check_data(request.config)

    from experiments.export.file_listing import show
    from experiments.export.run import export

    trained, files = export(request)
    console = terminal.console()
    origin, step, steps = trained.origin, trained.step, request.config.training.steps
    terminal.say(console, f"{request.directory}: {origin} parameters at step {step} of {steps}")
    show(console, files)
    return 0


def _report(options: argparse.Namespace, command: str) -> int:
    from experiments.results import report
    from experiments.results.run_records import read_all

    for path, option in ((options.plot, "--plot"), (options.page, "--page")):
        if path:
            check_target(path, option)
    if options.plot and options.page and os.path.realpath(options.plot) == os.path.realpath(options.page):
        raise UserError(f"--plot and --page: expected two files, got {options.page} for both; name another")
    if options.plot:
        needed_packages.need(*needed_packages.FOR_PLOTS, what="--plot")
    runs, left_out = read_all(options.runs)
    for line in left_out:
        print(line, file=sys.stderr)
    if options.markdown:
        print(report.markdown(runs))
    else:
        console = terminal.console()
        console.print(report.table(runs, console.width))
    if options.plot:
        print(report.draw(runs, options.plot))
    if options.page:
        from experiments.results import page

        print(page.write(runs, find_comparisons(options.runs), options.page, command))
    return 0


def _config(options: argparse.Namespace, _: str) -> int:
    config = configs.load(Config, options.config, options.overrides)
    tasks.check_data(config.task)
    print(f"# {default_path(config, options.config.stem)}")
    print(configs.to_yaml(config, every_key=True), end="")
    return 0


def _compare(options: argparse.Namespace, command: str) -> int:
    config = configs.load(CompareConfig, options.config, options.overrides)
    tasks.check_data(config.task)
    name = options.config.stem
    directory = CompareDirectory(options.run_dir or default_path(config, name))
    directory.refuse_another(config)
    check_folder(directory.path, "--run-dir")
    check_utf8(directory.path)
    needed_packages.need_for_runs(plots=config.logging.plots, tensorboard=config.logging.tensorboard)
    needed_packages.need(*needed_packages.FOR_PLOTS, what="compare")
    console = terminal.console()

    from experiments.compare.run import compare

    exit_code, results = compare(config, name, directory, command, console)
    if results is None:
        terminal.say(console, f"interrupted; to go on:\n  {command}")
        return exit_code
    terminal.say(console, "")
    terminal.say(console, directory.table.read_text(encoding="utf-8", errors="surrogateescape"))
    terminal.say(console, f"table   {directory.table}\nplots   {directory.plots}\nresults {directory.results}")
    return exit_code


def _data(_: argparse.Namespace, __: str) -> int:
    from experiments.tasks.data_table import table

    console = terminal.console()
    console.print(table())
    terminal.say(console, "\nPackages are read, not imported, but for babel; nothing is downloaded at run time.")
    return 0


def _bench(options: argparse.Namespace, command: str) -> int:
    config = configs.load(BenchConfig, options.config, options.overrides)
    directory = BenchDirectory(options.run_dir or default_path(config, "bench"))
    console = terminal.console()
    measured, exit_code = directory.inspect(config), 0
    check_folder(directory.path, "--run-dir")
    needed_packages.need(*needed_packages.FOR_PLOTS, what="bench")
    if measured is not None and measured.status == "complete":
        from experiments.bench import pages

        lost = pages.missing(measured, directory)
        rest = f", writing {', '.join(path.name for path in lost)} again" if lost else ""
        terminal.say(console, f"{directory}: already complete{rest}; --run-dir DIR measures again elsewhere")
        if lost:
            pages.write(measured, directory)
    else:
        if measured is not None:
            terminal.say(
                console, f"{directory}: an unfinished bench, which begins again: times of two processes do not mix"
            )

        from experiments.bench.run import bench

        measured, exit_code = bench(config, directory, command, console)

    from experiments.bench import tables

    console.print(tables.terminal(measured))
    terminal.say(console, f"\ntable   {directory.table}\nplots   {directory.plots}\nresults {directory.results}")
    if exit_code:
        terminal.say(console, "interrupted: these are the groups that were finished; the same command begins again")
    return exit_code


_COMMANDS = {
    "train": _train,
    "eval": _eval,
    "plot": _plot,
    "export": _export,
    "report": _report,
    "config": _config,
    "compare": _compare,
    "data": _data,
    "bench": _bench,
}
