"""The random streams that NNX modules draw from."""

from typing import Any

from flax import nnx


def check_rngs(rngs: Any) -> None:
    """An `nnx.Rngs`."""
    if not isinstance(rngs, nnx.Rngs):
        raise TypeError(f"rngs: expected an nnx.Rngs, got {rngs!r}; make one with nnx.Rngs(0).")


def stream(rngs: Any, name: str) -> Any:
    """The stream of this name, or the default one; TypeError, ValueError where there is none."""
    check_rngs(rngs)
    try:
        return getattr(rngs, name)
    except AttributeError:
        raise ValueError(
            f'rngs: expected a stream "{name}" or a default one, got {", ".join(sorted(rngs)) or "none"}; '
            f"make one with nnx.Rngs(0) or nnx.Rngs({name}=0)."
        ) from None
