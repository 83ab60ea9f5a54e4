"""Parameters to and from trees: flax.linen, flax.nnx, Haiku, Equinox. Each function adds its names only."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np

from gru_jax._cells.cell import Cell
from gru_jax.interop._formats import EQUINOX, HAIKU, LINEN, NNX, Format, Layout
from gru_jax.interop._prefixes import Prefix
from gru_jax.interop._stacks import Params, Place, check_stack, check_tanh_and_sigmoid, has_bias, write_stack
from gru_jax.interop._tree_reading import read_tree

NNXLayout = Literal[
    "dense",
    "dense_with_hidden_bias",
    "dense_with_hn_bias",
    "separate",
    "separate_without_hidden_bias",
    "dense_without_bias",
]
_NNX_LAYOUTS = get_args(NNXLayout)


def from_linen(params: Mapping[str, Any], *, prefix: Prefix = "", cell: Cell | None = None) -> tuple[Cell, Params]:
    """The cell and params of a `flax.linen.GRUCell`, or of a `gru_jax.linen.GRU` or `GRUCell`.

    Flax's gates are six `Dense` layers; of the three for the state, only the candidate's has a bias. Flax resets after
    the product and keeps with z. `flax.linen.RNN` computes on in the padding, where gru_jax gives 0. The tree does not
    tell the cell's `gate_fn` and `activation_fn`: say them by `cell`.

    Args:
      params: the cell's tree, `variables["params"]`, or one around it; boxes such as `nn.Partitioned` are opened.
      prefix: where the cell is in a larger tree, such as `"encoder/cell"`; not needed when nothing else is there. A
        list of such gives one layer each. A list of pairs gives one layer in two directions each, as for Flax's
        `Bidirectional`: `[["forward_rnn/cell", "backward_rnn/cell"]]`.
      cell: for a tree of gru_jax's own, the cell that its module was made with; None: `gru_jax.gru()`. For a tree of
        Flax's, `gru_jax.gru(activation=..., gate_activation=...)` where those are not tanh and sigmoid.

    Returns:
      `gru_jax.gru()`, or the cell passed for a tree of our own, and params[layer][direction] in the dtype of the
      weights.

    Raises:
      TypeError, ValueError: naming the key, what was expected there and what came.

    Source: flax.linen.GRUCell, documentation.
    """
    return read_tree(LINEN, params, prefix, cell)


def to_linen(cell: Cell, params: Any) -> dict[str, Any]:
    """The tree of the `flax.linen.GRUCell` that computes what this cell with these params does: nested, by its names.

    r and z get the sum of both biases; a bias that is None is written as 0. With `update_gate="write"` z is negated, as
    σ(-a) = 1 - σ(a). Flax's cell is to have `gate_fn=cell.options.gate_activation` and
    `activation_fn=cell.options.activation`: sigmoid and tanh unless the cell was made with others.

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


def from_nnx(params: Any, *, prefix: Prefix = "", cell: Cell | None = None) -> tuple[Cell, Params]:
    """The cell and params of a `flax.nnx.GRUCell`, in any of the layouts, or of a `gru_jax.nnx.GRU` or `GRUCell`.

    Flax's own cell has two `Linear` layers with r, z, n side by side: `dense_i` with a bias, `dense_h` without one.
    Cells with a bias in `dense_h`, with an `hn_bias` of the candidate alone, and with six layers as in flax.linen (what
    `nnx.bridge` makes of that) are read, too. Flax resets after the product and keeps with z.

    A module also says something beside its weights: `activation_fn` and `gate_fn` become the cell's. What weights do
    not keep is refused by name: `carry_init`, a `dtype` or a `precision`, `reverse` of an `nnx.RNN` around the cell, a
    `merge_fn` that does not concatenate. In the end the module is run for a step, so that a class of your own that
    computes something else is refused, too. A state tells none of this: say activations by `cell`. A `gru_jax.nnx.GRU`
    gives its cell and its weights; its dropout and backend are arguments of `scan_layers`.

    Args:
      params: `nnx.state(cell)`, `nnx.to_pure_dict` of that, or the module.
      prefix: as in `from_linen`.
      cell: as in `from_linen`; a module says it itself.

    Returns:
      `gru_jax.gru(...)` with the biases that there are, `use_bias="input"` for Flax's own, or the cell of a module of
      ours; and params[layer][direction] in the dtype of the weights, None where there is no bias.

    Raises:
      TypeError, ValueError: naming the key or the attribute, what was expected there and what came.

    Source: flax.nnx.GRUCell, documentation.
    """
    return read_tree(NNX, params, prefix, cell)


def to_nnx(cell: Cell, params: Any, *, layout: NNXLayout = "dense") -> dict[str, Any]:
    """The tree of the `flax.nnx.GRUCell` that computes what this cell with these params does, as `nnx.update` takes it.

    r and z get the sum of both biases; a bias that is None is written as 0. With `update_gate="write"` z is negated, as
    σ(-a) = 1 - σ(a). Flax's cell is to have `gate_fn=cell.options.gate_activation` and
    `activation_fn=cell.options.activation`: sigmoid and tanh unless the cell was made with others.

    Args:
      cell: `gru_jax.gru(...)` with `reset_after=True`.
      params: params[0][0], or params with that layer and direction only.
      layout: "dense" for Flax's own, where the candidate's bias beside the state has to be 0 or None; for cells that
        hold one, "dense_with_hidden_bias" (`dense_h/bias`), "dense_with_hn_bias" or "separate" (flax.linen's six
        layers); "separate_without_hidden_bias" for those without `hn/bias`, "dense_without_bias" for two layers
        without any.

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
      `gru_jax.gru(reset_after=False, update_gate="write", use_bias="input")`, and params[layer][direction] in the dtype
      of the weights, b_h None.

    Raises:
      TypeError, ValueError: naming the key, what was expected there and what came.

    Source: haiku.GRU, documentation; Chung et al. 2014.
    """
    return read_tree(HAIKU, params, prefix)


def to_haiku(cell: Cell, params: Any, *, name: str | Sequence[str] = "gru") -> dict[str, dict[str, np.ndarray]]:
    """The parameters of the `haiku.GRU` that computes what this cell with these params does.

    Both biases add up, and Haiku keeps their sum, or 0 where there is none. With `update_gate="keep"` z is negated, as
    σ(-a) = 1 - σ(a).

    Args:
      cell: `gru_jax.gru(...)` with `reset_after=False`.
      params: params[layer][0], or the `GRUParams` of one layer.
      name: the module's name; with several layers a list of names.

    Raises:
      TypeError, ValueError: for another cell, two directions, or other shapes, naming them.
    """
    names = [name] if isinstance(name, str) else list(name)
    stack = check_stack("haiku.GRU", cell, params, layers=len(names), directions=1)
    check_tanh_and_sigmoid("haiku.GRU", cell)
    if len(stack) != len(names):
        raise ValueError(
            f"name: expected a name for each of {len(stack)} layers, got {len(names)}; pass a list of them."
        )
    places = [[{"prefix": f"{name}/"}] for name in names]
    found = write_stack(HAIKU, HAIKU.layouts[0], cell, stack, places)
    return {name: {leaf: found[f"{name}/{leaf}"] for leaf in ("w_i", "w_h", "b")} for name in names}


def from_equinox(params: Any, *, prefix: Prefix = "") -> tuple[Cell, Params]:
    """The cell and params of an `equinox.nn.GRUCell`.

    Equinox stacks r, z, n, multiplies from the left, resets after the product, keeps with z, and has only the
    candidate's bias beside the state.

    Args:
      params: the module, or a mapping of its arrays by name: weight_ih, weight_hh and, unless `use_bias=False`, bias
        and bias_n; or a tree with such. A module is run for a step, so that a class of your own that computes something
        else is refused.
      prefix: as in `from_linen`.

    Returns:
      `gru_jax.gru()`, for a module without biases `gru_jax.gru(use_bias=False)`, and params[layer][direction] in the
      dtype of the weights, None where there is no bias.

    Raises:
      TypeError, ValueError: naming the key, what was expected there and what came.

    Source: equinox.nn.GRUCell, documentation.
    """
    return read_tree(EQUINOX, params, prefix)


def to_equinox(cell: Cell, params: Any, *, bias: bool | None = None) -> dict[str, np.ndarray]:
    """The arrays of the `equinox.nn.GRUCell` that computes what this cell with these params does, by name.

    r and z get the sum of both biases. With `update_gate="write"` z is negated, as σ(-a) = 1 - σ(a).

    Args:
      cell: `gru_jax.gru(...)` with `reset_after=True`.
      params: params[0][0], or params with that layer and direction only.
      bias: False for a module made with `use_bias=False`; all biases have to be 0 or None. None: with biases where the
        params have any.

    Raises:
      TypeError, ValueError: for another cell, more layers or directions, or other shapes, naming them.

    Example, with `module = equinox.nn.GRUCell(I, H, key=key)` and `arrays = to_equinox(cell, params)`:
    `equinox.tree_at(lambda m: [getattr(m, name) for name in arrays], module, list(arrays.values()))`.
    """
    stack = check_stack("equinox.nn.GRUCell", cell, params, layers=1, directions=1)
    check_tanh_and_sigmoid("equinox.nn.GRUCell", cell)
    layout = EQUINOX.layouts[0 if has_bias(bias, stack) else 1]
    return _write(EQUINOX, layout, "equinox.nn.GRUCell", cell, params)


def _write(row: Format, layout: Layout, target: str, cell: Cell, params: Any) -> dict[str, np.ndarray]:
    place: Place = {"prefix": ""}
    stack = check_stack(target, cell, params, layers=1, directions=1)
    return write_stack(row, layout, cell, stack, [[place]])


def _nest(flat: Mapping[str, np.ndarray]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, array in flat.items():
        first, _, rest = key.partition("/")
        if rest:
            tree.setdefault(first, {})[rest] = array
        else:
            tree[first] = array
    return tree
