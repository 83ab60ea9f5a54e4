"""The config of a comparison: a run's config, and the cells to put into it. Nothing here imports JAX."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from experiments.config.backends import refusal
from experiments.config.block import Block
from experiments.config.cells import CellConfig
from experiments.runs.config import Config

Match = Literal["width", "parameters"]


class GradientFlowConfig(Block):
    """How far back gradients reach: the norm of d state_T / d state_t, along rows of the validation split."""

    steps: Annotated[int, Field(gt=1, le=4096)] = 100
    """The longest distance T - t that is looked at."""
    rows: Annotated[int, Field(gt=0, le=64)] = 4
    """Rows whose norms are averaged, geometrically."""


class ComparisonConfig(Block):
    """What is compared."""

    cells: Annotated[list[CellConfig], Field(min_length=2)]
    """Each takes the place of model.cell; the others' parameters are matched to those of the first."""
    match: Annotated[list[Match], Field(min_length=1, default=["width", "parameters"])]
    """"width": every cell is as wide as model.features; "parameters": its width brings it nearest to the first cell."""
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Field(min_length=1, default=[0])]
    gradient_flow: GradientFlowConfig | None = None

    @field_validator("cells", "match", "seeds")
    @classmethod
    def _each_once(cls, values: list[Any]) -> list[Any]:
        names = [getattr(value, "name", value) for value in values]
        if len(set(names)) < len(names):
            raise ValueError(f"expected each one once, got {names}")
        return values


class CompareConfig(Config):
    """A run's config, of which `seed`, `model.cell` and, for equal parameters, `model.features` vary."""

    compare: ComparisonConfig

    @model_validator(mode="after")
    def _every_cell_has_the_backend(self) -> Self:
        for cell in self.compare.cells:
            if why := refusal(self.model.backend, cell.name):
                raise ValueError(f"model.backend: {why} in compare.cells")
        return self

    @model_validator(mode="after")
    def _begins_afresh(self) -> Self:
        for key, value in {
            "model.start": self.model.start,
            "training.continue_from": self.training.continue_from,
        }.items():
            if value is not None:
                raise ValueError(f"{key}: a comparison begins every cell afresh; leave it out")
        return self
