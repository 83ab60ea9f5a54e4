"""A trained `SequenceModel`, or an `Ensemble` of them, as an ONNX graph."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx

import gru_jax.export
from experiments.export.onnx_readout import dense, read_out
from experiments.export.signature import Signature
from experiments.export.stack import stack_of
from experiments.models.ensemble import Ensemble
from experiments.models.sequence_model import SequenceModel
from experiments.tasks.inputs import Pooled, Tokens

_FLOAT = onnx.TensorProto.FLOAT


def onnx_model(
    model: SequenceModel | Ensemble, params: Any, signature: Signature, metadata: Mapping[str, str]
) -> onnx.ModelProto:
    """The model without dropout, with the inputs and outputs of ``signature``; it has passed ONNX's checker.

    ``params``: its variables; ``metadata``: strings by name, for `metadata_props`. An ensemble is its members side by
    side. Raises ValueError for a cell that ONNX has no operator for.
    """
    graph = gru_jax.export.Graph("model")
    given = {value.name: graph.input(value.name, np.dtype(value.dtype), value.shape) for value in signature.inputs}
    own = params["params"]
    said = _ensemble(graph, model, own, given) if isinstance(model, Ensemble) else _sequence(graph, model, own, given)
    for value in signature.outputs:
        graph.output(value.name, getattr(said, value.name), np.dtype(value.dtype), value.shape)
    return graph.model(metadata)


def _sequence(graph: gru_jax.export.Graph, model: Any, params: Any, given: Mapping[str, str]) -> Pooled:
    stack, lengths = stack_of(model.cell, params["recurrent"]), given["seq_lengths"]
    xs = _enter(graph, model, params, given["inputs"])
    carry, ys = gru_jax.export.add_layers(graph, model.cell, stack, xs, seq_lengths=lengths)
    features, weights = read_out(graph, model.readout, params, carry, ys, lengths)
    outputs = dense(graph, params["output_layer"], features, "output_layer")
    if "judged_logits" in given:
        outputs = graph.add("Add", [outputs, given["judged_logits"]], name="with_judged")
    return Pooled(outputs, weights)


def _enter(graph: gru_jax.export.Graph, model: Any, params: Any, inputs: str) -> str:
    """What the first recurrent layer reads, (T, B, I)."""
    if not isinstance(model.inputs, Tokens):
        xs = graph.add("Transpose", [inputs], perm=[1, 0, 2], name="time_major")
        return xs if model.input_features is None else dense(graph, params["input_layer"], xs, "input_layer")
    tokens = graph.add("Transpose", [inputs], perm=[1, 0], name="time_major")
    if model.input_features is not None:
        table = graph.initializer(np.asarray(params["input_layer"]["embedding"]), "embedding")
        return graph.add("Gather", [table, tokens], name="embedded")
    # ONNX's OneHot counts negative tokens from the end, where ours are all 0.
    column = graph.add("Unsqueeze", [tokens, graph.initializer(np.array([2]))])
    same = graph.add("Equal", [column, graph.initializer(np.arange(model.inputs.vocabulary, dtype=np.int32))])
    return graph.add("Cast", [same], to=_FLOAT, name="one_hot")


def _ensemble(graph: gru_jax.export.Graph, model: Ensemble, params: Any, given: Mapping[str, str]) -> Pooled:
    said = [_sequence(graph, model.member, _of_member(params["member"], m), given) for m in range(model.count)]
    outputs = _beside(graph, [one.outputs for one in said], "outputs_of_members")
    if model.probabilities:
        chances = graph.add("LogSoftmax", [outputs], axis=-1)
        total = graph.add("ReduceLogSumExp", [chances], axes=[0], keepdims=0)
        outputs = graph.add("Sub", [total, graph.initializer(np.log(np.float32(model.count)))])
    else:
        outputs = graph.add("ReduceMean", [outputs], axes=[0], keepdims=0)
    if said[0].weights is None:
        return Pooled(outputs, None)
    weights = _beside(graph, [one.weights for one in said], "weights_of_members")
    return Pooled(outputs, graph.add("ReduceMean", [weights], axes=[0], keepdims=0))


def _of_member(params: Any, number: int) -> Any:
    """The parameters of one member; in ``params`` axis 0 of every leaf is the members."""
    if isinstance(params, Mapping):
        return {name: _of_member(below, number) for name, below in params.items()}
    return params[number]


def _beside(graph: gru_jax.export.Graph, values: list[str], name: str) -> str:
    """The members' ``values`` as one array (members, ...)."""
    first = graph.initializer(np.array([0]))
    return graph.add("Concat", [graph.add("Unsqueeze", [value, first]) for value in values], axis=0, name=name)
