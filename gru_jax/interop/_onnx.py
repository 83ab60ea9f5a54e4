"""ONNX: the tensors of its `GRU` operator."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from gru_jax._cells.cell import Cell
from gru_jax.interop._arrays import as_numpy
from gru_jax.interop._formats import ONNX
from gru_jax.interop._onnx_activations import read_activations, said, write_activations
from gru_jax.interop._stacks import Params, check_stack, has_bias, read_stack, write_stack

DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}


def from_onnx(
    W: Any,
    R: Any,
    B: Any = None,
    *,
    direction: Literal["forward", "reverse", "bidirectional"] = "forward",
    linear_before_reset: int = 0,
    activations: Sequence[str] | None = None,
    activation_alpha: Sequence[float] | None = None,
    activation_beta: Sequence[float] | None = None,
    clip: float | None = None,
) -> tuple[Cell, Params]:
    """The cell and params of an ONNX `GRU` node.

    ONNX stacks z, r, n (it writes h for n), multiplies from the left, and keeps with z. Its outputs are 0 in the
    padding that `sequence_lens` tells of, as in gru_jax.

    Args:
      W: `(D, 3H, I)`, the weights beside the input.
      R: `(D, 3H, H)`, the weights beside the state.
      B: `(D, 6H)`, the biases beside the input and then those beside the state; None: there are none.
      direction: the node's attribute. With "reverse" run the one layer by `gru_jax.scan(..., reverse=True)`.
      linear_before_reset: the node's attribute: 1 resets after the product; 0, ONNX's default, before it.
      activations: the node's attribute, for the gates and for the candidate; None: Sigmoid and Tanh. Each activation
        of ONNX's GRU becomes a function of JAX. Two directions must have the same.
      activation_alpha: the node's attribute; None, or too few: the defaults of the activations.
      activation_beta: likewise.
      clip: the node's attribute; None only, since gru_jax does not clip.

    Returns:
      The cell, and params[0][direction] in the dtype of W; both biases None without B.

    Raises:
      TypeError, ValueError: naming the tensor or attribute, what was expected and what came.

    Example:
      >>> import gru_jax, numpy as np
      >>> W, R, B = (np.ones(shape, np.float32) for shape in ((2, 12, 3), (2, 12, 4), (2, 24)))
      >>> cell, params = gru_jax.interop.from_onnx(W, R, B, direction="bidirectional", linear_before_reset=1)
      >>> cell.options.reset_after, len(params[0])
      (True, 2)

    Source: the ONNX operator GRU, versions 7 to 22.
    """
    check_attributes(direction, linear_before_reset, clip)
    count = DIRECTIONS[direction]
    functions = read_activations(activations, activation_alpha, activation_beta, count)
    tensors = {"W": as_numpy("W", W), "R": as_numpy("R", R)}
    if B is not None:
        tensors["B"] = as_numpy("B", B)
    for (name, tensor), rank in zip(tensors.items(), (3, 3, 2), strict=False):
        if tensor.ndim != rank or tensor.shape[0] != count:
            shape = {"W": "3H, I", "R": "3H, H", "B": "6H"}[name]
            raise ValueError(
                f"{name}: expected shape ({count}, {shape}) with direction={direction!r}, got {tensor.shape}; pass the "
                "node's tensor and its direction."
            )
    given: dict[str, Any] = {}
    for d in range(count):
        given |= {f"{name}[{d}]": tensors[name][d] for name in ("W", "R")}
        if B is not None:
            half = tensors["B"].shape[1] // 2
            given |= {f"B[{d}, :3H]": tensors["B"][d, :half], f"B[{d}, 3H:]": tensors["B"][d, half:]}
    places = [[{"direction": d} for d in range(count)]]
    return read_stack(
        ONNX, given, places, argument="tensors", reset_after=bool(linear_before_reset), activations=functions
    )


def to_onnx(cell: Cell, params: Any, *, bias: bool | None = None) -> dict[str, np.ndarray]:
    """The tensors of the ONNX `GRU` node that computes what this cell with these params does.

    The node's attributes are `hidden_size=H`, `linear_before_reset=int(cell.options.reset_after)`, the direction, and
    the activations where they are not Sigmoid and Tanh: `gru_jax.export.onnx_model` writes them. With
    `update_gate="write"` z is negated, as σ(-a) = 1 - σ(a); gates without this property are refused.
    `gru_jax.export` makes whole models.

    Args:
      cell: `gru_jax.gru(...)`.
      params: params[0][direction], or the `GRUParams` of one layer.
      bias: False leaves B out; all biases have to be 0 or None. None: B is there where the params have a bias.

    Returns:
      {"W": (D, 3H, I), "R": (D, 3H, H), "B": (D, 6H)}, NumPy arrays.

    Raises:
      TypeError, ValueError: for another cell, more layers or other shapes, naming them.
    """
    stack = check_stack("an ONNX GRU node", cell, params, layers=1)
    count, bias = len(stack[0]), has_bias(bias, stack)
    write_activations(cell.options, count)
    layout = ONNX.layouts[0 if bias else 1]
    found = write_stack(ONNX, layout, cell, stack, [[{"direction": d} for d in range(count)]])
    tensors = {name: np.stack([found[f"{name}[{d}]"] for d in range(count)]) for name in ("W", "R")}
    if bias:
        halves = (":3H", "3H:")
        tensors["B"] = np.stack([np.concatenate([found[f"B[{d}, {half}]"] for half in halves]) for d in range(count)])
    return tensors


def check_attributes(direction: Any, linear_before_reset: Any, clip: Any) -> None:
    """Check that there is a cell for a node with these attributes.

    Raises:
      ValueError: naming the attribute that stands against it.
    """
    if not isinstance(direction, str) or direction not in DIRECTIONS:
        raise ValueError(
            f"direction: expected one of {', '.join(map(repr, DIRECTIONS))}, got {said(direction)}; pass the node's."
        )
    if not np.isscalar(linear_before_reset) or linear_before_reset not in (0, 1):
        raise ValueError(f"linear_before_reset: expected 0 or 1, got {said(linear_before_reset)}; pass the node's.")
    if clip is not None:
        raise ValueError(f"clip: expected None, got {said(clip)}; gru_jax.gru does not clip, so that no weights fit.")
