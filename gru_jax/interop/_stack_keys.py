"""The keys of a stack of layers, `layers.0.forward.w_i`, for any of gru_jax's cells."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from gru_jax._cells.cell import Cell
from gru_jax._cells.checks import outline
from gru_jax._layers import DIRECTIONS, check_nesting
from gru_jax.interop._arrays import as_numpy, hold, one_dtype
from gru_jax.interop._cell_records import blocks


def name_params(cell: Cell, params: Any) -> tuple[tuple[int, ...], dict[str, np.ndarray]]:
    """How many directions each layer has, and its arrays by key; the params of one layer may stand alone.

    Raises:
      TypeError, ValueError: for params that do not belong to the cell.
    """
    expected = type(_shapes(cell, 1, 1))
    stack = ((params,),) if hasattr(params, "_fields") else params
    check_nesting("params", stack)
    arrays: dict[str, np.ndarray] = {}
    for i, layer in enumerate(stack):
        for j, own in enumerate(layer):
            if type(own) is not expected:
                raise TypeError(
                    f"params[{i}][{j}]: expected {expected.__name__} for the cell {cell.name!r}, got {outline(own)}; "
                    "pass what this cell's init, or init_layers, returned."
                )
            for field, leaf in own._asdict().items():
                key = _key(i, j, field)
                arrays[key] = as_numpy(key, leaf)
    directions = tuple(len(layer) for layer in stack)
    check_arrays(cell, directions, arrays)
    return directions, arrays


def nest_params(cell: Cell, directions: Sequence[int], arrays: Mapping[str, np.ndarray]) -> tuple[Any, ...]:
    """`params[layer][direction]` of arrays by key.

    Raises:
      TypeError, ValueError: naming the key that is missing, too much, or of another shape or dtype.
    """
    kind = type(_shapes(cell, 1, 1))
    expected = {_key(i, j, field) for i, count in enumerate(directions) for j in range(count) for field in kind._fields}
    for key in sorted(expected ^ set(arrays)):
        what = "expected this tensor, found none" if key in expected else "expected no such tensor, found one"
        raise ValueError(
            f"{key}: {what} for the cell {cell.name!r} with {', '.join(map(str, directions))} directions per layer; "
            "the file was changed or damaged: save it again."
        )
    arrays = {key: as_numpy(key, array) for key, array in arrays.items()}
    check_arrays(cell, directions, arrays)
    return tuple(
        tuple(kind(*(hold(arrays[_key(i, j, field)]) for field in kind._fields)) for j in range(count))
        for i, count in enumerate(directions)
    )


def check_arrays(cell: Cell, directions: Sequence[int], arrays: Mapping[str, np.ndarray]) -> None:
    """Arrays under all keys that these directions have, and no others: their shapes and their dtype.

    Raises:
      TypeError, ValueError: naming the key, and what was expected there.
    """
    one_dtype(arrays)
    if len(directions) > 1 and _reads_several(cell):
        raise ValueError(
            f"params: expected 1 layer of the cell {cell.name!r}, got {len(directions)}; save one of them."
        )
    in_features = None
    for i, count in enumerate(directions):
        features = _check_layer(cell, i, count, arrays, in_features)
        in_features = count * features


def _check_layer(cell: Cell, i: int, count: int, arrays: Mapping[str, np.ndarray], in_features: int | None) -> int:
    """The width of layer i, whose directions all have the shapes that the first one's w_i asks for."""
    first = _key(i, 0, "w_i")
    found = arrays[first].shape
    letters = _shapes(cell, 1, 1).w_i.shape
    if len(found) != len(letters) or 0 in found or found[-1] % blocks(cell):
        axes = (*("kh", "kw")[: len(letters) - 2], "I", f"{blocks(cell)}H" if blocks(cell) > 1 else "H")
        raise ValueError(f"{first}: expected shape ({', '.join(axes)}), got {found}; {_REMEDY} {cell.name!r} cell.")
    features = found[-1] // blocks(cell)
    reads = found[-2] if in_features is None else in_features
    wanted = _shapes(cell, reads, features)._asdict()
    for j in range(count):
        for field, leaf in wanted.items():
            key = _key(i, j, field)
            if arrays[key].shape != leaf.shape:
                source = f"{reads} inputs" if i == 0 else f"the {reads} that the layer below writes"
                raise ValueError(
                    f"{key}: expected shape {leaf.shape}, for {source} and the width of {features} that {first} says, "
                    f"got {arrays[key].shape}; {_REMEDY} {cell.name!r} cell."
                )
    return features


_REMEDY = "take params that were made by the init of this"


def _key(layer: int, direction: int, field: str) -> str:
    return f"layers.{layer}.{DIRECTIONS[direction]}.{field}"


@functools.lru_cache(maxsize=64)
def _shapes(cell: Cell, in_features: int, features: int) -> Any:
    """What the cell's `init` returns, without running it."""
    return jax.eval_shape(lambda: cell.init(jax.random.key(0), in_features, features))


@functools.lru_cache(maxsize=64)
def _reads_several(cell: Cell) -> bool:
    """Whether it reads several arrays, which no layer below can write."""
    shapes: list[Any] = []
    jax.eval_shape(lambda: shapes.append(cell.input_shape(cell.init(jax.random.key(0), 1, 1))))
    return hasattr(shapes[0], "_fields")
