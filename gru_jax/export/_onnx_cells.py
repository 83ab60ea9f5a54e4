"""How each cell that ONNX has an operator for becomes one: its name, attributes and tensors."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from gru_jax._cells.cell import Cell
from gru_jax.interop._cell_records import describe
from gru_jax.interop._onnx import to_onnx


class Operator(NamedTuple):
    """An ONNX operator.

    Attributes:
      name: what ONNX calls it.
      states: what is appended to the name of a carry for each of its arrays, in the operator's order.
      attributes: of the cell, beside the width and the direction.
      tensors: W `(D, G H, I)`, R `(D, G H, H)` and B `(D, 2 G H)` of the cell and one layer's params, float32.
    """

    name: str
    states: tuple[str, ...]
    attributes: Callable[[Cell], dict[str, int]]
    tensors: Callable[[Cell, Any], dict[str, np.ndarray]]


def operator_of(cell: Cell) -> Operator:
    """The operator that computes what this cell does.

    Raises:
      ValueError: for a cell that ONNX has none for.
    """
    try:
        describe(cell)
        return OPERATORS[cell.name]
    except (KeyError, ValueError):
        raise ValueError(
            f"cell: expected {', '.join(f'gru_jax.{name}()' for name in OPERATORS)}, which ONNX has operators for, got "
            f"{cell.name!r}; export as stablehlo, gru_jax.export.stablehlo(cell, params)."
        ) from None


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
    """Tensors of gates that ONNX has in another order: `order[k]` is where the k-th of its gates is in ours."""

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


OPERATORS = {
    "gru": Operator(
        name="GRU",
        states=("",),
        attributes=lambda cell: {"linear_before_reset": int(cell.options.reset_after)},
        tensors=lambda cell, directions: to_onnx(cell, (directions,)),
    ),
    # i, f, g, o here and i, o, f, c there.
    "lstm": Operator(name="LSTM", states=("_h", "_c"), attributes=lambda cell: {}, tensors=_reordered((0, 3, 1, 2))),
    "rnn": Operator(name="RNN", states=("",), attributes=lambda cell: {}, tensors=_reordered((0,))),
}
