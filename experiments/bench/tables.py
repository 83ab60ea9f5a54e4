"""What was measured, as tables: Markdown for table.md, and the same cells for a terminal. Reads results only."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from rich.console import Group as Stack
from rich.markup import escape
from rich.table import Table as RichTable

from experiments.bench import registry
from experiments.bench.results import Group, Measurement, Results, fraction
from experiments.bench.schema import Mode


class Table(NamedTuple):
    """A title, cells that may be **bold**, and what to say below."""

    title: str
    headings: list[str]
    rows: list[list[str]]
    notes: list[str]


def markdown(results: Results) -> str:
    """Everything: the machine, the times by shape, masks, growth, and each measurement with its details."""
    lines = ["# Bench", "", *_heading(results), ""]
    for table in [*tables(results), *_details(results)]:
        lines += [f"## {table.title}", ""]
        rules = ["---", *("---:" for _ in table.headings[1:])]
        lines += [f"| {' | '.join(row)} |" for row in (table.headings, rules, *table.rows)]
        lines += ["", *(f"- {note}" for note in table.notes), *([""] if table.notes else [])]
    return "\n".join(lines).rstrip() + "\n"


def terminal(results: Results) -> Stack:
    """The tables that compare, for a terminal."""
    parts: list[RichTable | str] = []
    for table in tables(results):
        shown = RichTable(box=None, header_style="bold", pad_edge=False)
        for column, heading in enumerate(table.headings):
            shown.add_column(heading, justify="right" if column else "left", no_wrap=True)
        for row in table.rows:
            shown.add_row(*(f"[bold]{cell.strip('*')}[/bold]" if cell.startswith("**") else cell for cell in row))
        parts += ["", f"[bold]{table.title}[/bold]", shown, *map(escape, table.notes)]
    return Stack(*parts)


def tables(results: Results) -> list[Table]:
    """Times and ratios by shape for each mode, the cost of masks, and growth; without empty tables."""
    made = []
    for mode in dict.fromkeys(group.mode for group in results.groups):
        made += _shapes(results, results.of("shapes", mode), mode)
        made += _masked(results, results.of("masked", mode), mode)
    axes = dict.fromkeys(group.axis for group in results.of("growth"))
    return made + [_growth(results, [group for group in results.of("growth") if group.axis == axis]) for axis in axes]


def _heading(results: Results) -> list[str]:
    facts = results.machine
    packages = ", ".join(f"{name} {version}" for name, version in facts["packages"].items() if version)
    matmul = ", ".join(f"{size}: {rate / 1e9:.4g}" for size, rate in results.matmul.items())
    lines = [
        f"- {facts['cpu']}, {facts['cores']} cores; JAX on {facts['device']}; {facts['platform']}",
        f"- Python {facts['python']}, {packages}; git {facts['git']}",
        f"- `{results.command}`: {results.status}",
        f"- square {results.config['dtype']} products, GFLOP/s by width: {matmul}",
        f"- XLA_FLAGS: {facts['environment'].get('XLA_FLAGS') or 'none'}; load at the start: {facts['load']}",
        "- milliseconds a call, medians of interleaved rounds, without compilation; training is the loss and its "
        "gradients with respect to all parameters and the inputs",
    ]
    return lines + [f"- not measured: {name}: {reason}" for name, reason in results.missing.items()]


def _shapes(results: Results, groups: list[Group], mode: Mode) -> list[Table]:
    if not groups:
        return []
    rows = []
    for name in _present(results):
        times = [_median(group, name) for group in groups]
        rows.append([name, *(_milliseconds(time, _best(group)) for time, group in zip(times, groups, strict=True)), ""])
    ratios, notes = _ratios(results, groups)
    headings = ["(T, B, I, H)", *(_shape(group) for group in groups), "geometric mean"]
    return [Table(f"{mode}, ms", headings, rows + ratios, notes + _left_out(groups))]


def _ratios(results: Results, groups: list[Group]) -> tuple[list[list[str]], list[str]]:
    """Rows and notes: how many times longer the rivals take than the baseline, and where the baseline is not faster."""
    mine = results.baseline
    if mine is None:
        return [], []
    rivals = {
        "best JAX peer": [name for name in results.contenders if registry.is_jax_peer(name)],
        "torch": ["torch"],
    }
    rows, slower = [], []
    for rival, names in rivals.items():
        ratios: list[float | None] = []
        for group in groups:
            ours = _median(group, mine)
            times = {name: time for name in names if (time := _median(group, name)) is not None}
            ratio = min(times.values()) / ours if ours and times else None
            ratios.append(ratio)
            if ratio is not None and ratio < 1:
                slower.append(f"{min(times, key=lambda name: times[name])} at {_shape(group)}: {ratio:.2f}")
        if any(ratio is not None for ratio in ratios):
            rows.append([f"{rival} / {mine}", *(_ratio(ratio) for ratio in ratios), _ratio(geometric_mean(ratios))])
    if not rows:
        return rows, []
    where = "; ".join(slower)
    return rows, [f"where {mine} is not faster: {where}" if where else f"{mine} is faster than all of them everywhere"]


def _masked(results: Results, groups: list[Group], mode: Mode) -> list[Table]:
    """A table for each shape: contenders down, masks across, and what the masks cost over a contender's plain call."""
    made = []
    for group in groups:
        options = list(dict.fromkeys(one.option for one in group.measurements))
        masks = [option for option in options if option != "plain"]
        rows = []
        for name in _present(results):
            plain = _median(group, name)
            found = {option: group.find(name, option) for option in options}
            costs = [one.median / plain if (one := found[option]) and plain else None for option in masks]
            cells = [_masked_cell(one, _best(group, option)) for option, one in found.items()]
            rows.append([name, *cells, *(map(_ratio, costs) if "plain" in options else [])])
        extra = [f"{option} / plain" for option in masks] if "plain" in options else []
        notes = dict.fromkeys(
            f"{one.contender}, {one.option}: {one.note}"
            for one in group.measurements
            if one.note and not one.left_out and one.option != "plain" and not registry.variant_of(one.contender)
        )
        title = f"{mode} with masks at {_shape(group)}, ms"
        made.append(Table(title, ["", *options, *extra], rows, [*notes, *_left_out([group])]))
    return made


def _growth(results: Results, groups: list[Group]) -> Table:
    (axis, mode), fixed = (groups[0].axis, groups[0].mode), dict(zip("TBIH", groups[0].shape, strict=True))
    place = "TBIH".index(axis or "T")
    rows = [
        [name, *(_milliseconds(_median(group, name), _best(group)) for group in groups)] for name in _present(results)
    ]
    others = ", ".join(f"{name}={size}" for name, size in fixed.items() if name != axis)
    headings = [axis or "", *(str(group.shape[place]) for group in groups)]
    return Table(f"growth with {axis}, {mode}, ms ({others})", headings, rows, _left_out(groups))


def _details(results: Results) -> list[Table]:
    rows = []
    for group, one in results.measured():
        low, high = one.quartiles
        rows.append(
            [
                f"{group.mode} {_shape(group)}",
                one.contender,
                one.option if one.computed == one.option else f"{one.option} ({one.computed} only)",
                _number(1e3 * one.median),
                f"{_number(1e3 * low)} to {_number(1e3 * high)}",
                _number(1e6 * one.median / group.shape[0]),
                f"{100 * fraction(one, results.matmul_rate):.1f} %",
                _number(one.compile_seconds),
                "-" if one.temporary_bytes is None else _number(one.temporary_bytes / 2**20),
                "-" if one.difference is None else f"{one.difference:.0e}",
            ]
        )
    headings = ["problem", "contender", "masks", "ms", "half of the rounds", "µs a step", "of matmul rate"]
    headings += ["s to compile", "temporary MiB", "difference"]
    notes = [
        "of matmul rate: operations of the matrix products by formula (elementwise work is not counted) in that time, "
        "to those that the best square product does in it",
        "difference: the largest from a float64 reference",
    ]
    return [Table("every measurement", headings, rows, notes)] if rows else []


def geometric_mean(ratios: Sequence[float | None]) -> float | None:
    """The geometric mean of the ratios that are known; None if none is."""
    known = [ratio for ratio in ratios if ratio is not None]
    return math.exp(sum(map(math.log, known)) / len(known)) if known else None


def _present(results: Results) -> list[str]:
    return [name for name in results.contenders if name not in results.missing]


def _median(group: Group, name: str) -> float | None:
    one = group.find(name)
    return one.median if one else None


def _best(group: Group, option: str = "plain") -> float | None:
    """The best median of the contenders that computed all that was asked for; None without any."""
    times = [one.median for one in group.measurements if one.option == one.computed == option and not one.left_out]
    return min(times, default=None)


def _left_out(groups: list[Group]) -> list[str]:
    """A line for each contender and reason, with the shapes and masks that it holds for."""
    places: dict[tuple[str, str], list[str]] = {}
    for group in groups:
        for one in group.measurements:
            if one.left_out:
                place = _shape(group) if one.option == "plain" else f"{_shape(group)} {one.option}"
                places.setdefault((one.contender, one.left_out), []).append(place)
    return [f"{name} is left out at {'; '.join(where)}: {reason}" for (name, reason), where in places.items()]


def _shape(group: Group) -> str:
    return f"({', '.join(map(str, group.shape))})"


def _milliseconds(time: float | None, best: float | None) -> str:
    if time is None:
        return "-"
    text = _number(1e3 * time)
    return f"**{text}**" if time == best else text


def _masked_cell(one: Measurement | None, best: float | None) -> str:
    text = _milliseconds(one.median if one else None, best)
    return f"{text} ({one.computed} only)" if one and one.computed != one.option else text


def _ratio(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}"


def _number(value: float | None) -> str:
    """Three digits, never in powers of ten: 0.0123, 1.20, 12.0, 1234; "-" for None."""
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 99.95 else f"{value:#.3g}" if abs(value) >= 1e-4 else f"{value:.5f}"
