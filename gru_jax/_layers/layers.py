"""Stacks of layers, one or two directions each, with dropout between them.

The architecture is the nesting of the params, `params[layer][direction]`; the carry nests likewise.
"""

import inspect
import math
import warnings
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from gru_jax._cells.carry_checks import check_carry
from gru_jax._cells.cell import Cell
from gru_jax._cells.checks import (
    check_flag,
    check_inputs,
    check_key,
    check_positive,
    leading_shape,
    outline,
)
from gru_jax._scan.checks import check_cell
from gru_jax._scan.lanes import scan_lanes

DIRECTIONS = ("forward", "backward")


def layer_widths(features: int | Sequence[int], num_layers: int = 1) -> tuple[int, ...]:
    """The width of each layer, from one for all or one for each."""
    num_layers = check_positive("num_layers", num_layers, remedy="pass the number of stacked layers")
    if not isinstance(features, tuple | list):
        return (check_positive("features", features, remedy="pass the width of the hidden state"),) * num_layers
    if not features or num_layers not in (1, len(features)):
        raise ValueError(
            f"features: expected one width, or one for each of num_layers={num_layers} layers, got {features!r}; "
            "leave num_layers out when features is a tuple."
        )
    return tuple(
        check_positive(f"features[{i}]", width, remedy="pass the width of that layer")
        for i, width in enumerate(features)
    )


def init_layers(
    cell: Cell,
    key: jax.Array,
    in_features: int,
    features: int | Sequence[int],
    *,
    num_layers: int = 1,
    bidirectional: bool = False,
    dtype: Any = jnp.float32,
) -> tuple[tuple[Any, ...], ...]:
    """Params for a stack of layers.

    Args:
      cell: the cell of every layer.
      key: a random key.
      in_features: I, the width of one input of the first layer.
      features: H, the width of every layer, or a tuple with one width a layer.
      num_layers: how many layers, when `features` is one number.
      bidirectional: two directions a layer, forward first; the layer above sees both, concatenated.
      dtype: of the params.

    Returns:
      `params[layer][direction]`, each what `cell.init` returns.

    Raises:
      TypeError, ValueError: naming the argument that does not fit.

    Example:
      >>> import gru_jax, jax
      >>> params = gru_jax.init_layers(gru_jax.gru(), jax.random.key(0), 8, (16, 32), bidirectional=True)
      >>> params[1][0].w_i.shape
      (32, 96)
    """
    check_cell(cell)
    check_key("key", key)
    directions = 2 if check_flag("bidirectional", bidirectional) else 1
    params = []
    for layer, width in enumerate(layer_widths(features, num_layers)):
        keys = jax.random.split(jax.random.fold_in(key, layer), directions)
        params.append(tuple(cell.init(k, in_features, width, dtype) for k in keys))
        if layer:
            check_stacks(cell, params[0][0])
        in_features = directions * width
    return tuple(params)


def scan_layers(
    cell: Cell,
    params: Sequence[Sequence[Any]],
    xs: Any,
    carry: Sequence[Sequence[Any]] | None = None,
    *,
    dropout_rate: float = 0.0,
    dropout_key: jax.Array | None = None,
    reset_carry: Sequence[Sequence[Any]] | None = None,
    **scan_options: Any,
) -> tuple[tuple[tuple[Any, ...], ...], jax.Array]:
    """Run a stack of layers over the leading axis of xs.

    Args:
      cell: the cell of every layer.
      params: `params[layer][direction]`, as `init_layers` makes it; with two directions the second runs from the end.
      xs: inputs `(T, *B, I)`, or what else the cell reads; a cell that reads several arrays makes one layer only.
      carry: initial states, nested like params; None: zeros.
      dropout_rate: in [0, 1): the share of the values between layers that is zeroed; the others are scaled up by
        1 / (1 - rate). The input of the first layer and the output of the last are never dropped.
      dropout_key: a random key, needed when the rate is not 0.
      reset_carry: what a reset restores, nested like params; None: zeros.
      **scan_options: what `gru_jax.scan` takes: seq_lengths, mask, resets, reverse (not with two directions), unroll,
        remat, precision, backend.

    Returns:
      The final carry, nested like params, and ys `(T, *B, D H)` of the last layer, forward first; for frames,
      `(T, *B, height, width, D H)`.

    Raises:
      TypeError, ValueError: naming the argument that does not fit.

    Example:
      >>> import gru_jax, jax, jax.numpy as jnp
      >>> cell = gru_jax.gru()
      >>> params = gru_jax.init_layers(cell, jax.random.key(0), 8, 16, num_layers=2, bidirectional=True)
      >>> carry, ys = gru_jax.scan_layers(cell, params, jnp.ones((5, 4, 8)))
      >>> ys.shape, carry[1][0].shape
      ((5, 4, 32), (4, 16))
    """
    check_cell(cell)
    check_nesting("params", params)
    reverse = check_flag("reverse", scan_options.pop("reverse", False))
    if reverse and any(len(layer) > 1 for layer in params):
        raise ValueError(
            "reverse: expected False with two directions, got True; both are run already: flip xs, or drop reverse."
        )
    rate = check_dropout(dropout_rate)
    key = _check_dropout_key(rate, dropout_key)
    _, xs = check_inputs(cell, "xs", xs, params[0][0], axes=("T", "*B"))
    steps, *batch = leading_shape(cell, params[0][0], xs)
    if len(params) > 1:
        check_stacks(cell, params[0][0])
    check_states(cell, params, "carry", carry, batch)
    check_states(cell, params, "reset_carry", reset_carry, batch, steps=steps)

    final = []
    for layer, directions in enumerate(params):
        if layer and rate:
            xs = _dropout(jax.random.fold_in(key, layer), rate, xs)
        for direction, p in enumerate(directions):
            check_reads(cell, p, xs, layer, direction)
        nothing = (None,) * len(directions)
        # Both directions are lanes of one call.
        states, results = scan_lanes(
            cell,
            tuple(directions),
            xs,
            nothing if carry is None else tuple(carry[layer]),
            reset_carry=nothing if reset_carry is None else tuple(reset_carry[layer]),
            reverse=(False, True) if len(directions) > 1 else (reverse,),
            **scan_options,
        )
        final.append(states)
        xs = results[0] if len(results) == 1 else jnp.concatenate(results, axis=-1)
    return tuple(final), xs


def check_dropout(rate: Any) -> float:
    """`rate` as a float, checked to be in [0, 1)."""
    if isinstance(rate, bool) or not isinstance(rate, int | float):
        raise TypeError(f"dropout_rate: expected a number in [0, 1), got {rate!r}; pass a Python float.")
    if not (math.isfinite(rate) and 0 <= rate < 1):
        raise ValueError(f"dropout_rate: expected a number in [0, 1), got {rate}; 0 turns dropout off.")
    return float(rate)


def warn_of_idle_dropout(rate: Any, layers: int) -> None:
    """Warn of a rate that does nothing, as one layer has nothing between layers; wrong rates are refused elsewhere."""
    if layers == 1 and isinstance(rate, int | float) and 0 < rate < 1:
        warnings.warn(
            f"dropout_rate: expected num_layers of 2 or more, since dropout acts between layers, got num_layers=1 with "
            f"dropout_rate={rate}; nothing is dropped: pass more layers, or drop what the layer returns.",
            UserWarning,
            stacklevel=_callers_level(),
        )


def _callers_level() -> int:
    """The stacklevel, for the caller of this, of the first frame that belongs neither to Flax nor to gru_jax."""
    frame, level = inspect.currentframe(), 0
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in ("flax", "gru_jax"):
        frame, level = frame.f_back, level + 1
    return level


def _check_dropout_key(rate: float, key: Any) -> Any:
    """`key`, checked to be a random key where the rate needs one."""
    if rate and key is None:
        raise ValueError(
            f"dropout_key: expected a random key with dropout_rate={rate}, got None; "
            "pass one, or dropout_rate=0.0 to evaluate."
        )
    if rate:
        check_key("dropout_key", key)
    return key


def _dropout(key: jax.Array, rate: float, xs: jax.Array) -> jax.Array:
    kept = jax.random.bernoulli(key, 1 - rate, xs.shape)
    return jnp.where(kept, xs / (1 - rate), 0)


def check_nesting(name: str, tree: Any, like: Any = None) -> None:
    """Check for layers of one or two directions, as in `like` if given; a NamedTuple is a cell's own and no layer."""
    if not _is_list(tree) or not tree or not all(_is_list(row) and len(row) in (1, 2) for row in tree):
        raise TypeError(
            f"{name}: expected {name}[layer][direction], a tuple of layers of one or two directions, "
            f"got {type(tree).__name__}; for one layer and direction write (({name},),)."
        )
    if like is not None and [len(row) for row in tree] != [len(row) for row in like]:
        raise ValueError(
            f"{name}: expected directions per layer as in params, {[len(row) for row in like]}, "
            f"got {[len(row) for row in tree]}; nest it as params[layer][direction]."
        )


def check_states(cell: Cell, params: Any, name: str, states: Any, batch: Sequence[int], *, steps: Any = None) -> None:
    """Check carries nested like params, so that a message can say which layer and direction is wrong."""
    if states is None:
        return
    check_nesting(name, states, like=params)
    for layer, row in enumerate(states):
        for direction, state in enumerate(row):
            path = f"{name}[{layer}][{direction}]"
            check_carry(cell, path, state, params[layer][direction], batch, steps=steps)


def check_stacks(cell: Cell, params: Any) -> None:
    """Refuse to stack layers of a cell that reads several arrays, since the layer below writes one."""
    shapes = cell.input_shape(params)
    if hasattr(shapes, "_fields"):
        raise ValueError(
            f"num_layers: expected 1 for the cell {cell.name!r}, which reads {outline(shapes)} while a layer "
            "writes one array; run gru_jax.scan_layers with another cell on the ys of one such layer."
        )


def check_reads(cell: Cell, params: Any, xs: Any, layer: int, direction: int) -> None:
    """Check that a layer reads what the layer below writes, and its second direction what the first reads."""
    widths = cell.input_shape(params)
    if hasattr(widths, "_fields"):
        # The only layer: `scan` checks each direction against the same arrays.
        return
    found = xs.shape[xs.ndim - len(widths) :]
    if any(want is not None and want != have for want, have in zip(widths, found, strict=True)):
        source = f"layer {layer - 1} writes" if layer else "the other direction reads"
        raise ValueError(
            f"params[{layer}][{direction}]: expected a layer for inputs of width {found[-1]}, which {source}, "
            f"got one for {widths[-1]}; make the whole stack with init_layers."
        )


def _is_list(tree: Any) -> bool:
    return isinstance(tree, tuple | list) and not hasattr(tree, "_fields")
