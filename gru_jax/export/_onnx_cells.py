"""The ONNX operator for each cell that has one: its name, attributes and tensors."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from gru_jax._cells.cell import Cell
from gru_jax._scan.checks import check_cell
from gru_jax.interop._cell_records import options_of
from gru_jax.interop._onnx import to_onnx
from gru_jax.interop._onnx_activations import write_activations


class Operator(NamedTuple):
    """An ONNX operator.

    Attributes:
      name: what ONNX calls it.
      states: what is appended to the name of a carry for each of its arrays, in the operator's order.
      attributes: `attributes(cell, directions)`, beside the width and the direction.
      tensors: `tensors(cell, layer)`, float32, from one layer's params: W `(D, G H, I)`, R `(D, G H, H)` and, where
        there are biases, B `(D, 2 G H)`.
    """

    name: str
    states: tuple[str, ...]
    attributes: Callable[[Cell, int], dict[str, Any]]
    tensors: Callable[[Cell, Any], dict[str, np.ndarray]]


def operator_of(cell: Cell) -> Operator:
    """The operator that computes what this cell does.

    Raises:
      ValueError: for a cell that ONNX has no operator for, or an activation that its operators do not have.
    """
    check_cell(cell)
    operator = OPERATORS.get(cell.name)
    if operator is None or options_of(cell) is None:
        raise ValueError(
            f"cell: expected {', '.join(f'gru_jax.{name}()' for name in OPERATORS)}, which ONNX has operators for, got "
            f"{cell.name!r}; export as stablehlo, gru_jax.export.stablehlo(cell, params)."
        )
    operator.attributes(cell, 1)
    return operator


def narrow_enough(stack: Any) -> Any:
    """The params in float32, narrower floats widened, which is exact.

    Raises:
      TypeError: for float64, which onnxruntime's recurrent operators do not compute in.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(stack):
        if leaf.dtype == np.float64:
            raise TypeError(
                f"params{jax.tree_util.keystr(path)}: expected float32 or narrower, got float64, in which onnxruntime "
                "runs no recurrent layer; round the params yourself: jax.tree.map(lambda p: p.astype('float32'), "
                "params), or keep all digits in gru_jax.export.stablehlo."
            )
    return jax.tree.map(lambda leaf: np.asarray(leaf).astype(np.float32), stack)


def _reordered(order: Sequence[int]) -> Callable[[Cell, Any], dict[str, np.ndarray]]:
    """What makes tensors with the gates in ONNX's order: `order[k]` is the place of its k-th gate in ours."""

    def tensors(cell: Cell, directions: Any) -> dict[str, np.ndarray]:
        def turn(leaf: np.ndarray) -> np.ndarray:
            gates = np.split(leaf, len(order), axis=-1)
            return np.concatenate([gates[k] for k in order], axis=-1).T

        return {
            "W": np.stack([turn(own.w_i) for own in directions]),
            "R": np.stack([turn(own.w_h) for own in directions]),
            "B": np.stack([np.concatenate([turn(own.b_i), turn(own.b_h)]) for own in directions]),
        }

    return tensors


def _none(cell: Cell, directions: int) -> dict[str, Any]:
    return {}


OPERATORS = {
    "gru": Operator(
        name="GRU",
        states=("",),
        attributes=lambda cell, directions: {
            "linear_before_reset": int(cell.options.reset_after),
            **write_activations(cell.options, directions),
        },
        tensors=lambda cell, directions: to_onnx(cell, (directions,)),
    ),
    # The gates are i, f, g, o here and i, o, f, c in ONNX.
    "lstm": Operator(name="LSTM", states=("_h", "_c"), attributes=_none, tensors=_reordered((0, 3, 1, 2))),
    "rnn": Operator(name="RNN", states=("",), attributes=_none, tensors=_reordered((0,))),
}
