"""What every block of a config keeps to. Nothing here imports JAX."""

from pydantic import BaseModel, ConfigDict


class Block(BaseModel):
    """Immutable, known keys only, no silent conversion, no infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
