"""Parameters that come as a tree: flax.linen, flax.nnx, Haiku, Equinox. Each function adds its names only."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np

from gru_jax._cells.cell import Cell
from gru_jax._cells.checks import check_flag
from gru_jax.interop._arrays import flatten
from gru_jax.interop._formats import EQUINOX, HAIKU, LINEN, NNX, Format, Layout
from gru_jax.interop._stacks import Params, Place, check_stack, read_stack, write_stack

Prefix = str | Sequence[str | Sequence[str]]
"""Where one layer is in a larger tree, "encoder/gru"; or of each layer, or of each layer and direction."""

NNXLayout = Literal["dense", "dense_with_hidden_bias", "dense_with_hn_bias", "separate", "separate_without_hidden_bias"]
_NNX_LAYOUTS = get_args(NNXLayout)


def from_linen(params: Mapping[str, Any], *, prefix: Prefix = "") -> tuple[Cell, Params]:
    """The cell and params of a `flax.linen.GRUCell`.

    Its gates are six `Dense` layers; those of the state have no bias but for the candidate's. It resets after the
    product and keeps with z. In the padding `flax.linen.RNN` computes on, where gru_jax gives 0.

    Args:
      params: the cell's tree, `variables["params"]`, or one around it.
      prefix: where the cell is in a larger tree, such as `"encoder/cell"`; not needed when nothing else is there. A
        list of such gives one layer each, and a list of pairs one layer in two directions each.

    Returns:
      `gru_jax.gru()`, and params[layer][direction] in the dtype of the weights; biases that are not there are 0.

    Raises:
      TypeError, ValueError: naming the key, what was expected there and what came.

    Source: flax.linen.GRUCell, documentation.
    """
    return _read(LINEN, params, prefix)


def to_linen(cell: Cell, params: Any) -> dict[str, Any]:
    """The tree of the `flax.linen.GRUCell` that computes what this cell with these params does: nested, by its names.

    r and z get the sum of both biases. With `update_gate="write"` z is negated, as σ(-a) = 1 - σ(a).

    Args:
      cell: `gru_jax.gru(...)` with `reset_after=True`.
      params: params[0][0], or params with that layer and direction only.

    Raises:
      TypeError, ValueError: for another cell, more layers or directions, or other shapes, naming them.

    Example:
      >>> import gru_jax, jax, jax.numpy as jnp, flax.linen
      >>> cell = gru_jax.gru()
      >>> params = cell.init(jax.random.key(0), 3, 4)
      >>> tree = gru_jax.interop.to_linen(cell, params)
      >>> carry, y = flax.linen.GRUCell(4).apply({"params": tree}, jnp.zeros(4), jnp.ones(3))
      >>> bool(jnp.allclose(y, cell(params, jnp.zeros(4), jnp.ones(3))[1], atol=1e-6))
      True
    """
    return _nest(_write(LINEN, LINEN.layouts[0], "flax.linen.GRUCell", cell, params))


def from_nnx(params: Any, *, prefix: Prefix = "") -> tuple[Cell, Params]:
    """The cell and params of a `flax.nnx.GRUCell`, in any of the layouts that such cells have.

    Flax's own is two `Linear` layers, `dense_i` with a bias and `dense_h` without one, r, z, n side by side. Cells with
    a bias in `dense_h`, with an `hn_bias` of the candidate alone, and with six layers as in flax.linen (what
    `nnx.bridge` makes of that) are read, too. It resets after the product and keeps with z.

    Args:
      params: `nnx.state(cell)`, `nnx.to_pure_dict` of that, or the module.
      prefix: as in `from_linen`.

    Returns:
      `gru_jax.gru()`, and params[layer][direction] in the dtype of the weights; biases that are not there are 0.

    Raises:
      TypeError, ValueError: naming the key, what was expected there and what came.

    Source: flax.nnx.GRUCell, documentation.
    """
    return _read(NNX, params, prefix)


def to_nnx(cell: Cell, params: Any, *, layout: NNXLayout = "dense") -> dict[str, Any]:
    """The tree of the `flax.nnx.GRUCell` that computes what this cell with these params does, as `nnx.update` takes it.

    r and z get the sum of both biases. With `update_gate="write"` z is negated, as σ(-a) = 1 - σ(a).

    Args:
      cell: `gru_jax.gru(...)` with `reset_after=True`.
      params: params[0][0], or params with that layer and direction only.
      layout: "dense" for Flax's own, where the candidate's bias beside the state has to be 0; for cells that hold it,
        "dense_with_hidden_bias" (`dense_h/bias`), "dense_with_hn_bias" or "separate" (flax.linen's six layers);
        "separate_without_hidden_bias" for those without `hn/bias`.

    Raises:
      TypeError, ValueError: for another cell, more layers or directions, or other shapes, naming them; when a bias
        finds no place.

    Example:
      >>> import gru_jax, jax, flax.nnx as nnx
      >>> cell = gru_jax.gru()
      >>> module = nnx.GRUCell(3, 4, rngs=nnx.Rngs(0))
      >>> nnx.update(module, gru_jax.interop.to_nnx(cell, cell.init(jax.random.key(0), 3, 4)))
    """
    if layout not in _NNX_LAYOUTS:
        raise ValueError(
            f"layout: expected one of {', '.join(map(repr, _NNX_LAYOUTS))}, got {layout!r}; pass one of them."
        )
    return _nest(_write(NNX, NNX.layouts[_NNX_LAYOUTS.index(layout)], "flax.nnx.GRUCell", cell, params))


def from_haiku(params: Mapping[str, Any], *, prefix: Prefix = "") -> tuple[Cell, Params]:
    """The cell and params of a `haiku.GRU`.

    Haiku stacks z, r, n (it writes a for n), resets before the product, writes with z, and has one bias.

    Args:
      params: what `transform(...).init` returned, or the module's part of it.
      prefix: the module's name, such as `"encoder/~/gru"`; not needed when nothing else is there. A list of names gives
        one layer each: those of `haiku.DeepRNN` are `["gru", "gru_1", ...]`, with the names before them.

    Returns:
      `gru_jax.gru(reset_after=False, update_gate="write")`, and params[layer][direction] in the dtype of the weights.

    Raises:
      TypeError, ValueError: naming the key, what was expected there and what came.

    Source: haiku.GRU, documentation; Chung et al. 2014.
    """
    return _read(HAIKU, params, prefix)


def to_haiku(cell: Cell, params: Any, *, name: str | Sequence[str] = "gru") -> dict[str, dict[str, np.ndarray]]:
    """The parameters of the `haiku.GRU` that computes what this cell with these params does.

    Both biases add up, and Haiku keeps their sum. With `update_gate="keep"` z is negated, as σ(-a) = 1 - σ(a).

    Args:
      cell: `gru_jax.gru(...)` with `reset_after=False`.
      params: params[layer][0], or the `GRUParams` of one layer.
      name: the module's name; with several layers a list of names.

    Raises:
      TypeError, ValueError: for another cell, two directions, or other shapes, naming them.
    """
    names = [name] if isinstance(name, str) else list(name)
    stack = check_stack("haiku.GRU", cell, params, layers=len(names), directions=1)
    if len(stack) != len(names):
        raise ValueError(
            f"name: expected a name for each of {len(stack)} layers, got {len(names)}; pass a list of them."
        )
    places = [[{"prefix": f"{name}/"}] for name in names]
    found = write_stack(HAIKU, HAIKU.layouts[0], cell, stack, places)
    return {name: {leaf: found[f"{name}/{leaf}"] for leaf in ("w_i", "w_h", "b")} for name in names}


def from_equinox(params: Any, *, prefix: Prefix = "") -> tuple[Cell, Params]:
    """The cell and params of an `equinox.nn.GRUCell`.

    Equinox stacks r, z, n, multiplies from the left, resets after the product, keeps with z, and has beside the state
    the candidate's bias only.

    Args:
      params: the module, or a mapping of its arrays by name: weight_ih, weight_hh and, unless `use_bias=False`, bias
        and bias_n; or a tree with such.
      prefix: as in `from_linen`.

    Returns:
      `gru_jax.gru()`, and params[layer][direction] in the dtype of the weights; biases that are not there are 0.

    Raises:
      TypeError, ValueError: naming the key, what was expected there and what came.

    Source: equinox.nn.GRUCell, documentation.
    """
    return _read(EQUINOX, params, prefix)


def to_equinox(cell: Cell, params: Any, *, bias: bool = True) -> dict[str, np.ndarray]:
    """The arrays of the `equinox.nn.GRUCell` that computes what this cell with these params does, by name.

    r and z get the sum of both biases. With `update_gate="write"` z is negated, as σ(-a) = 1 - σ(a).

    Args:
      cell: `gru_jax.gru(...)` with `reset_after=True`.
      params: params[0][0], or params with that layer and direction only.
      bias: False for a module made with `use_bias=False`; all biases have to be 0.

    Raises:
      TypeError, ValueError: for another cell, more layers or directions, or other shapes, naming them.

    Example, with `module = equinox.nn.GRUCell(I, H, key=key)` and `arrays = to_equinox(cell, params)`:
    `equinox.tree_at(lambda m: [getattr(m, name) for name in arrays], module, list(arrays.values()))`.
    """
    layout = EQUINOX.layouts[0 if check_flag("bias", bias) else 1]
    return _write(EQUINOX, layout, "equinox.nn.GRUCell", cell, params)


def _read(row: Format, tree: Any, prefix: Prefix) -> tuple[Cell, Params]:
    if isinstance(tree, str | bytes | Sequence) or (not isinstance(tree, Mapping) and not hasattr(tree, "__dict__")):
        raise TypeError(
            f"params: expected a tree of arrays by name, got {type(tree).__name__}; "
            f"pass the parameters of a GRU of {row.name}."
        )
    flat = flatten(tree)
    places = [[{"prefix": _with_slash(name)} for name in layer] for layer in _nested(prefix)]
    if prefix == "":
        places = [[{"prefix": _only_place(row, flat)}]]
    starts = tuple(str(place["prefix"]) for layer in places for place in layer)
    given = {key: value for key, value in flat.items() if key.startswith(starts)}
    if not given:
        raise ValueError(_nothing_there(row, flat, prefix))
    remedy = "pass the parameters of one GRU; prefix= picks it out of a larger tree"
    return read_stack(row, given, places, argument="params", label="params[{!r}]", remedy=remedy)


def _write(row: Format, layout: Layout, target: str, cell: Cell, params: Any) -> dict[str, np.ndarray]:
    place: Place = {"prefix": ""}
    stack = check_stack(target, cell, params, layers=1, directions=1)
    return write_stack(row, layout, cell, stack, [[place]])


def _nested(prefix: Any) -> list[list[str]]:
    """The prefix of each layer and direction."""
    layers = [prefix] if isinstance(prefix, str) else prefix
    if not isinstance(layers, Sequence) or not layers:
        raise TypeError(
            f"prefix: expected a string, or a list of one for each layer, got {prefix!r}; pass one of these."
        )
    nested = [[layer] if isinstance(layer, str) else list(layer) for layer in layers]
    for layer in nested:
        if len(layer) not in (1, 2) or not all(isinstance(name, str) for name in layer):
            raise TypeError(f"prefix: expected one string or two a layer, got {layer!r}; pass one for each direction.")
    return nested


def _with_slash(prefix: str) -> str:
    return f"{prefix}/" if prefix and not prefix.endswith("/") else prefix


def _places(row: Format, flat: Mapping[str, Any]) -> list[str]:
    """Where in the tree there is a GRU, by the keys of its matrices beside the state."""
    ends = set()
    for layout in row.layouts:
        w_h = layout.keys(prefix="").w_h
        ends.add(str(w_h[-1] if isinstance(w_h, tuple) else w_h))
    found = {key.removesuffix(end) for key in flat for end in ends if f"/{key}".endswith(f"/{end}")}
    return sorted(found)


def _only_place(row: Format, flat: Mapping[str, Any]) -> str:
    """Where the tree's only GRU is, when all keys are there: around it trees differ."""
    places = _places(row, flat)
    if len(places) > 1 or (places and not all(key.startswith(places[0]) for key in flat)):
        raise ValueError(
            f"params: expected the parameters of one GRU and nothing else, got {len(flat)} arrays; "
            f"pass prefix={' or '.join(repr(place.removesuffix('/')) for place in places[:4])}."
        )
    return places[0] if places else ""


def _nothing_there(row: Format, flat: Mapping[str, Any], prefix: Prefix) -> str:
    places = [repr(place.removesuffix("/")) for place in _places(row, flat)]
    way = f"pass prefix={' or '.join(places[:4])}" if places else f"pass the parameters of a GRU of {row.name}"
    return f"params: expected arrays under {prefix!r}, got none among {len(flat)}; {way}."


def _nest(flat: Mapping[str, np.ndarray]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, array in flat.items():
        first, _, rest = key.partition("/")
        if rest:
            tree.setdefault(first, {})[rest] = array
        else:
            tree[first] = array
    return tree
