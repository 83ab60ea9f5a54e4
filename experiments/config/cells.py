"""The config block of each cell: its options are those of the function in gru_jax. Nothing here imports JAX."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator
from pydantic import ValidationInfo as Info

from experiments.config.block import Block


class _GatedCell(Block):
    """A cell whose memory span can be set, by the bias of its gate or by chrono initialisation."""

    @field_validator("chrono_span", check_fields=False)
    @classmethod
    def _one_way_to_set_the_bias(cls, span: float | None, info: Info) -> float | None:
        biases = [key for key in ("update_bias", "forget_bias") if info.data.get(key)]
        if span is not None and biases:
            raise ValueError(f"chrono initialisation sets the bias that {biases[0]} sets; give one of the two")
        return span


ChronoSpan = Annotated[float, Field(gt=2)]


class GRUCellConfig(_GatedCell):
    """The GRU, in any of its four published forms."""

    name: Literal["gru"]
    reset_after: bool = True
    update_gate: Literal["keep", "write"] = "keep"
    update_bias: float = 0.0
    chrono_span: ChronoSpan | None = None


class LSTMCellConfig(_GatedCell):
    """The long short-term memory."""

    name: Literal["lstm"]
    forget_bias: float = 0.0
    chrono_span: ChronoSpan | None = None


class RNNCellConfig(Block):
    """Elman's network: one tanh, no gates."""

    name: Literal["rnn"]


class MinGRUCellConfig(_GatedCell):
    """The minimal GRU: its gate and candidate do not see the state."""

    name: Literal["min_gru"]
    update_gate: Literal["keep", "write"] = "write"
    update_bias: float = 0.0
    chrono_span: ChronoSpan | None = None


class ConvGRUCellConfig(Block):
    """The convolutional GRU, over frames."""

    name: Literal["conv_gru"]
    kernel_size: Annotated[int, Field(gt=0, le=31)] = 3
    """Height and width of the neighbourhood that a place sees in one step."""
    patch_size: Annotated[int, Field(gt=0, le=2**10)] = 1
    """The side, in pixels, of the square of a frame that is one place."""
    pool_size: Annotated[int, Field(gt=0, le=2**10)] = 1
    """The side, in places, of the square that becomes one place after the input layer, with its largest values."""
    reset_after: bool = True
    update_gate: Literal["keep", "write"] = "keep"
    update_bias: float = 0.0


class GRUDCellConfig(Block):
    """The GRU-D, whose inputs and state decay while nothing is observed; for tasks with missing values."""

    name: Literal["gru_d"]
    reset_after: bool = False
    update_gate: Literal["keep", "write"] = "write"
    update_bias: float = 0.0


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return {"name": value}
    return {"name": "gru"} | value if isinstance(value, dict) else value


CellConfig = Annotated[
    GRUCellConfig | LSTMCellConfig | RNNCellConfig | MinGRUCellConfig | ConvGRUCellConfig | GRUDCellConfig,
    Field(discriminator="name"),
    BeforeValidator(_cell),
]
