"""The config of a bench: frozen, all keys known, checked before JAX is imported."""

from typing import Annotated, Any, Literal

from pydantic import Field, PlainSerializer, PlainValidator, field_validator

from experiments.bench import registry
from experiments.config.block import Block

Mode = Literal["forward", "training"]
Option = Literal["plain", "lengths", "resets", "both"]
Shape = tuple[int, int, int, int]
"""T, B, I, H."""

_LARGEST = 2**20


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _LARGEST


def _shape(value: Any) -> Shape:
    if not isinstance(value, list | tuple) or len(value) != 4 or not all(map(_is_size, value)):
        raise ValueError(f"expected a shape [T, B, I, H], four integers > 0 and <= {_LARGEST}, got {value!r}")
    steps, batch, inputs, features = value
    return steps, batch, inputs, features


def _shapes(value: Any) -> tuple[Shape, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"expected a list of shapes [T, B, I, H], got {value!r}")
    return tuple(_shape(item) for item in value)


def _sizes(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list | tuple) or not all(map(_is_size, value)):
        raise ValueError(f"expected a list of integers > 0 and <= {_LARGEST}, got {value!r}")
    return tuple(sorted(set(value)))


def _unchanged(value: Any) -> Any:
    return value


OneShape = Annotated[Shape, PlainValidator(_shape), PlainSerializer(_unchanged)]
Shapes = Annotated[tuple[Shape, ...], PlainValidator(_shapes), PlainSerializer(_unchanged)]
Sizes = Annotated[tuple[int, ...], PlainValidator(_sizes), PlainSerializer(_unchanged)]
Seconds = Annotated[float, Field(gt=0)]


class MaskedConfig(Block):
    """Rows of different lengths, and sequences that end within a row."""

    shapes: Shapes = ()
    options: Annotated[list[Option], Field(min_length=1, default=["plain", "lengths", "resets", "both"])]
    """At each shape, all of these take their turns in the same rounds."""


class GrowthConfig(Block):
    """How the time changes as one size grows and the others stay at ``fixed``."""

    fixed: OneShape = (128, 8, 64, 64)
    T: Sizes = ()
    B: Sizes = ()
    H: Sizes = ()
    mode: Mode = "training"


class BenchConfig(Block):
    """A whole bench: who takes part, on which problems, and how long is measured."""

    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    contenders: Annotated[list[str], Field(min_length=1)]
    modes: Annotated[list[Mode], Field(min_length=1, default=["forward", "training"])]
    shapes: Shapes
    masked: MaskedConfig | None = None
    growth: GrowthConfig | None = None
    rounds: Annotated[int, Field(gt=0, le=10_000)] = 9
    seconds_per_measurement: Seconds = 0.05
    """A measurement is as many calls as fill this time, one at least."""
    max_seconds: Seconds = 20.0
    """A contender with a longer call is not run on larger problems of the same kind."""
    max_gigabytes: Seconds = 16.0
    """A program that needs more temporary memory, as XLA plans it, is not run; torch has no such plan."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    matmul_precision: Literal["float32", "tensorfloat32"] | None = None
    """Of float32 products on a GPU, in JAX and torch alike; null leaves each library at its own default."""
    matmul_sizes: Annotated[Sizes, Field(min_length=1)] = (512, 1024, 2048)
    """The widths of the square products that tell the rate of the machine."""

    @field_validator("contenders")
    @classmethod
    def _known_contenders(cls, names: list[str]) -> list[str]:
        registry.check_names(names)
        return names

    @property
    def baseline(self) -> str | None:
        """The contender that the ratios divide by: plain ``gru_jax`` if it takes part, else the first of ours."""
        mine = [name for name in self.contenders if registry.variant_of(name)]
        return "gru_jax" if "gru_jax" in mine else next(iter(mine), None)
