"""Params as users pass them: one layer alone or a stack; dicts that were NamedTuples are refused."""

from collections.abc import Mapping
from typing import Any


def as_stack(kind: Any, params: Any) -> Any:
    """`params[layer][direction]` from a stack, which is not checked, or from the params of one layer alone.

    Raises:
      TypeError: for dicts, such as restored checkpoints; it says how to make params of them.
    """
    refuse_dicts(kind, params)
    return ((params,),) if hasattr(params, "_fields") else params


def refuse_dicts(kind: Any, params: Any) -> None:
    """Raise TypeError for a dict in place of all layers, of a layer, or of the NamedTuple `kind`."""
    if isinstance(params, Mapping):
        raise TypeError(
            f"params: expected {kind.__name__}, or params[layer][direction] of them, "
            f"{_of_dict(kind, params, 'params')}."
        )
    if hasattr(params, "_fields"):
        return
    for i, layer in enumerate(params if isinstance(params, tuple | list) else ()):
        if isinstance(layer, Mapping):
            raise TypeError(
                f"params[{i}]: expected a tuple with {kind.__name__} for each direction, "
                f"{_of_dict(kind, layer, f'params[{i}]')}."
            )
        for j, own in enumerate(layer if isinstance(layer, tuple | list) else ()):
            if isinstance(own, Mapping):
                label = f"params[{i}][{j}]"
                raise TypeError(f"{label}: expected {kind.__name__}, {_of_dict(kind, own, label)}.")


def _of_dict(kind: Any, found: Mapping[Any, Any], label: str) -> str:
    keys = set(map(str, found))
    what = f"got {type(found).__name__} of {', '.join(sorted(keys)[:6]) or 'nothing'}"
    if keys and keys <= set(kind._fields):
        return f"{what}; write gru_jax.{kind.__name__}(**{label})"
    if any(key == "params" or key.startswith("layer_") for key in keys):
        return f"{what}; a tree of Flax: pass gru_jax.interop.from_linen({label}, cell=cell)[1]"
    if keys and all(key.isdecimal() for key in keys):
        return (
            f"{what}; tuples that became dicts: write tuple(tuple(gru_jax.{kind.__name__}(**own) "
            f"for own in layer.values()) for layer in {label}.values())"
        )
    return f"{what}; pass what init_layers or a from_ function returned"
