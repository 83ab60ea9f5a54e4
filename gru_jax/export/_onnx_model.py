"""Whole ONNX models of a stack of recurrent layers."""

from typing import Any

import numpy as np

from gru_jax._cells.checks import check_flag
from gru_jax.export._onnx_graph import Graph
from gru_jax.export._onnx_layers import add_stack, check_layers
from gru_jax.interop._cell_records import describe
from gru_jax.interop._write_file import check_target, write_file


def onnx_model(
    cell: Any,
    params: Any,
    *,
    seq_lengths: bool = True,
    initial_carry: bool = False,
    time_major: bool = True,
    reverse: bool = False,
) -> Any:
    """An ONNX model that computes what `gru_jax.scan_layers(cell, params, ...)` does, with a recurrent node a layer.

    Inputs: `xs`, float32 `(time, batch, I)`, both axes free; `seq_lengths`, int32 `(batch,)`, each within 0..time;
    `initial_carry_0` and so on for each layer, float32 `(D, batch, H)`: `np.stack(carry[0])` for a carry of
    scan_layers. An LSTM has `initial_carry_0_h` and `initial_carry_0_c`.
    Outputs: `ys`, float32 `(time, batch, D H)`; `carry_0` and so on, named and shaped like the initial ones.

    The metadata hold the cell's name, options and equations. Opset 17 in format 8, for onnxruntime from 1.12 on.

    Args:
      cell: `gru_jax.gru(...)`, `gru_jax.lstm(...)` or `gru_jax.rnn(...)`.
      params: `params[layer][direction]`, as `init_layers` makes it; widths may differ from layer to layer. float32;
        bfloat16 and float16 are widened to it, which is exact.
      seq_lengths: whether lengths are an input. False leaves the nodes alone, for runtimes that know few operators: all
        steps of all rows count, and there has to be a step and a row.
      initial_carry: whether the initial carry is an input; else it is zero.
      time_major: False for xs and ys `(batch, time, ...)`.
      reverse: run every layer from the last step to the first, each row from its own; not with two directions.

    Returns:
      An `onnx.ModelProto`, which `onnx.checker` has passed.

    Raises:
      ValueError: for a cell that ONNX has no operator for, or params that do not fit.
      TypeError: for arguments of another kind, and for float64 params.
      ImportError: without the package onnx.

    Example:
      >>> import gru_jax, jax, numpy as np, onnxruntime
      >>> cell = gru_jax.gru()
      >>> params = gru_jax.init_layers(cell, jax.random.key(0), 8, 16, num_layers=2, bidirectional=True)
      >>> model = gru_jax.export.onnx_model(cell, params)
      >>> session = onnxruntime.InferenceSession(model.SerializeToString())
      >>> xs, lengths = np.ones((5, 2, 8), np.float32), np.array([5, 3], np.int32)
      >>> ys, *carry = session.run(None, {"xs": xs, "seq_lengths": lengths})
      >>> expected = gru_jax.scan_layers(cell, params, xs, seq_lengths=lengths)
      >>> bool(np.abs(ys - expected[1]).max() < 1e-6), bool(np.abs(carry[1] - np.stack(expected[0][1])).max() < 1e-6)
      (True, True)
    """
    operator, stack = check_layers(cell, params, reverse)
    time_major = check_flag("time_major", time_major)
    graph = Graph("gru_jax")
    axes = ("time", "batch") if time_major else ("batch", "time")
    xs = graph.input("xs", np.float32, (*axes, stack[0][0].w_i.shape[0]))
    lengths = graph.input("seq_lengths", np.int32, ("batch",)) if check_flag("seq_lengths", seq_lengths) else None
    names = [[f"carry_{layer}{state}" for state in operator.states] for layer in range(len(stack))]
    shapes = [(len(layer), "batch", layer[0].w_h.shape[0]) for layer in stack]
    starts = None
    if check_flag("initial_carry", initial_carry):
        starts = [
            [graph.input(f"initial_{name}", np.float32, shape) for name in states]
            for states, shape in zip(names, shapes, strict=True)
        ]
    first = xs if time_major else graph.add("Transpose", [xs], perm=[1, 0, 2])
    carry, ys = add_stack(graph, operator, cell, stack, first, lengths, starts, reverse)
    if not time_major:
        ys = graph.add("Transpose", [ys], perm=[1, 0, 2])
    directions, _, features = shapes[-1]
    graph.output("ys", ys, np.float32, (*axes, directions * features))
    for states, values, shape in zip(names, carry, shapes, strict=True):
        for name, value in zip(states, values, strict=True):
            graph.output(name, value, np.float32, shape)
    # Without `gate_order`, which is ours: the tensors have the order of ONNX.
    record = {key: text for key, text in describe(cell).items() if key != "gate_order"}
    return graph.model({f"gru_jax.{key}": text for key, text in record.items()})


def save_onnx(path: Any, cell: Any, params: Any, **options: Any) -> None:
    """Write `onnx_model(cell, params, **options)` to a file, which appears at once, complete.

    Args:
      path: where to write, usually `*.onnx`.
      cell: as in `onnx_model`.
      params: likewise.
      **options: likewise.

    Raises:
      TypeError, ValueError, ImportError: as `onnx_model` does.
      OSError: as Python raises it, where the file cannot be written.

    Example:
      >>> import gru_jax, jax, os, tempfile
      >>> cell = gru_jax.gru(update_gate="write")
      >>> params = gru_jax.init_layers(cell, jax.random.key(0), 8, 16)
      >>> path = os.path.join(tempfile.mkdtemp(), "gru.onnx")
      >>> gru_jax.export.save_onnx(path, cell, params)
      >>> gru_jax.interop.read_onnx(path)["W"].shape
      (1, 48, 8)
    """
    target = check_target(path)
    write_file(target, onnx_model(cell, params, **options).SerializeToString())
