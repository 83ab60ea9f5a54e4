"""The base of every block of a config. Nothing here imports JAX."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, SerializationInfo, model_serializer
from pydantic import SerializerFunctionWrapHandler as Handler

EVERY_KEY = "every key"
"""The context of a ``model_dump`` that leaves no key out."""


class Block(BaseModel):
    """Immutable, known keys only, no silent conversion, no infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    unwritten_at_default: ClassVar[tuple[str, ...]] = ()
    """Keys that are not written where they have their default. So a new key leaves the hash of an older config, which
    names the directory of its runs, as it was."""

    @model_serializer(mode="wrap")
    def _without_unwritten(self, handler: Handler, info: SerializationInfo) -> dict[str, Any]:
        values = handler(self)
        if info.context == EVERY_KEY:
            return values
        fields = type(self).model_fields
        left_out = {key for key in self.unwritten_at_default if getattr(self, key) == fields[key].default}
        return {key: value for key, value in values.items() if key not in left_out}
