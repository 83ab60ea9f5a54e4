"""PyTorch: the state dicts of `torch.nn.GRU` and `torch.nn.GRUCell`."""

import os
import re
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from gru_jax._cells.cell import Cell
from gru_jax.interop._formats import TORCH
from gru_jax.interop._listing import listed
from gru_jax.interop._paths import blaming, check_path
from gru_jax.interop._safetensors import read_safetensors
from gru_jax.interop._stacks import (
    Params,
    check_stack,
    check_tanh_and_sigmoid,
    has_bias,
    read_stack,
    write_stack,
)
from gru_jax.interop._torch_wraps import places, unwrapped

_KEY = re.compile(r"weight_hh(?:_l(\d{1,9})(_reverse)?)?")


def from_torch(state_dict: Mapping[str, Any] | str | os.PathLike[str], *, prefix: str = "") -> tuple[Cell, Params]:
    """The cell and params of a `torch.nn.GRU` or `torch.nn.GRUCell`, with any layers and directions, biases or none.

    PyTorch stacks r, z, n, multiplies from the left, resets after the product, and keeps with z. Its outputs and final
    states are those of `gru_jax.scan_layers`, 0 in the padding of a packed sequence. Weights under weight norm
    (`weight_g` and `weight_v`, or `parametrizations`) are computed as g v / ‖v‖, pruned ones as weight times mask.
    Other wrapped weights are refused, with how to unwrap them. Dropout between layers is no part of the weights.

    Args:
      state_dict: what `module.state_dict()` or `torch.load(path, weights_only=True)` returned, tensors or arrays; or
        the path of a `.safetensors` file. Nothing is ever unpickled.
      prefix: which keys of a larger state dict belong to this GRU, such as `"encoder.rnn."`; the last dot may be left
        out. Keys that do not begin with it are passed over.

    Returns:
      `gru_jax.gru()`, without biases `gru_jax.gru(use_bias=False)`, and params[layer][direction] in the dtype of the
      weights, None where there is no bias.

    Raises:
      TypeError, ValueError, OSError: naming the key, what was expected there and what came.

    Example:
      >>> import gru_jax, numpy as np
      >>> shapes = {"weight_ih_l0": (12, 3), "weight_hh_l0": (12, 4), "bias_ih_l0": (12,), "bias_hh_l0": (12,)}
      >>> state_dict = {f"rnn.{key}": np.ones(shape, np.float32) for key, shape in shapes.items()}
      >>> cell, params = gru_jax.interop.from_torch(state_dict, prefix="rnn.")
      >>> params[0][0].w_i.shape
      (3, 12)

    Source: torch.nn.GRU, documentation.
    """
    if isinstance(state_dict, str | os.PathLike):
        tensors = read_safetensors(state_dict)
        with blaming(check_path(state_dict)):
            return from_torch(tensors, prefix=prefix)
    if not isinstance(state_dict, Mapping):
        raise TypeError(
            f"state_dict: expected a mapping of names to tensors, or the path of a .safetensors file, got "
            f"{type(state_dict).__name__}; pass module.state_dict()."
        )
    prefix = _checked_prefix(prefix)
    given = {str(key): value for key, value in state_dict.items() if str(key).startswith(prefix)}
    given = unwrapped(given, prefix, map(str, state_dict))
    layers, suffixes, single = _found(given, prefix)
    if not layers:
        raise ValueError(_nothing_there(state_dict, prefix))
    where = [
        [{"prefix": prefix, "place": "" if single else f"_l{layer}{suffix}"} for suffix in suffixes]
        for layer in range(layers)
    ]
    return read_stack(
        TORCH,
        given,
        where,
        argument="state_dict",
        label="state_dict[{!r}]",
        remedy="pass the keys of one GRU, all of them; prefix= picks them out of a larger state dict",
    )


def to_torch(
    cell: Cell, params: Any, *, prefix: str = "", bias: bool | None = None, module: Literal["GRU", "GRUCell"] = "GRU"
) -> dict[str, np.ndarray]:
    """The state dict of the `torch.nn.GRU` (or `GRUCell`) that computes what this cell with these params does.

    With `update_gate="write"` z is negated, as σ(-a) = 1 - σ(a).

    Args:
      cell: `gru_jax.gru(...)` with `reset_after=True`.
      params: params[layer][direction], or the `GRUParams` of one layer.
      prefix: put before each key; the last dot may be left out.
      bias: False for a module made with `bias=False`; all biases have to be 0 or None. None: with biases where the
        params have any; a bias of None beside one that is not None is written as 0.
      module: which of PyTorch's two modules; "GRUCell" holds one layer in one direction.

    Returns:
      NumPy arrays by key: `module.load_state_dict({key: torch.from_numpy(a) for key, a in arrays.items()})`. For
      bfloat16, which `torch.from_numpy` does not take, pass `a.astype("float32")`: the module rounds nothing.

    Raises:
      TypeError, ValueError: for another cell, reset order or shape, naming it.
    """
    if module not in ("GRU", "GRUCell"):
        raise ValueError(f'module: expected "GRU" or "GRUCell", got {module!r}; pass one of the two.')
    single, prefix = module == "GRUCell", _checked_prefix(prefix)
    stack = check_stack(f"torch.nn.{module}", cell, params, layers=1 if single else None, directions=1 if single else 2)
    check_tanh_and_sigmoid(f"torch.nn.{module}", cell)
    _check_one_width(stack)
    where = [
        [
            {"prefix": prefix, "place": "" if single else f"_l{layer}{suffix}"}
            for suffix in ("", "_reverse")[: len(stack[0])]
        ]
        for layer in range(len(stack))
    ]
    return write_stack(TORCH, TORCH.layouts[0 if has_bias(bias, stack) else 1], cell, stack, where)


def _checked_prefix(prefix: Any) -> str:
    if not isinstance(prefix, str):
        raise TypeError(f"prefix: expected a string, got {prefix!r} of type {type(prefix).__name__}; pass one.")
    return f"{prefix}." if prefix and not prefix.endswith(".") else prefix


def _found(given: Mapping[str, Any], prefix: str) -> tuple[int, tuple[str, ...], bool]:
    """How many layers there are, the suffixes of the directions, and whether it is a GRUCell."""
    matches = [match for key in given if (match := _KEY.fullmatch(key.removeprefix(prefix)))]
    single = any(match[1] is None for match in matches)
    layers = max((int(match[1] or 0) + 1 for match in matches), default=0)
    # A key with a wild number is one key too many, not so many layers.
    layers = min(layers, len(matches))
    return layers, ("", "_reverse") if any(match[2] for match in matches) else ("",), single


def _nothing_there(state_dict: Mapping[str, Any], prefix: str) -> str:
    found = listed([str(key) for key in state_dict]) if state_dict else "none"
    faults: dict[str, str] = {}
    for place in places(map(str, state_dict))[:_MOST]:
        if place != prefix:
            try:
                from_torch(state_dict, prefix=place)
                faults[place] = ""
            except (TypeError, ValueError) as error:
                faults[place] = str(error)
    working = [place for place, fault in faults.items() if not fault]
    way = "pass the state dict of a torch.nn.GRU"
    if working:
        way = f"pass prefix={' or '.join(map(repr, working[:4]))}"
    elif faults:
        place, fault = next(iter(faults.items()))
        way = f"with prefix={place!r} {fault.removesuffix('.')}"
    return f"state_dict: expected keys such as {prefix + 'weight_hh_l0'!r}, found {found}; {way}."


# Tries at most: each converts all of these weights.
_MOST = 16


def _check_one_width(stack: Params) -> None:
    widths = [layer[0].w_h.shape[0] for layer in stack]
    if len(set(widths)) > 1:
        raise ValueError(
            f"params: torch.nn.GRU holds layers of one width, got {widths}; convert them one by one, (params[layer],) "
            "each time."
        )
