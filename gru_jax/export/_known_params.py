"""Params as a file can hold them: a stack of arrays with known values and all their digits."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gru_jax._cells.cell import Cell
from gru_jax._cells.precision import carry_dtype
from gru_jax._layers.layers import check_nesting
from gru_jax._scan.checks import check_cell
from gru_jax.interop._cell_records import KINDS
from gru_jax.interop._nesting import refuse_dicts
from gru_jax.interop._stack_keys import kind_of

Stack = tuple[tuple[Any, ...], ...]
"""params[layer][direction], leaves arrays of JAX or NumPy that are no tracers."""


def check_stack(cell: Any, params: Any) -> Stack:
    """The stack, checked to hold known values; others check that it fits the cell, and its layers each other.

    Raises:
      TypeError: naming what does not fit.
    """
    check_cell(cell)
    if cell.name in KINDS:
        refuse_dicts(kind_of(cell), params)
    check_nesting("params", params)
    return tuple(
        tuple(_known(f"params[{i}][{j}]", own) for j, own in enumerate(layer)) for i, layer in enumerate(params)
    )


def params_dtype(stack: Stack) -> jnp.dtype:
    """float64 where any of the params is, else float32: the dtype of a carry, and of inputs unless told otherwise."""
    return carry_dtype(np.float64 if any(leaf.dtype == np.float64 for leaf in jax.tree.leaves(stack)) else np.float32)


def inputs_of(cell: Cell, params: Any, lead: tuple[Any, ...], dtype: Any) -> Any:
    """The shapes and dtypes of what the cell reads, with these leading axes; several arrays as their NamedTuple.

    Raises:
      ValueError: for a cell that does not say how wide its inputs are.
    """
    shapes = cell.input_shape(params)
    several = hasattr(shapes, "_fields")
    if any(None in own for own in (shapes if several else (shapes,))):
        raise ValueError(
            f"cell: expected one whose input_shape says how wide its inputs are, got {cell.name!r}, which leaves it "
            "open; give it one: cell.replace(input_shape=lambda params: (I,))."
        )
    if not several:
        return jax.ShapeDtypeStruct((*lead, *shapes), dtype)
    dtypes = (dtype, *(carry_dtype(dtype),) * (len(shapes) - 1))
    return type(shapes)(*(jax.ShapeDtypeStruct((*lead, *own), of) for own, of in zip(shapes, dtypes, strict=True)))


def _known(name: str, params: Any) -> Any:
    def leaf(path: Any, value: Any) -> jax.Array | np.ndarray:
        label = name + jax.tree_util.keystr(path)
        if isinstance(value, jax.core.Tracer):
            raise TypeError(f"{label}: expected an array of known values, got a tracer; export outside of jax.jit.")
        if not isinstance(value, jax.Array | np.ndarray):
            raise TypeError(f"{label}: expected an array, got {type(value).__name__}; pass what init_layers returned.")
        if value.dtype == np.float64 and not jax.config.read("jax_enable_x64"):
            raise TypeError(
                f"{label}: got float64 while JAX runs in 32 bits, which would drop digits; "
                'call jax.config.update("jax_enable_x64", True) at start-up, or round all params yourself: '
                'jax.tree.map(lambda p: p.astype("float32"), params).'
            )
        return value

    return jax.tree_util.tree_map_with_path(leaf, params)
