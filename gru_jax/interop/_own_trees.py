"""Trees and modules of gru_jax.nnx and gru_jax.linen: keys are `layer_0/forward/w_i`, or `w_i` for one cell."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from gru_jax._cells.cell import Cell
from gru_jax._cells.gru import GRUOptions, gru
from gru_jax._layers.layers import DIRECTIONS
from gru_jax.interop._arrays import as_numpy, hold
from gru_jax.interop._cell_records import KINDS
from gru_jax.interop._module_facts import check_dtype
from gru_jax.interop._stack_keys import nest_params

_STACK = re.compile(r"(?:^|(?<=/))layer_(\d{1,6})/(forward|backward)/w_i$")
_CELL = re.compile(r"(?:^|(?<=/))w_i$")


def own_places(flat: Mapping[str, Any]) -> list[str]:
    """Where there are parameters of our modules: `encoder/` for `encoder/layer_0/forward/w_i`, or `encoder/w_i`."""
    found = set()
    for key in flat:
        match = _STACK.search(key) or _CELL.search(key)
        # Haiku has a w_i too, and a b beside it.
        if match and f"{key[: match.start()]}b" not in flat:
            found.add(key[: match.start()])
    return sorted(found)


def read_own(
    flat: Mapping[str, Any],
    starts: Sequence[Sequence[str]],
    paths: Sequence[Sequence[Sequence[Any]]],
    cell: Cell | None,
) -> tuple[Cell, tuple[tuple[Any, ...], ...]]:
    """The cell, from the module or as it was passed, and params[layer][direction]; many cells make one stack.

    Raises:
      TypeError, ValueError: naming the key or the cell that does not fit.
    """
    cells, params = [], []
    for layer_starts, layer_paths in zip(starts, paths, strict=True):
        read = [_read_place(flat, s, nodes[-1], cell) for s, nodes in zip(layer_starts, layer_paths, strict=True)]
        cells += [found for found, _ in read]
        params.append(tuple(stack for _, stack in read))
    for other in cells[1:]:
        if other.name != cells[0].name or other.options != cells[0].options:
            raise ValueError(
                f"prefix: expected places with one cell, got {cells[0]!r} and {other!r}; convert them apart."
            )
    if len(params) == 1 and len(params[0]) == 1:
        return cells[0], params[0][0]
    alone = all(len(stack) == 1 and len(stack[0]) == 1 for layer in params for stack in layer)
    if not alone:
        raise ValueError(
            "prefix: expected places of one layer and direction each in a list, got a stack of layers; "
            "pass the place of the stack alone, as a string."
        )
    return cells[0], tuple(tuple(stack[0][0] for stack in layer) for layer in params)


def _read_place(flat: Mapping[str, Any], start: str, node: Any, cell: Cell | None) -> tuple[Cell, Any]:
    own = getattr(node, "cell", None)
    if isinstance(own, Cell):
        if cell is not None and (cell.name, cell.options) != (own.name, own.options):
            raise ValueError(f"cell: expected that of the module, {own!r}, got {cell!r}; leave it out.")
        cell = own
        kernel = next(key for key in flat if key.startswith(start) and key.endswith("w_i"))
        check_dtype(node, as_numpy(kernel, flat[kernel]).dtype)
    if isinstance(own, Cell) and hasattr(node, "params"):
        params = node.params
        stack = ((params,),) if hasattr(params, "_fields") else params
        return own, jax.tree_util.tree_map_with_path(
            lambda path, leaf: hold(as_numpy(f"params{jax.tree_util.keystr(path)}", leaf)), stack
        )
    return _read_arrays({key: value for key, value in flat.items() if key.startswith(start)}, start, cell)


def _read_arrays(given: Mapping[str, Any], start: str, cell: Cell | None) -> tuple[Cell, Any]:
    inside = [key.removeprefix(start) for key in given]
    start = start.replace("{", "{{").replace("}", "}}")
    layers = max((int(match[1]) + 1 for key in inside if (match := _STACK.fullmatch(key))), default=0)
    directions, template = [1], start + "{field}"
    if layers:
        template = start + "layer_{layer}/{direction}/{field}"
        directions = [
            sum(f"layer_{layer}/{name}/w_i" in inside for name in DIRECTIONS) or 1
            for layer in range(min(layers, len(given)))
        ]
    # A bias that a tree lacks is absent; nothing else may be missing.
    biases = {
        template.format(layer=layer, direction=DIRECTIONS[d], field=field)
        for layer, count in enumerate(directions)
        for d in range(count)
        for field in ("b_i", "b_h")
    }
    made = _fitting(given, biases) if cell is None else cell
    absent = biases - set(given) if isinstance(made.options, GRUOptions) and made.name == "gru" else set()
    if made.name not in KINDS:
        raise ValueError(
            f"cell: expected one of {', '.join(KINDS)} for a tree of arrays, got {made.name!r}; pass the module, "
            "whose params are read as they are."
        )
    remedy = f"pass the whole tree of one module, and cell= what it was made with, here {made.name!r}"
    arrays = {key: as_numpy(f"params[{key!r}]", value) for key, value in given.items()}
    return made, nest_params(made, directions, arrays, absent=absent, template=template, remedy=remedy)


def _fitting(given: Mapping[str, Any], biases: set[str]) -> Cell:
    """`gru_jax.gru()` with those biases that are there."""
    b_i, b_h = (
        any(key in given for key in biases if key.endswith(f"/{field}") or key == field) for field in ("b_i", "b_h")
    )
    return gru(use_bias=True if b_h else "input" if b_i else False)
