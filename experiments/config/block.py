"""What every block of a config keeps to. Nothing here imports JAX."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, model_serializer
from pydantic import SerializerFunctionWrapHandler as Handler


class Block(BaseModel):
    """Immutable, known keys only, no silent conversion, no infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    unwritten_at_none: ClassVar[tuple[str, ...]] = ()
    """Keys that are left out of what is written where they are None: the hash of a config, which names the directory of
    its runs, stays what it was before there were such keys."""

    @model_serializer(mode="wrap")
    def _without_unwritten(self, handler: Handler) -> dict[str, Any]:
        return {
            key: value for key, value in handler(self).items() if value is not None or key not in self.unwritten_at_none
        }
