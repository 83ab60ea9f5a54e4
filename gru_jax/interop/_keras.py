"""Keras 3: the weights of `keras.layers.GRU` and of `keras.layers.Bidirectional` around one."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gru_jax._cells.cell import Cell
from gru_jax._cells.checks import check_flag
from gru_jax.interop._activations import of_keras, to_keras_name
from gru_jax.interop._arrays import as_numpy
from gru_jax.interop._formats import KERAS, KERAS_RESET_BEFORE
from gru_jax.interop._keras_layer import facts_of, is_layer
from gru_jax.interop._stacks import Params, check_stack, has_bias, read_stack, write_stack

_NAMES = ("kernel", "recurrent_kernel", "bias")
_DIRECTIONS = ("forward/", "backward/")


def from_keras(
    weights: Any,
    *,
    reset_after: bool = True,
    bidirectional: bool = False,
    activation: str = "tanh",
    recurrent_activation: str = "sigmoid",
) -> tuple[Cell, Params]:
    """The cell and params of a `keras.layers.GRU`, or of `keras.layers.Bidirectional` around one.

    Keras stacks z, r, n and keeps with z. Its GRU repeats the last output on masked steps; gru_jax gives 0 there, and
    so does Keras's Bidirectional. Run a layer with `go_backwards=True` by `reverse=True` here: its ys stand in the
    order of xs.

    Args:
      weights: what `layer.get_weights()` returns: kernel, recurrent_kernel and, unless `use_bias=False`, bias; with
        `bidirectional` those of the forward layer and then those of the backward layer. Or the layer, which says the
        rest itself. `go_backwards`, `stateful`, dropout and a `merge_mode` other than "concat" are refused by name.
      reset_after: as the layer was made; its bias is (2, 3H) with True, and (3H,) with False.
      bidirectional: whether the weights are those of a `Bidirectional` layer that concatenates.
      activation, recurrent_activation: as the layer was made, by the names of Keras 3 for functions of each number
        alone.

    Returns:
      The cell, and params[0][direction] in the dtype of the weights. Both biases are None without a bias, and b_h is
      None beside a bias of `(3H,)`.

    Raises:
      TypeError, ValueError: naming the array, what was expected and what came.

    Example:
      >>> import gru_jax, numpy as np
      >>> weights = [np.ones(shape, np.float32) for shape in ((3, 12), (4, 12), (2, 12))]
      >>> cell, params = gru_jax.interop.from_keras(weights)
      >>> params[0][0].w_h.shape
      (4, 12)

    Source: keras.layers.GRU, documentation.
    """
    if is_layer(weights):
        stated = facts_of(weights)
        told = {"reset_after": (reset_after, True), "bidirectional": (bidirectional, False)}
        told |= {"activation": (activation, "tanh"), "recurrent_activation": (recurrent_activation, "sigmoid")}
        for name, (value, default) in told.items():
            if value not in (default, stated[name]):
                raise ValueError(
                    f"{name}: expected {stated[name]!r}, as the layer has it, got {value!r}; leave it out."
                )
        return from_keras(weights.get_weights(), **stated)
    functions = of_keras("activation", activation), of_keras("recurrent_activation", recurrent_activation)
    reset_after = check_flag("reset_after", reset_after)
    directions = _DIRECTIONS if check_flag("bidirectional", bidirectional) else _DIRECTIONS[:1]
    if not isinstance(weights, Sequence) or isinstance(weights, str):
        raise TypeError(
            f"weights: expected a list of arrays, got {type(weights).__name__}; pass what layer.get_weights() returns."
        )
    count = len(directions)
    if len(weights) not in (2 * count, 3 * count):
        way = "pass what layer.get_weights() returns"
        if bidirectional and len(weights) in (2, 3):
            way = "pass bidirectional=False"
        elif not bidirectional and len(weights) in (4, 6):
            way = "pass the weights of stacked layers one by one"
            if _fit(weights, reset_after=reset_after, bidirectional=True):
                way = f"pass bidirectional=True for a Bidirectional layer, and {way.removeprefix('pass ')}"
        raise ValueError(
            f"weights: expected {2 * count} or {3 * count} arrays with bidirectional={bidirectional}, "
            f"got {len(weights)}; {way}."
        )
    each = len(weights) // count
    given: dict[str, Any] = {}
    for i, value in enumerate(weights):
        name = directions[i // each] + _NAMES[i % each]
        array = as_numpy(f"weights[{i}], {name}", value)
        if i % each < 2 or not reset_after:
            given[name] = array
        else:
            given |= {f"{name}[{row}]": half for row, half in enumerate(_two_rows(i, name, array, given))}
        if i % each == 2 and not reset_after and array.ndim == 2:
            raise ValueError(f"weights[{i}], {name}: expected shape (3H,), got {array.shape}; pass reset_after=True.")
    row = KERAS if reset_after else KERAS_RESET_BEFORE
    places = [[{"prefix": direction} for direction in directions]]
    return read_stack(
        row,
        given,
        places,
        argument="weights",
        label="weights, {}",
        reset_after=reset_after,
        activations=functions,
    )


def to_keras(cell: Cell, params: Any, *, bias: bool | None = None) -> list[np.ndarray]:
    """The weights of the `keras.layers.GRU` that computes what this cell with these params does.

    The layer is `keras.layers.GRU(H, reset_after=cell.options.reset_after)`, in `keras.layers.Bidirectional` for two
    directions, with the activations of the cell, which have to be among Keras's. With `reset_after=False` both biases
    add up, and Keras keeps their sum. With `update_gate="write"` z is negated, as σ(-a) = 1 - σ(a).

    Args:
      cell: `gru_jax.gru(...)`.
      params: params[0][direction], or the `GRUParams` of one layer.
      bias: False for a layer made with `use_bias=False`; all biases have to be 0 or None. None: with biases where the
        params have any; a bias of None beside one that is not None is written as 0.

    Returns:
      NumPy arrays, as `layer.set_weights` takes them.

    Raises:
      TypeError, ValueError: for another cell, more layers or other shapes, naming them.
    """
    stack = check_stack("keras.layers.GRU", cell, params, layers=1)
    reset_after = cell.options.reset_after
    row = KERAS if reset_after else KERAS_RESET_BEFORE
    directions = _DIRECTIONS[: len(stack[0])]
    bias = has_bias(bias, stack)
    for argument, function in (
        ("activation", cell.options.activation),
        ("recurrent_activation", cell.options.gate_activation),
    ):
        to_keras_name(argument, function)
    layout = row.layouts[0 if bias else 1]
    found = write_stack(row, layout, cell, stack, [[{"prefix": direction} for direction in directions]])
    weights = []
    for direction in directions:
        weights += [found[direction + name] for name in _NAMES[:2]]
        if bias and reset_after:
            weights.append(np.stack([found[f"{direction}bias[{row}]"] for row in (0, 1)]))
        elif bias:
            weights.append(found[f"{direction}bias"])
    return weights


def _fit(weights: Sequence[Any], **options: Any) -> bool:
    """Whether `from_keras` takes the weights with these options."""
    try:
        from_keras(weights, **options)
    except (TypeError, ValueError):
        return False
    return True


def _two_rows(i: int, name: str, bias: np.ndarray, given: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """The bias beside the input and the one beside the state."""
    if bias.ndim != 2 or bias.shape[0] != 2:
        way = "pass reset_after=False" if bias.ndim == 1 else "pass what layer.get_weights() returns"
        raise ValueError(
            f"weights[{i}], {name}: expected shape (2, 3H) with reset_after=True, got {bias.shape}; {way}."
        )
    return bias[0], bias[1]
