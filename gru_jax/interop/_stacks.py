"""Reading and writing stacks of layers: which layout of a format the keys have, and then layer by layer."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gru_jax._cells.cell import Cell
from gru_jax._cells.checks import check_flag, check_params
from gru_jax._cells.gru import SHAPES, GRUOptions, GRUParams, gru
from gru_jax._layers.layers import check_nesting
from gru_jax.interop._activations import shown
from gru_jax.interop._arrays import as_numpy, one_dtype
from gru_jax.interop._formats import Format, Layout
from gru_jax.interop._layers import read_layer, write_layer
from gru_jax.interop._listing import listed
from gru_jax.interop._nesting import as_stack

Place = Mapping[str, object]
"""What is filled into the templates of a layout for one layer and direction."""
Params = tuple[tuple[GRUParams, ...], ...]


def read_stack(
    row: Format,
    given: Mapping[str, Any],
    places: Sequence[Sequence[Place]],
    *,
    argument: str,
    label: str = "{}",
    reset_after: bool | None = None,
    activations: tuple[Any, Any] | None = None,
    remedy: str = "pass the weights of a GRU, all of them and nothing else",
) -> tuple[Cell, Params]:
    """The cell and params[layer][direction] of the arrays given; every key has to be one of a layout.

    Messages call the whole `argument`, and one key what the template `label` makes of it. `activations` are those
    of the candidate and of the gates; None: tanh and sigmoid.

    Raises:
      TypeError, ValueError: naming the key that is missing, too much, or of another shape or dtype.
    """
    layout = _layout_of(row, given, places, argument, remedy)
    arrays = {key: as_numpy(label.format(key), value) for key, value in given.items()}
    one_dtype({label.format(key): array for key, array in arrays.items()})
    params: list[tuple[GRUParams, ...]] = []
    in_features = None
    for layer in places:
        directions = []
        for place in layer:
            read = read_layer(row, layout.keys(**place), arrays, in_features, label)
            in_features = read.w_i.shape[0]
            _check_same_width(layout.keys(**place), directions, read)
            directions.append(read)
        params.append(tuple(directions))
        in_features = sum(read.w_h.shape[0] for read in directions)
    options = row.options(layout, reset_after)
    if activations is not None:
        options = options._replace(activation=activations[0], gate_activation=activations[1])
    return gru(**options._asdict()), tuple(params)


def write_stack(
    row: Format, layout: Layout, cell: Cell, params: Params, places: Sequence[Sequence[Place]]
) -> dict[str, np.ndarray]:
    """The arrays of all layers, by key."""
    found: dict[str, np.ndarray] = {}
    for i, (layer, layer_places) in enumerate(zip(params, places, strict=True)):
        for j, (read, place) in enumerate(zip(layer, layer_places, strict=True)):
            found |= write_layer(row, layout.keys(**place), cell.options, read, f"params[{i}][{j}]")
    return found


def check_stack(target: str, cell: Any, params: Any, *, layers: int | None = None, directions: int = 2) -> Params:
    """params[layer][direction] of a GRU, checked to fit into the target; one layer's params may stand alone.

    Raises:
      TypeError, ValueError: naming what does not fit.
    """
    if not isinstance(cell, Cell) or not isinstance(cell.options, GRUOptions) or cell.name != "gru":
        name = repr(cell.name) if isinstance(cell, Cell) else type(cell).__name__
        raise TypeError(f"cell: expected gru_jax.gru(...), got {name}; gru_jax.interop converts GRUs.")
    nested = as_stack(GRUParams, params)
    check_nesting("params", nested)
    stack = tuple(
        tuple(_as_numpy(f"params[{i}][{j}]", own) for j, own in enumerate(layer)) for i, layer in enumerate(nested)
    )
    one_dtype(
        {
            f"params[{i}][{j}].{name}": leaf
            for i, layer in enumerate(stack)
            for j, own in enumerate(layer)
            for name, leaf in own._asdict().items()
            if leaf is not None
        }
    )
    below: int | None = None
    for i, layer in enumerate(stack):
        if len(layer) != len(stack[0]):
            raise ValueError(
                f"params[{i}]: expected {len(stack[0])} directions, as params[0] has, got {len(layer)}; "
                "one conversion takes one kind of layer."
            )
        for j, own in enumerate(layer):
            _check_shapes(f"params[{i}][{j}]", own, below)
        if len({(*own.w_i.shape, *own.w_h.shape) for own in layer}) > 1:
            raise ValueError(f"params[{i}]: expected two directions of one shape, got others; pass such a layer.")
        below = sum(own.w_h.shape[0] for own in layer)
    _check_room(target, len(stack), len(stack[0]), layers, directions)
    return stack


def _as_numpy(label: str, params: Any) -> GRUParams:
    if not isinstance(params, GRUParams):
        raise TypeError(
            f"{label}: expected GRUParams, got {type(params).__name__}; "
            "pass what init_layers or a from_ function returned, or the GRUParams of one layer."
        )
    leaves: dict[str, Any] = {
        name: None if leaf is None and name in ("b_i", "b_h") else as_numpy(f"{label}.{name}", leaf)
        for name, leaf in params._asdict().items()
    }
    return GRUParams(**leaves)


def has_bias(bias: bool | None, params: Params) -> bool:
    """Whether biases are to be written: as asked, or where the params have any.

    Raises:
      TypeError: where `bias` is neither a bool nor None.
    """
    if bias is not None:
        return check_flag("bias", bias)
    return any(leaf is not None for layer in params for own in layer for leaf in (own.b_i, own.b_h))


def check_tanh_and_sigmoid(target: str, cell: Cell) -> None:
    """Check that the cell has tanh and sigmoid, the only activations that the target computes.

    Raises:
      ValueError: naming the activation.
    """
    plain = GRUOptions(True, "keep")
    for name in ("activation", "gate_activation"):
        expected, found = (getattr(options, name) for options in (plain, cell.options))
        if found is not expected:
            raise ValueError(
                f"cell: {target} computes {name}={shown(expected)} and no other, this cell {name}={shown(found)}; "
                "no weights make the two equal."
            )


def _check_shapes(label: str, params: GRUParams, in_features: int | None) -> None:
    try:
        sizes = {} if in_features is None else {"I": in_features}
        check_params("gru", GRUParams, params, SHAPES, optional=("b_i", "b_h"), **sizes)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{label}: {error}") from None


def _check_room(target: str, layers: int, directions: int, most_layers: int | None, most_directions: int) -> None:
    if most_layers is not None and layers > most_layers:
        raise ValueError(
            f"params: {target} holds {most_layers} layer, got {layers}; "
            "convert them one by one, (params[layer],) each time."
        )
    if directions > most_directions:
        raise ValueError(
            f"params: {target} holds {most_directions} direction, got {directions}; "
            "convert them one by one, params[layer][direction] each time."
        )


def _check_same_width(keys: Layout, before: list[GRUParams], read: GRUParams) -> None:
    if before and before[0].w_h.shape != read.w_h.shape:
        raise ValueError(
            f"{keys.names()[1]}: expected both directions {before[0].w_h.shape[0]} wide, "
            f"got {read.w_h.shape[0]}; pass the weights of one bidirectional GRU."
        )


def _layout_of(
    row: Format, given: Mapping[str, Any], places: Sequence[Sequence[Place]], argument: str, remedy: str
) -> Layout:
    """The layout whose keys are exactly the given ones."""
    faults: list[tuple[list[str], list[str]]] = []
    for layout in row.layouts:
        expected = [key for layer in places for place in layer for key in layout.keys(**place).names()]
        missing = [key for key in expected if key not in given]
        extra = [key for key in given if key not in expected]
        if not missing and not extra:
            return layout
        faults.append((missing, extra))
    missing, extra = min(faults, key=lambda fault: len(fault[0]) + len(fault[1]))
    said = [f"missing {listed(missing)}"] if missing else []
    said += [f"unexpected {listed(extra)}"] if extra else []
    raise ValueError(f"{argument}: expected the keys of a GRU of {row.name}, but {' and '.join(said)}; {remedy}.")
