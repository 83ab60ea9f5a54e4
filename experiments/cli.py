"""The command line: ``python -m experiments train | eval | plot | export | compare | report | config | data | bench``.

Exit codes: see `process`; after a mistake of the user's (2) nothing is written. JAX is imported only after the config
was found to be good, and what is imported after the work is tried before it.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from experiments import config as configs
from experiments import needed_packages, process, tasks, terminal
from experiments.bench.directory import BenchDirectory, is_bench
from experiments.bench.directory import default_path as default_bench_path
from experiments.bench.schema import BenchConfig
from experiments.compare.directory import CompareDirectory, find_comparisons, is_comparison
from experiments.compare.directory import default_path as default_compare_path
from experiments.compare.schema import CompareConfig
from experiments.errors import UserError
from experiments.export import request as export_request
from experiments.run_directory import ADVICE, RunDirectory, default_path, find_runs
from experiments.schema import Config
from experiments.whole_files import check_folder, check_letters, check_target


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    options = _parse(arguments)
    return process.guarded(lambda: options.run(options, "python -m experiments " + shlex.join(arguments)))


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = _parser()
    # argparse takes no further overrides after an option has come between; here they may stand anywhere.
    options, rest = parser.parse_known_args(arguments)
    if rest and ("overrides" not in options or any(argument.startswith("-") for argument in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.overrides = [*options.overrides, *rest]
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m experiments", description="Recurrent networks from config files.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    train = commands.add_parser("train", help="train a config; goes on where an earlier process stopped")
    _add_config_arguments(train)
    train.add_argument("--run-dir", type=Path, metavar="DIR", help="default: runs/<config>/<hash of the config>")
    train.set_defaults(run=_train)

    evaluate = commands.add_parser("eval", help="print the metrics of a run's last checkpoint")
    evaluate.add_argument("run_directory", type=Path, metavar="RUN", help="a run directory")
    evaluate.add_argument("--split", choices=("validation", "test"), default="test")
    evaluate.set_defaults(run=_eval)

    plot = commands.add_parser("plot", help="draw the plots of a run, a comparison or a bench again")
    plot.add_argument("run_directory", type=Path, metavar="RUN", help="a run directory")
    plot.set_defaults(run=_plot)

    export = commands.add_parser("export", help="write the model of a finished run for use elsewhere")
    export.add_argument("run_directory", type=Path, metavar="RUN", help="a run directory")
    export.add_argument("--to", required=True, metavar="FORMAT", help=" or ".join(export_request.FORMATS))
    export.add_argument("--output", type=Path, metavar="FILE", help="default: RUN/export/model.FORMAT")
    export.set_defaults(run=_export)

    report = commands.add_parser("report", help="compare runs: mean and spread over seeds")
    report.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run directories, or directories of them")
    report.add_argument("--markdown", action="store_true", help="print a Markdown table")
    report.add_argument("--plot", type=Path, metavar="FILE", help="also draw the learning curves into this PNG file")
    report.add_argument("--page", type=Path, metavar="FILE", help="also write a page of results, in Markdown")
    report.set_defaults(run=_report)

    config = commands.add_parser("config", help="check a config and print it with all defaults")
    _add_config_arguments(config)
    config.set_defaults(run=_config)

    compare = commands.add_parser("compare", help="train several cells on one task, and compare them")
    _add_config_arguments(compare)
    compare.add_argument("--run-dir", type=Path, metavar="DIR", help="default: runs/<config>/<hash of the config>")
    compare.set_defaults(run=_compare)

    data = commands.add_parser("data", help="list every data set: installed or not, and how to install it")
    data.set_defaults(run=_data)

    bench = commands.add_parser("bench", help="measure this library beside others")
    _add_config_arguments(bench)
    bench.add_argument("--run-dir", type=Path, metavar="DIR", help="default: runs/bench/<hash of the config>")
    bench.set_defaults(run=_bench)
    return parser


def _add_config_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, metavar="CONFIG", help="a YAML file, see configs/")
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="KEY=VALUE", help="e.g. seed=3 training.steps=500 model.cell=lstm"
    )


def _train(options: argparse.Namespace, command: str) -> int:
    config = configs.load(options.config, options.overrides)
    tasks.check_data(config.task)
    name = options.config.stem
    directory = RunDirectory(options.run_dir or default_path(config, name))
    console = terminal.console()
    if directory.inspect(config) == "complete":
        return _train_nothing(config, directory, console)
    check_folder(directory.path, "--run-dir")
    check_letters(directory.path)
    needed_packages.need_for_runs(plots=config.logging.plots, tensorboard=config.logging.tensorboard)

    from experiments.training import train

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
    """Say what a complete run came to, and draw what of its plots is missing, as after a full disk."""
    from experiments.plots import missing

    lost = missing(directory) if config.logging.plots else []
    rest = f"drawing {', '.join(path.name for path in lost)} again" if lost else "nothing to do"
    terminal.say(console, f"{directory}: already complete, {rest}; --run-dir DIR trains it again elsewhere")
    terminal.show_results(console, directory.read_summary() or {})
    if lost:
        needed_packages.need(*needed_packages.FOR_PLOTS, what="logging.plots")
        _draw(directory, console)
    return 0


def _draw(directory: RunDirectory, console: Console) -> None:
    from experiments.plots import draw

    terminal.say(console, "plots   " + ", ".join(str(path) for path in draw(directory)))


def _eval(options: argparse.Namespace, _: str) -> int:
    directory = RunDirectory(options.run_directory)
    config = directory.read_config()
    tasks.check_data(config.task)

    from experiments.evaluation import evaluate_checkpoint

    console = terminal.console()
    step, origin, metrics, floor = evaluate_checkpoint(config, directory, options.split)
    terminal.say(console, f"{directory}: {origin} parameters at step {step} of {config.training.steps}")
    terminal.show_metrics(console, options.split, metrics, floor if options.split == "test" else {})
    return 0


def _plot(options: argparse.Namespace, _: str) -> int:
    needed_packages.need(*needed_packages.FOR_PLOTS, what="plot")
    if is_bench(options.run_directory):
        from experiments.bench import pages, results

        bench = BenchDirectory(options.run_directory)
        if not bench.results.is_file():
            raise UserError(f"{bench}: a bench that measured nothing yet: nothing to draw")
        for path in pages.write(results.read(bench.results), bench):
            print(path)
        return 0
    if is_comparison(options.run_directory):
        from experiments.compare import pages as compare_pages

        comparison = CompareDirectory(options.run_directory)
        for path in compare_pages.write(comparison.read_results(), comparison):
            print(path)
        return 0
    directory = RunDirectory(options.run_directory)
    directory.read_config()

    from experiments.plots import draw

    for path in draw(directory):
        print(path)
    return 0


def _export(options: argparse.Namespace, _: str) -> int:
    request = export_request.check(options.run_directory, options.to, options.output)
    tasks.check_data(request.config.task)

    from experiments.export.run import export
    from experiments.export.told import show

    trained, files = export(request)
    console = terminal.console()
    origin, step, steps = trained.origin, trained.step, request.config.training.steps
    terminal.say(console, f"{request.directory}: {origin} parameters at step {step} of {steps}")
    show(console, files)
    return 0


def _report(options: argparse.Namespace, command: str) -> int:
    from experiments import report

    for path, option in ((options.plot, "--plot"), (options.page, "--page")):
        if path:
            check_target(path, option)
    if options.plot:
        needed_packages.need(*needed_packages.FOR_PLOTS, what="--plot")
    runs = [report.read(directory) for directory in find_runs(options.runs) if not _is_no_run(directory.path)]
    if not runs:
        raise UserError(f"{', '.join(map(str, options.runs))}: only benches there; plot RUN writes the table of one")
    if options.markdown:
        print(report.markdown(runs))
    else:
        terminal.console().print(report.table(runs))
    if options.plot:
        print(report.draw(runs, options.plot))
    if options.page:
        from experiments import results_page

        print(results_page.write(runs, find_comparisons(options.runs), options.page, command))
    return 0


def _is_no_run(path: Path) -> bool:
    return is_bench(path) or is_comparison(path)


def _config(options: argparse.Namespace, _: str) -> int:
    config = configs.load(options.config, options.overrides)
    tasks.check_data(config.task)
    print(f"# {default_path(config, options.config.stem)}")
    print(configs.to_yaml(config), end="")
    return 0


def _compare(options: argparse.Namespace, command: str) -> int:
    config = configs.load_as(CompareConfig, options.config, options.overrides)
    tasks.check_data(config.task)
    name = options.config.stem
    directory = CompareDirectory(options.run_dir or default_compare_path(config, name))
    directory.refuse_another(config)
    check_folder(directory.path, "--run-dir")
    check_letters(directory.path)
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
    config = configs.load_as(BenchConfig, options.config, options.overrides)
    directory = BenchDirectory(options.run_dir or default_bench_path(config))
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
