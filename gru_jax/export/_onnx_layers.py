"""The recurrent layers of an ONNX graph."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gru_jax._cells.checks import check_flag
from gru_jax.export._known_params import Stack, check_stack
from gru_jax.export._onnx_cells import Operator, narrow_enough, operator_of
from gru_jax.export._onnx_graph import Graph
from gru_jax.export._onnx_rows import Rows

Carry = tuple[tuple[str, ...], ...]
"""carry[layer][state] of values `(D, B, H)`; one state, or h and c of an LSTM."""


def check_layers(cell: Any, params: Any, reverse: Any) -> tuple[Operator, Stack]:
    """What `add_layers` writes: the operator of the cell and the params in float32.

    Raises:
      TypeError, ValueError: naming what does not fit.
    """
    operator = operator_of(cell)
    stack = check_stack(cell, params)
    below = None
    for i, layer in enumerate(stack):
        below = _check_layer(operator, cell, i, layer, below)
    if check_flag("reverse", reverse) and any(len(layer) > 1 for layer in stack):
        raise ValueError("reverse: expected False with two directions, got True; both are run already: drop reverse.")
    return operator, narrow_enough(stack)


def add_layers(
    graph: Graph,
    cell: Any,
    params: Any,
    xs: str,
    *,
    seq_lengths: str | None = None,
    initial_carry: Sequence[Sequence[str]] | None = None,
    reverse: bool = False,
) -> tuple[Carry, str]:
    """Add a stack of recurrent layers to a graph: one GRU, LSTM or RNN node a layer, both directions in it.

    With `seq_lengths` all of `gru_jax.scan_layers` holds, in onnxruntime too: ys is 0 in the padding, the carry is the
    one after the last valid step, a row of length 0 returns its initial carry, and T or B may be 0. onnxruntime raises
    for a length outside of 0..T. Without `seq_lengths` the nodes stand alone, for runtimes that know few operators. T
    and B then have to be at least 1: onnxruntime ends the process otherwise.

    Args:
      graph: where to add.
      cell: `gru_jax.gru(...)`, `gru_jax.lstm(...)` or `gru_jax.rnn(...)`. A GRU with `update_gate="write"` is written
        with z negated, which changes no digit of its weights.
      params: `params[layer][direction]`; widths may differ from layer to layer. float32; narrower floats are widened.
      xs: the inputs, float32 `(T, B, I)`.
      seq_lengths: int32 `(B,)`, or None for rows that are all valid.
      initial_carry: `initial_carry[layer][state]`, float32 `(D, B, H)`: `np.stack(carry[layer])` for a carry of
        scan_layers. A layer has one state, or h and c for an LSTM. None: zeros.
      reverse: run every layer from the last step to the first; not with two directions.

    Returns:
      The final carry, nested as `initial_carry`, and ys `(T, B, D H)` of the last layer, forward first.

    Raises:
      TypeError, ValueError: for a cell that ONNX has no operator for, params that do not fit, or float64.

    Source: the ONNX operators GRU, LSTM and RNN, version 14.
    """
    operator, stack = check_layers(cell, params, reverse)
    return add_stack(graph, operator, cell, stack, xs, seq_lengths, initial_carry, reverse)


def add_stack(
    graph: Graph,
    operator: Operator,
    cell: Any,
    stack: Stack,
    xs: str,
    seq_lengths: str | None,
    initial_carry: Sequence[Sequence[str]] | None,
    reverse: bool,
) -> tuple[Carry, str]:
    """`add_layers` of what `check_layers` returned."""
    starts = _check_carry(operator, stack, initial_carry)
    rows = None
    if seq_lengths is not None:
        rows = Rows(graph, xs, seq_lengths)
        xs = rows.fill_xs(xs)
    carry = []
    for layer, (directions, start) in enumerate(zip(stack, starts, strict=True)):
        if rows is not None:
            start = tuple(state and rows.fill_carry(state) for state in start)
        lengths = "" if rows is None else rows.lengths
        xs, *final = _add_layer(graph, operator, cell, directions, layer, xs, lengths, start, reverse)
        if rows is not None:
            final = [rows.finish_carry(state, first) for state, first in zip(final, start, strict=True)]
        carry.append(tuple(final))
    return tuple(carry), xs if rows is None else rows.cut_ys(xs)


def _add_layer(
    graph: Graph,
    operator: Operator,
    cell: Any,
    directions: tuple[Any, ...],
    layer: int,
    xs: str,
    lengths: str,
    start: tuple[str, ...],
    reverse: bool,
) -> tuple[str, ...]:
    """One node: ys `(T, B, D H)` and the states `(D, B, H)`."""
    count, features = len(directions), directions[0].w_h.shape[0]
    label = f"layer_{layer}"
    tensors = operator.tensors(cell, directions)
    weights = [graph.initializer(tensors[name], f"{label}_{name}") if name in tensors else "" for name in "WRB"]
    ys, *final = graph.add_node(
        operator.name,
        [xs, *weights, lengths, *start],
        [label, *(f"{label}_carry{state}" for state in operator.states)],
        hidden_size=features,
        direction="bidirectional" if count == 2 else "reverse" if reverse else "forward",
        **operator.attributes(cell, count),
    )
    # From (T, D, B, H); a 0 in a new shape keeps the axis that is there.
    if count == 1:
        ys = graph.add("Squeeze", [ys, graph.initializer(np.array([1]))], name=f"{label}_ys")
    else:
        beside = graph.add("Transpose", [ys], perm=[0, 2, 1, 3])
        shape = graph.initializer(np.array([0, 0, count * features]))
        ys = graph.add("Reshape", [beside, shape], name=f"{label}_ys")
    return ys, *final


def _check_layer(operator: Operator, cell: Any, i: int, layer: tuple[Any, ...], below: int | None) -> int:
    """The width of the layer's outputs; checks that it reads inputs of width `below`, where that is known."""
    for j, own in enumerate(layer):
        try:
            (reads,) = cell.input_shape(own)
        except (TypeError, ValueError) as error:
            raise type(error)(f"params[{i}][{j}]: {error}") from None
        below = reads if below is None else below
        if reads != below:
            source = "the other direction reads" if j else f"layer {i - 1} writes"
            raise ValueError(
                f"params[{i}][{j}]: expected a layer for inputs of width {below}, which {source}, got one for {reads}; "
                "make the whole stack with init_layers."
            )
    widths = [own.w_h.shape[0] for own in layer]
    if len(set(widths)) > 1:
        raise ValueError(
            f"params[{i}]: expected two directions of one width, as an ONNX {operator.name} node has, got {widths}; "
            "export as stablehlo, gru_jax.export.stablehlo(cell, params)."
        )
    return sum(widths)


def _check_carry(operator: Operator, stack: Stack, carry: Any) -> list[tuple[str, ...]]:
    """The initial states of every layer, "" for zeros."""
    if carry is None:
        return [("",) * len(operator.states)] * len(stack)
    found = [len(states) if isinstance(states, tuple | list) else 0 for states in carry]
    if found != [len(operator.states)] * len(stack):
        raise ValueError(
            f"initial_carry: expected {len(operator.states)} value for each of {len(stack)} layers of {operator.name}, "
            f"nested initial_carry[layer][state], got {carry!r}; nest them as the carry that is returned."
        )
    return [tuple(states) for states in carry]
