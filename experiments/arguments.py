"""The arguments of the command line: which commands there are, and what each of them takes."""

import argparse
from pathlib import Path

from experiments.config import overrides as command_line
from experiments.export import request as export_request


def parse(arguments: list[str]) -> argparse.Namespace:
    """The options of a command line, its ``command`` among them; mistakes end the process as argparse does."""
    parser = _parser()
    # argparse takes overrides from one place only; here they may stand on both sides of an option.
    options, rest = parser.parse_known_args(arguments)
    if rest and ("overrides" not in options or any(argument.startswith("-") for argument in rest)):
        meant = command_line.meant_by_options(rest, ("--run-dir", "--continue")) if "overrides" in options else ""
        parser.error(f"unrecognized arguments: {' '.join(rest)}{'; ' if meant else ''}{meant}")
    if rest:
        options.overrides = [*options.overrides, *rest]
    if options.command == "train" and options.config is None and options.continue_from is None:
        parser.error("the following arguments are required: CONFIG")
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m experiments", description="Recurrent networks from config files.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    train = commands.add_parser("train", help="train a config; goes on where an earlier process stopped")
    _add_config_arguments(train, nargs="?")
    train.add_argument("--run-dir", type=Path, metavar="DIR", help="default: runs/<config>/<hash of the config>")
    train.add_argument(
        "--continue",
        dest="continue_from",
        type=Path,
        metavar="RUN",
        help="go on from a finished run to more training.steps, in a directory of its own; CONFIG may be left out",
    )
    train.set_defaults(command="train")

    evaluate = commands.add_parser("eval", help="print the metrics of a run's last checkpoint")
    evaluate.add_argument("run_directory", type=Path, metavar="RUN", help="a run directory")
    evaluate.add_argument("--split", choices=("validation", "test"), default="test")
    evaluate.set_defaults(command="eval")

    plot = commands.add_parser("plot", help="draw the plots of a run, a comparison or a bench again")
    plot.add_argument("run_directory", type=Path, metavar="RUN", help="a run directory")
    plot.set_defaults(command="plot")

    export = commands.add_parser("export", help="write the model of a finished run for use elsewhere")
    export.add_argument("run_directory", type=Path, metavar="RUN", help="a run directory")
    export.add_argument("--to", required=True, metavar="FORMAT", help=" or ".join(export_request.FORMATS))
    export.add_argument("--output", type=Path, metavar="FILE", help="default: RUN/export/model.FORMAT")
    export.set_defaults(command="export")

    report = commands.add_parser("report", help="compare runs: mean and spread over seeds")
    report.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run directories, or directories of them")
    report.add_argument("--markdown", action="store_true", help="print a Markdown table")
    report.add_argument("--plot", type=Path, metavar="FILE", help="also draw the learning curves into this PNG file")
    report.add_argument("--page", type=Path, metavar="FILE", help="also write a page of results, in Markdown")
    report.set_defaults(command="report")

    config = commands.add_parser("config", help="check a config and print it with all defaults")
    _add_config_arguments(config)
    config.set_defaults(command="config")

    compare = commands.add_parser("compare", help="train several cells on one task, and compare them")
    _add_config_arguments(compare)
    compare.add_argument("--run-dir", type=Path, metavar="DIR", help="default: runs/<config>/<hash of the config>")
    compare.set_defaults(command="compare")

    data = commands.add_parser("data", help="list every data set: installed or not, and how to install it")
    data.set_defaults(command="data")

    bench = commands.add_parser("bench", help="measure this library beside others")
    _add_config_arguments(bench)
    bench.add_argument("--run-dir", type=Path, metavar="DIR", help="default: runs/bench/<hash of the config>")
    bench.set_defaults(command="bench")
    return parser


def _add_config_arguments(parser: argparse.ArgumentParser, nargs: str | None = None) -> None:
    parser.add_argument("config", type=Path, nargs=nargs, metavar="CONFIG", help="a YAML file, see configs/")
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="KEY=VALUE", help="e.g. seed=3 training.steps=500 model.cell=lstm"
    )
