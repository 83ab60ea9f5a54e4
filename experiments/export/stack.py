"""The recurrent layers of a model as gru_jax's functions take them."""

from collections.abc import Mapping
from typing import Any

import jax

import gru_jax

_DIRECTIONS = ("forward", "backward")


def stack_of(cell: gru_jax.Cell, layers: Mapping[str, Mapping[str, Any]]) -> tuple[tuple[Any, ...], ...]:
    """``params[layer][direction]`` from the parameters that `gru_jax.linen.GRU` names ``layer_0/forward/w_i``, ..."""
    kind = type(jax.eval_shape(lambda: cell.init(jax.random.key(0), 1, 1)))
    ordered = [layers[f"layer_{number}"] for number in range(len(layers))]
    return tuple(tuple(kind(**own[name]) for name in _DIRECTIONS if name in own) for own in ordered)
