"""The random streams that NNX modules draw from."""

from typing import Any

import jax
from flax import nnx

from gru_jax._cells.checks import check_key


def check_rngs(rngs: Any) -> None:
    """Check what a call draws from: an `nnx.Rngs`, one of its streams, a key, or None."""
    if rngs is not None and not isinstance(rngs, nnx.Rngs | nnx.RngStream | jax.Array):
        raise TypeError(
            f"rngs: expected an nnx.Rngs, one of its streams or a random key, got {rngs!r}; make one with nnx.Rngs(0)."
        )


def stream(rngs: Any, name: str) -> nnx.RngStream:
    """The stream of this name or the default one; `rngs` if it is a stream. TypeError or ValueError for none."""
    if isinstance(rngs, nnx.RngStream):
        return rngs
    if not isinstance(rngs, nnx.Rngs):
        raise TypeError(
            f"rngs: expected an nnx.Rngs, got {rngs!r}; make one with nnx.Rngs(0), or of a key with nnx.Rngs(key)."
        )
    try:
        return getattr(rngs, name)
    except AttributeError:
        raise ValueError(
            f'rngs: expected a stream "{name}" or a default one, got {", ".join(sorted(rngs)) or "none"}; '
            f"make one with nnx.Rngs(0) or nnx.Rngs({name}=0)."
        ) from None


def dropout_stream(rngs: Any) -> Any:
    """A module's own dropout stream, forked from that of rngs; None where rngs has none yet."""
    if rngs is None:
        return nnx.data(None)
    try:
        return stream(rngs, "dropout").fork()
    except ValueError:
        return nnx.data(None)


def dropout_keys(own: Any, rngs: Any, count: int = 1) -> list[jax.Array]:
    """The next `count` keys of rngs, or of the module's own stream where rngs is None."""
    if rngs is None and own is None:
        raise ValueError(
            'rngs: expected a stream "dropout" to draw from, got none when the module was made and none now; '
            "pass rngs=nnx.Rngs(dropout=0) at either, or call eval()."
        )
    if isinstance(rngs, jax.Array):
        check_key("rngs", rngs)
        return [rngs] if count == 1 else list(jax.random.split(rngs, count))
    check_rngs(rngs)
    draws = own if rngs is None else stream(rngs, "dropout")
    return [draws() for _ in range(count)]
