"""The contenders by name: how they are spelt, and what each needs to be installed. Nothing here imports any."""

import difflib
import importlib.util
import re
from collections.abc import Sequence
from typing import NamedTuple

INSTALL = 'pip install -e ".[bench]"'
TORCH_NOTE = "where torch's small CPU build is wanted, install that first: the default one may pull gigabytes"

_BACKENDS = ("scan", "fused")


class Peer(NamedTuple):
    """Another library with a GRU."""

    package: str
    """As pip knows it."""
    module: str
    """As Python imports it."""


PEERS: dict[str, Peer] = {
    "linen": Peer("flax", "flax"),
    "nnx": Peer("flax", "flax"),
    "haiku": Peer("dm-haiku", "haiku"),
    "equinox": Peer("equinox", "equinox"),
    "keras": Peer("keras", "keras"),
    "torch": Peer("torch", "torch"),
}


class Variant(NamedTuple):
    """A way to call ``gru_jax.scan``, from a name such as ``gru_jax:fused,remat=32``."""

    backend: str = "auto"
    vmap: bool = False
    """Whether `jax.vmap` over a scan of single rows takes the place of a batch axis."""
    remat: int | None = None


def variant_of(name: str) -> Variant | None:
    """The variant of this library that ``name`` stands for; None for any other name.

    Example:
      >>> variant_of("gru_jax:remat=32")
      Variant(backend='auto', vmap=False, remat=32)
    """
    library, _, options = name.partition(":")
    if library != "gru_jax" or name.endswith(":"):
        return None
    variant = Variant()
    for option in options.split(",") if options else ():
        if option in _BACKENDS and variant.backend == "auto":
            variant = variant._replace(backend=option)
        elif option == "vmap" and not variant.vmap:
            variant = variant._replace(vmap=True)
        elif re.fullmatch(r"remat=[1-9]\d*", option) and variant.remat is None:
            variant = variant._replace(remat=int(option.removeprefix("remat=")))
        else:
            return None
    return variant


def is_jax_peer(name: str) -> bool:
    """Whether another library on JAX has this name."""
    return name in PEERS and name != "torch"


def check_names(names: Sequence[str]) -> None:
    """Raise ValueError, which lists the contenders, if one of ``names`` is none or stands there twice."""
    for place, name in enumerate(names):
        if name not in PEERS and variant_of(name) is None:
            known = ["gru_jax", *(f"gru_jax:{backend}" for backend in _BACKENDS), "gru_jax:vmap", *PEERS]
            near = difflib.get_close_matches(name, known, n=1)
            hint = f'; did you mean "{near[0]}"?' if near else ""
            raise ValueError(
                f"expected contenders out of {', '.join(known)} and gru_jax:remat=K (options of "
                f'gru_jax may be joined, as in gru_jax:scan,remat=32), got "{name}"{hint}'
            )
        if name in names[:place]:
            raise ValueError(f'expected every contender once, got "{name}" twice')


def missing(names: Sequence[str]) -> dict[str, str]:
    """For each contender among ``names`` that is not installed: what it lacks, and how to install that."""
    reasons = {}
    for name in names:
        peer = PEERS.get(name)
        if peer and importlib.util.find_spec(peer.module) is None:
            note = f" ({TORCH_NOTE})" if peer.package == "torch" else ""
            reasons[name] = f"{peer.package} is not installed: {INSTALL}{note}"
    return reasons
