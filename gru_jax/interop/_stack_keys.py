"""The keys of a stack of layers, `layers.0.forward.w_i`, for any of gru_jax's cells."""

import functools
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from gru_jax._cells.cell import Cell
from gru_jax._cells.checks import outline
from gru_jax._layers.layers import DIRECTIONS, check_nesting
from gru_jax.interop._arrays import as_numpy, hold, one_dtype
from gru_jax.interop._cell_records import blocks
from gru_jax.interop._nesting import as_stack

IN_FILES = "layers.{layer}.{direction}.{field}"


def name_params(cell: Cell, params: Any) -> tuple[tuple[int, ...], dict[str, np.ndarray]]:
    """The number of directions of each layer, and all arrays by key; the params of one layer may stand alone.

    A bias that is None has no key.

    Raises:
      TypeError, ValueError: for params that do not belong to the cell.
    """
    expected = kind_of(cell)
    stack = as_stack(expected, params)
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
                key = _key(IN_FILES, i, j, field)
                if leaf is not None or field not in optional(cell):
                    arrays[key] = as_numpy(key, leaf)
    directions = tuple(len(layer) for layer in stack)
    check_arrays(cell, directions, arrays)
    return directions, arrays


def nest_params(
    cell: Cell,
    directions: Sequence[int],
    arrays: Mapping[str, np.ndarray],
    *,
    absent: Collection[str] = (),
    template: str = IN_FILES,
    remedy: str = "the file was changed or damaged: save it again",
) -> tuple[Any, ...]:
    """`params[layer][direction]` from arrays by key; biases with keys in `absent` have no array and are None.

    Raises:
      TypeError, ValueError: naming the key that is missing, too much, or of another shape or dtype.
    """
    kind = kind_of(cell)
    every = {
        _key(template, i, j, field): field
        for i, count in enumerate(directions)
        for j in range(count)
        for field in kind._fields
    }
    expected = {key for key, field in every.items() if key not in absent or field not in optional(cell)}
    for key in sorted(expected ^ set(arrays)):
        what = "expected this tensor, found none" if key in expected else "expected no such tensor, found one"
        raise ValueError(
            f"{key}: {what} for the cell {cell.name!r} with {', '.join(map(str, directions))} directions per layer; "
            f"{remedy}."
        )
    arrays = {key: as_numpy(key, array) for key, array in arrays.items()}
    check_arrays(cell, directions, arrays, template, remedy if template != IN_FILES else None)

    def leaf(i: int, j: int, field: str) -> Any:
        key = _key(template, i, j, field)
        return hold(arrays[key]) if key in arrays else None

    return tuple(
        tuple(kind(*(leaf(i, j, field) for field in kind._fields)) for j in range(count))
        for i, count in enumerate(directions)
    )


def absent_keys(cell: Cell, directions: Sequence[int], arrays: Mapping[str, Any]) -> list[str]:
    """The keys of biases that are None, in order."""
    keys = [
        _key(IN_FILES, i, j, field)
        for i, count in enumerate(directions)
        for j in range(count)
        for field in optional(cell)
    ]
    return [key for key in keys if key not in arrays]


def optional(cell: Cell) -> tuple[str, ...]:
    """The fields of the cell's params that may be None."""
    return ("b_i", "b_h") if cell.name == "gru" else ()


def check_arrays(
    cell: Cell,
    directions: Sequence[int],
    arrays: Mapping[str, np.ndarray],
    template: str = IN_FILES,
    remedy: str | None = None,
) -> None:
    """Check shapes and dtype of the arrays, which are under all keys that these directions have, and no others.

    `template` is that of the keys. `remedy` is how messages end; None: with advice about params of the cell's `init`.

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
        way = remedy or f"take params that were made by the init of this {cell.name!r} cell"
        features = _check_layer(cell, i, count, arrays, in_features, template, way)
        in_features = count * features


def _check_layer(
    cell: Cell,
    i: int,
    count: int,
    arrays: Mapping[str, np.ndarray],
    in_features: int | None,
    template: str,
    remedy: str,
) -> int:
    """The width of layer i; checks that its directions have the shapes that the first one's w_i asks for."""
    first = _key(template, i, 0, "w_i")
    found = arrays[first].shape
    letters = _shapes(cell, 1, 1).w_i.shape
    if len(found) != len(letters) or 0 in found or found[-1] % blocks(cell):
        axes = (*("kh", "kw")[: len(letters) - 2], "I", f"{blocks(cell)}H" if blocks(cell) > 1 else "H")
        raise ValueError(f"{first}: expected shape ({', '.join(axes)}), got {found}; {remedy}.")
    features = found[-1] // blocks(cell)
    reads = found[-2] if in_features is None else in_features
    bias = jax.ShapeDtypeStruct((blocks(cell) * features,), np.float32)
    wanted = _shapes(cell, reads, features)._asdict()
    for j in range(count):
        for field, leaf in wanted.items():
            key, shape = _key(template, i, j, field), (leaf or bias).shape
            if key in arrays and arrays[key].shape != shape:
                source = f"{reads} inputs" if i == 0 else f"the {reads} that the layer below writes"
                raise ValueError(
                    f"{key}: expected shape {shape}, for {source} and the width of {features} that {first} says, "
                    f"got {arrays[key].shape}; {remedy}."
                )
    return features


def _key(template: str, layer: int, direction: int, field: str) -> str:
    return template.format(layer=layer, direction=DIRECTIONS[direction], field=field)


def kind_of(cell: Cell) -> Any:
    """The NamedTuple that the cell's params are."""
    return type(_shapes(cell, 1, 1))


@functools.lru_cache(maxsize=64)
def _shapes(cell: Cell, in_features: int, features: int) -> Any:
    """What the cell's `init` returns, without running it."""
    return jax.eval_shape(lambda: cell.init(jax.random.key(0), in_features, features))


@functools.lru_cache(maxsize=64)
def _reads_several(cell: Cell) -> bool:
    """Whether the cell reads several arrays, which no layer below can write."""
    shapes: list[Any] = []
    jax.eval_shape(lambda: shapes.append(cell.input_shape(cell.init(jax.random.key(0), 1, 1))))
    return hasattr(shapes[0], "_fields")
