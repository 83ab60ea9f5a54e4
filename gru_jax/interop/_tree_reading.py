"""Reading a GRU from a tree or a module: where it is, what the module says of it, and its weights."""

from collections.abc import Callable, Mapping
from typing import Any

from gru_jax._cells.cell import Cell
from gru_jax._cells.gru import GRUOptions
from gru_jax.interop._arrays import flatten
from gru_jax.interop._formats import LINEN, NNX, Format
from gru_jax.interop._module_facts import Activations, check_outputs, nodes_at, read_activations
from gru_jax.interop._own_trees import own_places, read_own
from gru_jax.interop._prefixes import Prefix, advise, nested
from gru_jax.interop._stacks import Params, read_stack


def read_tree(row: Format, tree: Any, prefix: Prefix, cell: Any = None) -> tuple[Cell, Params]:
    """The cell and params[layer][direction] of the GRUs at these places of a tree, or of a module.

    `cell` is that of a tree of gru_jax's own modules, or it says which activations the tree was trained with.

    Raises:
      TypeError, ValueError: naming the key or the attribute, what was expected and what came.
    """
    if isinstance(tree, str | bytes | list | tuple) or (
        not isinstance(tree, Mapping) and not hasattr(tree, "__dict__")
    ):
        raise TypeError(
            f"params: expected a tree of arrays by name, got {type(tree).__name__}; "
            f"pass the parameters of a GRU of {row.name}."
        )
    if cell is not None and not isinstance(cell, Cell):
        raise TypeError(f"cell: expected a gru_jax.Cell, got {type(cell).__name__}; pass gru_jax.gru(), or None.")
    module = None
    if all(hasattr(type(tree), name) for name in ("bind", "variables", "scope")):
        module, tree = tree, _variables(tree)
    flat = flatten(tree)

    def works(prefix: Any) -> bool:
        try:
            _read(row, tree, flat, [list(layer) for layer in nested(prefix)], cell)
        except (TypeError, ValueError):
            return False
        return True

    if module is not None:
        return _read(
            row, tree, flat, [[_only_place(row, flat, lambda place: None, lambda prefix: False)]], cell, module
        )
    if prefix == "" and flat:
        read = lambda place: _read(row, tree, flat, [[place]], cell)  # noqa: E731
        return read(_only_place(row, flat, read, works))
    names = [[_inside(row, flat, name) for name in layer] for layer in nested(prefix)]
    starts = tuple(_with_slash(name) for layer in names for name in layer)
    if not any(key.startswith(starts) for key in flat):
        raise ValueError(_nothing_there(row, flat, prefix, works))
    return _read(row, tree, flat, names, cell)


def _variables(module: Any) -> Any:
    """A flax.linen cell's variables. Modules around cells are refused: their attributes do not name their arrays."""
    if module.scope is None:
        raise TypeError(
            f"params: expected a tree of arrays by name, got {type(module).__name__}, which holds none; pass what its "
            "init returned."
        )
    if not hasattr(module, "gate_fn") and not isinstance(getattr(module, "cell", None), Cell):
        raise TypeError(
            f"params: expected a tree, or a cell bound to one, got {type(module).__name__}; pass module.variables, and "
            "prefix where more is in it."
        )
    return module.variables


# The frameworks that gru_jax has modules of its own for.
_WITH_OURS = (LINEN, NNX)


def _read(
    row: Format, tree: Any, flat: Mapping[str, Any], names: list[list[str]], cell: Cell | None, module: Any = None
) -> tuple[Cell, Params]:
    """The cell and params at these places, one for each layer and direction; the tree belongs to `module`, if any."""
    paths = [[nodes_at(tree, name) if module is None else [module] for name in layer] for layer in names]
    starts = [[_with_slash(name) for name in layer] for layer in names]
    activations = read_activations(row.name, paths)
    if row in _WITH_OURS and any(place in own_places(flat) for layer in starts for place in layer):
        return read_own(flat, starts, paths, cell)
    every = tuple(start for layer in starts for start in layer)
    given = {key: value for key, value in flat.items() if key.startswith(every)}
    places = [[{"prefix": start} for start in layer] for layer in starts]
    remedy = "pass the parameters of one GRU; prefix= picks it out of a larger tree"
    found, params = read_stack(
        row,
        given,
        places,
        argument="params",
        label="params[{!r}]",
        remedy=remedy,
        activations=_agreed(row, activations, cell),
    )
    for layer, layer_paths in zip(params, paths, strict=True):
        for own, nodes in zip(layer, layer_paths, strict=True):
            check_outputs(row.name, nodes[-1], found, own)
    return found, params


def _agreed(row: Format, stated: Activations | None, cell: Cell | None) -> Activations | None:
    """The activations that a module states, or those of `cell`, which must have the format's equations."""
    if cell is None:
        return stated
    options = cell.options
    if not isinstance(options, GRUOptions) or cell.name != "gru":
        raise TypeError(
            f"cell: expected gru_jax.gru(...) for a tree of {row.name}, got {cell.name!r}; pass such a cell."
        )
    if (options.reset_after, options.update_gate) != (row.reset_after, row.update_gate):
        raise ValueError(
            f"cell: expected reset_after={row.reset_after} and update_gate={row.update_gate!r}, which {row.name} "
            f"computes, got {options.reset_after} and {options.update_gate!r}; pass such a cell, or None."
        )
    told = Activations(options.activation, options.gate_activation)
    if stated not in (None, told):
        raise ValueError(f"cell: expected the activations of the module, {stated}, got {told}; leave cell out.")
    return told


def _with_slash(prefix: str) -> str:
    return f"{prefix}/" if prefix and not prefix.endswith("/") else prefix


def _places(row: Format, flat: Mapping[str, Any]) -> list[str]:
    """Where in the tree there is a GRU: of the format, by the keys of its matrices beside the state, or of our own."""
    ends = set()
    for layout in row.layouts:
        w_h = layout.keys(prefix="").w_h
        ends.add(str(w_h[-1] if isinstance(w_h, tuple) else w_h))
    found = {key.removesuffix(end) for key in flat for end in ends if f"/{key}".endswith(f"/{end}")}
    return sorted(found | set(own_places(flat) if row in _WITH_OURS else ()))


def _inside(row: Format, flat: Mapping[str, Any], name: str) -> str:
    """The place of this name, or the only one under it: `encoder` where the cell is at `encoder/cell`."""
    start = _with_slash(name)
    under = [place for place in _places(row, flat) if place.startswith(start)]
    whole = len(under) == 1 and all(key.startswith(under[0]) for key in flat if key.startswith(start))
    return under[0] if whole else name


def _only_place(row: Format, flat: Mapping[str, Any], read: Callable[[str], Any], works: Callable[[Any], bool]) -> str:
    """The place of the tree's only GRU, which must have all keys under it; raises with advice otherwise."""
    places = _places(row, flat)
    if not places or (len(places) == 1 and all(key.startswith(places[0]) for key in flat)):
        return places[0] if places else ""
    way = advise([place.removesuffix("/") for place in places], works)
    if way is None:
        way = f"what looks like one, {places[0].removesuffix('/')!r}, is none: {_why_not(read, places[0])}"
    raise ValueError(
        f"params: expected the parameters of one GRU and nothing else, got {len(flat)} arrays; {way.removesuffix('.')}."
    )


def _why_not(read: Callable[[str], Any], place: str) -> str:
    try:
        read(place)
    except (TypeError, ValueError) as error:
        return str(error)
    return "it stands together with others"


def _nothing_there(row: Format, flat: Mapping[str, Any], prefix: Prefix, works: Callable[[Any], bool]) -> str:
    way = advise([place.removesuffix("/") for place in _places(row, flat)], works)
    return (
        f"params: expected arrays under {prefix!r}, got none among {len(flat)}; "
        f"{way or f'pass the parameters of a GRU of {row.name}'}."
    )
