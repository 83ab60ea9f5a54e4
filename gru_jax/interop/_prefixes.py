"""Which prefixes pick a GRU out of a larger tree; messages advise only what has been tried."""

import re
from collections.abc import Callable, Sequence
from typing import Any

Prefix = str | Sequence[str | Sequence[str]]
"""Where one layer is in a larger tree, "encoder/gru"; or a list for each layer, or for each layer and direction."""

_DIRECTIONS = re.compile(r"(forward|backward|fwd|bwd|reverse)")
_OPPOSITE = {"forward": ("backward", "reverse"), "fwd": ("bwd", "reverse")}
# Tries at most: each converts all of these weights.
_MOST = 16


def advise(places: Sequence[str], works: Callable[[Any], bool]) -> str | None:
    """Advice to pass those prefixes among `places`, and lists of them, that work; None where none does.

    Two places whose names say forward and backward are two directions of a layer; others may be layers of a stack.
    """
    places = sorted(places, key=_natural)[:_MOST]
    pairs = _pairs(places)
    if pairs and 2 * len(pairs) == len(places) and works(pairs):
        return f"pass prefix={pairs!r}, both directions of {'the layer' if len(pairs) == 1 else 'each layer'}"
    singles = [place for place in places if works(place)]
    said = [f"prefix={' or '.join(map(repr, singles[:4]))}"] if singles else []
    if 1 < len(singles) == len(places):
        said += [f"prefix={singles!r} for layers of one stack"] if works(singles) else []
        both = [singles] if len(singles) == 2 else []
        said += [f"prefix={both!r} for two directions of a layer"] if both and works(both) else []
    return f"pass {', or '.join(said)}" if said else None


def nested(prefix: Any) -> list[list[str]]:
    """The prefix of each layer and direction.

    Raises:
      TypeError: for what is no string and no list of such.
    """
    layers = [prefix] if isinstance(prefix, str) else prefix
    if not isinstance(layers, Sequence) or not layers:
        raise TypeError(
            f"prefix: expected a string, or a list of one for each layer, got {prefix!r}; pass one of these."
        )
    found = [[layer] if isinstance(layer, str) else list(layer) for layer in layers]
    for layer in found:
        if len(layer) not in (1, 2) or not all(isinstance(name, str) for name in layer):
            raise TypeError(f"prefix: expected one string or two a layer, got {layer!r}; pass one for each direction.")
    return found


def _pairs(places: Sequence[str]) -> list[list[str]]:
    """Places whose names differ in the direction alone, forward first."""
    found = []
    for place in places:
        for match in _DIRECTIONS.finditer(place):
            others = [place[: match.start()] + word + place[match.end() :] for word in _OPPOSITE.get(match.group(), ())]
            found += [[place, other] for other in others if other in places]
    return found


def _natural(name: str) -> list[tuple[int, str]]:
    """A key for sorting, by which numbers in a name count as numbers."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d{1,9})", name) if part]
