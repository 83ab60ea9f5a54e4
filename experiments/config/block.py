"""The base of every block of a config. Nothing here imports JAX."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, model_serializer
from pydantic import SerializerFunctionWrapHandler as Handler


class Block(BaseModel):
    """Immutable, known keys only, no silent conversion, no infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    unwritten_at_none: ClassVar[tuple[str, ...]] = ()
    """Keys that are not written where they are None. So a new key leaves the hash of an older config, which names the
    directory of its runs, as it was."""

    @model_serializer(mode="wrap")
    def _without_unwritten(self, handler: Handler) -> dict[str, Any]:
        return {
            key: value for key, value in handler(self).items() if value is not None or key not in self.unwritten_at_none
        }
