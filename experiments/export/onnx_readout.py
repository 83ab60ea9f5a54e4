"""The read-outs of a `SequenceModel` in ONNX: from all steps of the last recurrent layer to what the outputs see."""

from typing import Any

import numpy as np
import onnx

import gru_jax.export

_FLOAT, _INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64


def dense(graph: gru_jax.export.Graph, params: Any, xs: str, name: str) -> str:
    """A linear layer, flax's Dense: y = x W + b."""
    kernel = graph.initializer(np.asarray(params["kernel"]), f"{name}_kernel")
    bias = graph.initializer(np.asarray(params["bias"]), f"{name}_bias")
    return graph.add("Add", [graph.add("MatMul", [xs, kernel]), bias], name=name)


def read_out(
    graph: gru_jax.export.Graph, readout: str, params: Any, carry: Any, ys: str, lengths: str
) -> tuple[str, str | None]:
    """What the output layer sees, (B, T, F) with "every", else (B, F); and the weights (B, T) with "attention".

    ``ys``: (T, B, F), 0 in the padding; ``carry``: the final carry of each layer, from `gru_jax.export.add_layers`.
    """
    if readout == "every":
        return graph.add("Transpose", [ys], perm=[1, 0, 2], name="steps"), None
    if readout == "last":
        return _last(graph, carry), None
    if readout == "mean":
        return _mean(graph, ys, lengths), None
    return _attention(graph, params["pooling"], ys, lengths)


def _last(graph: gru_jax.export.Graph, carry: Any) -> str:
    """The final state of each direction, which is where it read last, h of an LSTM: (D, B, H) to (B, D H)."""
    rows_first = graph.add("Transpose", [carry[-1][0]], perm=[1, 0, 2])
    return graph.add("Flatten", [rows_first], axis=1, name="last")


def _mean(graph: gru_jax.export.Graph, ys: str, lengths: str) -> str:
    total = graph.add("ReduceSum", [ys, graph.initializer(np.array([0]))], keepdims=0)
    count = graph.add("Max", [lengths, graph.initializer(np.int32(1))])
    column = graph.add("Unsqueeze", [graph.add("Cast", [count], to=_FLOAT), graph.initializer(np.array([1]))])
    return graph.add("Div", [total, column], name="mean")


def _attention(graph: gru_jax.export.Graph, params: Any, ys: str, lengths: str) -> tuple[str, str]:
    """`gru_jax.attention_pooling`: weights = softmax over the valid steps of u · tanh(y W + b), all 0 without any."""
    w, b = (graph.initializer(np.asarray(params[name]), f"pooling_{name}") for name in "wb")
    # u is a column, since onnxruntime refuses to multiply no rows with a vector.
    u, last = graph.initializer(np.asarray(params["u"])[:, None], "pooling_u"), graph.initializer(np.array([2]))
    inner = graph.add("Tanh", [graph.add("Add", [graph.add("MatMul", [ys, w]), b])])
    scores = graph.add("Squeeze", [graph.add("MatMul", [inner, u]), last], name="scores")
    valid = _valid(graph, ys, lengths)
    first = graph.initializer(np.array([0]))
    lowest = graph.initializer(np.finfo(np.float32).min)
    highest = graph.add("ReduceMax", [graph.add("Where", [valid, scores, lowest])], axes=[0], keepdims=1)
    # The difference may be infinite in the padding, which Where leaves out.
    raised = graph.add("Exp", [graph.add("Sub", [scores, highest])])
    raised = graph.add("Where", [valid, raised, graph.initializer(np.float32(0))])
    total = graph.add("ReduceSum", [raised, first], keepdims=1)
    # The largest term is 1, so only the total of no steps is below 1.
    weights = graph.add("Div", [raised, graph.add("Max", [total, graph.initializer(np.float32(1))])])
    parts = graph.add("Mul", [graph.add("Unsqueeze", [weights, last]), ys])
    pooled = graph.add("ReduceSum", [parts, first], keepdims=0, name="pooled")
    return pooled, graph.add("Transpose", [weights], perm=[1, 0], name="attention")


def _valid(graph: gru_jax.export.Graph, ys: str, lengths: str) -> str:
    """Bool (T, B): t < lengths[b]."""
    zero, one = graph.initializer(np.array(0)), graph.initializer(np.array(1))
    steps = graph.add("Squeeze", [graph.add("Shape", [ys], start=0, end=1)])
    times = graph.add("Unsqueeze", [graph.add("Range", [zero, steps, one]), graph.initializer(np.array([1]))])
    return graph.add("Less", [times, graph.add("Cast", [lengths], to=_INT64)], name="valid")
