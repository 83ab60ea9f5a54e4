"""Params as Flax keeps them: nested dicts of arrays, by layer, direction and field.

A naming is a function from params to such a dict. It serves both ways: it names the arrays of params, and so it says
where to find each again.
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gru_jax._cells.boxes import is_box, opened
from gru_jax._cells.cell import Cell
from gru_jax._cells.checks import check_array, check_flag, first_shape
from gru_jax._layers.layers import DIRECTIONS

Naming = Callable[[Any], dict[str, Any]]


def as_dict(params: Any) -> dict[str, Any]:
    """A cell's params by name; nested params are a dict within the dict, and an absent one has no name."""
    if not hasattr(params, "_asdict"):
        raise TypeError(
            "cell: expected a cell whose init returns a NamedTuple, so that its params have names, "
            f"got {type(params).__name__}; return a NamedTuple, or use gru_jax.scan_layers."
        )
    return _nested(params)


def layers_as_dict(params: Any) -> dict[str, Any]:
    """The params of a stack by name: `layer_0`, `forward`, and the names of its cell's params."""
    return {
        f"layer_{layer}": {name: as_dict(p) for name, p in zip(DIRECTIONS, directions, strict=False)}
        for layer, directions in enumerate(params)
    }


def from_dict(naming: Naming, structure: Any, tree: Any, name: str = "params") -> Any:
    """The params of this structure that `naming` named; messages call the dict `name`."""
    values: list[Any] = [None] * structure.num_leaves

    def look(places: Mapping[str, Any], found: Any, path: str) -> None:
        found = found if isinstance(found, Mapping) else _nested(found)
        check_names(path, found, places)
        for key, place in places.items():
            if isinstance(place, Mapping):
                look(place, found[key], f"{path}[{key!r}]")
            else:
                values[place] = found[key]

    look(_places(naming, structure), tree, name)
    return structure.unflatten(values)


@functools.lru_cache(maxsize=256)
def _places(naming: Naming, structure: Any) -> dict[str, Any]:
    """The names of a structure, each with the place of its array among the leaves."""
    return naming(structure.unflatten(range(structure.num_leaves)))


def check_names(name: str, found: Mapping[str, Any], wanted: Iterable[str]) -> None:
    """Check for the same names, in any order: parameters of another layout or cell are refused, not half used."""
    if set(found) != set(wanted):
        raise ValueError(
            f"{name}: expected {', '.join(sorted(wanted)) or 'nothing'}, got {', '.join(sorted(found)) or 'nothing'}; "
            "load parameters of a module with the same cell, biases, layers and directions."
        )


def matched(wanted: Any, params: Any) -> list[jax.Array]:
    """The arrays of params in the order of those in `wanted`, checked to have their names, shapes and dtypes."""
    given = {_path(path): leaf for path, leaf in _leaves(params)}
    values = []
    for path, want in jax.tree_util.tree_leaves_with_path(wanted):
        name = f"params{jax.tree_util.keystr(path)}"
        if _path(path) not in given:
            raise ValueError(f"{name}: expected an array of shape {want.shape}, got none; {_RESET}.")
        value = check_array(name, opened(given.pop(_path(path)))[0])
        if value.shape != want.shape:
            raise ValueError(f"{name}: expected shape {want.shape}, got {value.shape}; {_RESET}.")
        if value.dtype != want.dtype:
            raise TypeError(
                f"{name}: expected {want.dtype}, got {value.dtype}; cast it with .astype(jnp.{want.dtype})."
            )
        values.append(value)
    if given:
        raise ValueError(f"params: expected nothing at {', '.join(given)}, got arrays; {_RESET}.")
    return values


_RESET = "set params like those that the module has, or make one for these with from_params"


def _leaves(params: Any) -> list[Any]:
    return jax.tree_util.tree_leaves_with_path(params, is_leaf=is_box)


def _keys(path: Any) -> str:
    return "".join(f"[{jax.tree_util.keystr((key,), simple=True)!r}]" for key in path)


def _path(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


@functools.lru_cache(maxsize=256)
def made_params(cell: Cell, in_features: int, features: int, dtype: Any = jnp.float32) -> Any:
    """What the cell's `init` returns, shapes in place of arrays."""
    made = jax.eval_shape(lambda: check_made(cell, cell.init(jax.random.key(0), in_features, features, dtype)))
    as_dict(made)
    return made


def check_shapes(name: str, found: Any, wanted: Any) -> None:
    """Check that stored params have the shapes that a module would make, whatever their dtypes."""
    for (path, want), have in zip(jax.tree_util.tree_leaves_with_path(wanted), jax.tree.leaves(found), strict=True):
        if have.shape != want.shape:
            raise ValueError(
                f"{name}{_keys(path)}: expected shape {want.shape}, that of the features of this module, "
                f"got {have.shape}; load parameters of a module with the same features."
            )


def check_made(cell: Cell, params: Any) -> Any:
    """The params that an `init` returned, checked to be arrays only."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if not isinstance(leaf, jax.Array | np.ndarray):
            raise TypeError(
                f"cell: expected the init of {cell.name!r} to return arrays, got {type(leaf).__name__} at "
                f"params{jax.tree_util.keystr(path)}; make it an array with jnp.asarray, or an option of the cell."
            )
    return params


@functools.lru_cache(maxsize=256)
def input_shape(cell: Cell, features: int) -> Any:
    """`cell.input_shape` while the width of the input is unknown: the params are made for the width of the state."""

    def look() -> None:
        params = check_made(cell, cell.init(jax.random.key(0), features, features))
        as_dict(params)
        # Inside `eval_shape`, since shapes alone are no params.
        found.append(cell.input_shape(params))

    found: list[Any] = []
    jax.eval_shape(look)
    return found[0]


def stored_width(cell: Cell, leaves: Any, features: int, name: str = "params") -> int:
    """The input width that stored params of one layer were made for."""
    # The structure does not depend on the width, which is unknown here. Some cells want a width that divides features.
    structure = jax.tree.structure(made_params(cell, features, features))
    params = from_dict(as_dict, structure, leaves, name)
    width = first_shape(cell.input_shape(params))[-1]
    return width or _matching_width(cell, params, features)


def _matching_width(cell: Cell, params: Any, features: int) -> int:
    """The width for which the cell's `init` makes such params, for a cell whose `input_shape` does not say it."""
    shapes = [leaf.shape for leaf in jax.tree.leaves(params)]
    for width in sorted({size for shape in shapes for size in shape}):
        if shapes == [leaf.shape for leaf in jax.tree.leaves(made_params(cell, width, features))]:
            return width
    return features


def direction_names(bidirectional: bool) -> tuple[str, ...]:
    """Which directions a layer has, in their order."""
    return DIRECTIONS if check_flag("bidirectional", bidirectional) else DIRECTIONS[:1]


def _nested(params: Any) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, leaf in _leaves(params):
        if not path:
            continue
        *above, last = (jax.tree_util.keystr((key,), simple=True) for key in path)
        node = tree
        for name in above:
            node = node.setdefault(name, {})
        node[last] = leaf
    return tree
