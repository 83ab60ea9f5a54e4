"""What a bench measured, as plain records; writes them to bench.json and reads them back."""

import dataclasses
import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, cast

from experiments.bench.schema import Mode, Option, Shape
from experiments.system.errors import UserError
from experiments.system.whole_files import write_json

VERSION = 1

Kind = Literal["shapes", "masked", "growth"]


@dataclasses.dataclass
class Measurement:
    """One contender on one problem. A field that is None was not reached, or is not known of this contender."""

    contender: str
    option: Option
    """The masks that were asked for."""
    computed: Option | None = None
    """The masks that it applied, by its library or by hand; only keras applies fewer than it is asked for."""
    left_out: str | None = None
    """Why there are no times; None if there are."""
    note: str = ""
    difference: float | None = None
    """The largest difference from the float64 reference, of all outputs and of the loss."""
    compile_seconds: float | None = None
    first_call_seconds: float | None = None
    temporary_bytes: int | None = None
    flops: int | None = None
    calls: int | None = None
    """How many calls each round makes."""
    rounds: list[float] = dataclasses.field(default_factory=list)
    """Seconds a call, one number for each round, in order."""

    @property
    def median(self) -> float:
        """Seconds a call."""
        return statistics.median(self.rounds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """Seconds a call, between which the middle half of the rounds lies."""
        if len(self.rounds) == 1:
            return self.rounds[0], self.rounds[0]
        first, _, third = statistics.quantiles(self.rounds, n=4, method="inclusive")
        return first, third


@dataclasses.dataclass
class Group:
    """Measurements that took their turns in the same rounds."""

    kind: Kind
    mode: Mode
    shape: Shape
    measurements: list[Measurement]
    axis: str | None = None
    """With kind "growth", the size that grows: T, B or H."""

    def find(self, contender: str, option: Option = "plain") -> Measurement | None:
        """The measurement, if it has times."""
        for one in self.measurements:
            if (one.contender, one.option) == (contender, option) and not one.left_out:
                return one
        return None


@dataclasses.dataclass
class Results:
    """A whole bench, or as much of it as there was time for."""

    config: dict[str, Any]
    command: str
    machine: dict[str, Any]
    """As in environment.json."""
    contenders: list[str]
    """All that were asked for, in the config's order."""
    baseline: str | None
    """The contender that ratios divide by."""
    missing: dict[str, str]
    """Contenders that are not installed, with how to install them."""
    matmul: dict[str, float]
    """Floating-point operations a second of square products by their width."""
    status: Literal["running", "complete", "interrupted"] = "running"
    groups: list[Group] = dataclasses.field(default_factory=list)

    @property
    def matmul_rate(self) -> float:
        """The machine's limit, as far as it was measured: the best rate of the square products."""
        return max(self.matmul.values())

    def of(self, kind: Kind, mode: Mode | None = None) -> list[Group]:
        """The groups of a kind (and a mode), in the order in which they were measured."""
        return [group for group in self.groups if group.kind == kind and mode in (None, group.mode)]

    def measured(self) -> Iterator[tuple[Group, Measurement]]:
        """Everything that has times."""
        return ((group, one) for group in self.groups for one in group.measurements if not one.left_out)


def write(results: Results, path: Path) -> None:
    """Write bench.json in one rename, with what follows from the rounds for readers without this package."""
    values = {"version": VERSION, **dataclasses.asdict(results), "matmul_rate": results.matmul_rate}
    for group, written in zip(results.groups, values["groups"], strict=True):
        for one, record in zip(group.measurements, written["measurements"], strict=True):
            if not one.left_out:
                record["derived"] = _derived(one, group, results.matmul_rate)
    write_json(path, values)


def _derived(one: Measurement, group: Group, rate: float) -> dict[str, Any]:
    return {
        "median": one.median,
        "quartiles": one.quartiles,
        "min": min(one.rounds),
        "max": max(one.rounds),
        "us_per_step": 1e6 * one.median / group.shape[0],
        "fraction_of_matmul_rate": fraction(one, rate),
    }


def fraction(one: Measurement, rate: float) -> float:
    """The rate of the measurement's counted operations, as a share of the machine's matmul rate."""
    return (one.flops or 0) / (one.median * rate)


def read(path: Path) -> Results:
    """Read what `write` wrote; UserError if it is damaged."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        version = values.pop("version")
        if version != VERSION:
            raise UserError(
                f"{path}: of version {version}, and this one reads {VERSION}; read it with the version that wrote it, "
                "or measure again in another --run-dir"
            )
        del values["matmul_rate"]
        groups = [_group(group) for group in values.pop("groups")]
        return Results(**values, groups=groups)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: damaged ({error!r}); delete it, and bench measures again") from None


def _group(values: dict[str, Any]) -> Group:
    measurements = []
    for record in values.pop("measurements"):
        record.pop("derived", None)
        measurements.append(Measurement(**record))
    shape = cast(Shape, tuple(values.pop("shape")))
    return Group(**values, shape=shape, measurements=measurements)
