"""Exported ONNX models under onnxruntime against the models themselves, on rows of 0, 1, some and all steps."""

import jax
import numpy as np
import onnx
import onnxruntime
import pytest

from experiments.export.onnx_model import onnx_model
from experiments.export.signature import call_signature
from experiments.tasks.inputs import Tokens, Vectors
from tests.experiments.export.made_models import LENGTHS, STEPS, made, task_of

TOKENS, VECTORS = task_of(Tokens(5), class_names=("a", "b", "c")), task_of(Vectors(2))
CASES = {
    "every, one-hot": (task_of(Tokens(5), per_step=True), {"num_layers": 2}),
    "every, lstm, two directions": (task_of(Vectors(2), per_step=True), {"cell": "lstm", "bidirectional": True}),
    "last, rnn, embedded": (TOKENS, {"cell": "rnn", "input_features": 3}),
    "last, lstm, input layer": (VECTORS, {"cell": "lstm", "input_features": 3, "features": [5, 4]}),
    "last, two directions": (VECTORS, {"num_layers": 2, "bidirectional": True}),
    "mean, dropout": (VECTORS, {"readout": "mean", "bidirectional": True, "dropout_rate": 0.5, "num_layers": 2}),
    "attention, other gates": (
        VECTORS,
        {
            "readout": "attention",
            "bidirectional": True,
            "cell": {"name": "gru", "reset_after": False, "update_gate": "write"},
        },
    ),
    "attention, judged": (TOKENS, {"readout": "attention", "cell": "lstm", "input_features": 3}),
    "members, attention, judged": (TOKENS, {"readout": "attention", "members": 2}),
    "members, values": (task_of(Vectors(2), loss="squared_error"), {"readout": "mean", "members": 2}),
}


def exported(name):
    task, config = CASES[name]
    model, params, inputs = made(task, judged="judged" in name, **config)
    signature = call_signature(task, model, inputs)
    return model, params, inputs, onnx_model(model, params, signature, {"made": "here"}), signature


def run(model, inputs, lengths):
    """Outputs by name."""
    fed = inputs if isinstance(inputs, tuple) else (inputs,)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    names = [value.name for value in session.get_inputs()]
    given = dict(zip(names, (*fed, lengths), strict=True))
    return dict(zip([value.name for value in session.get_outputs()], session.run(None, given), strict=True))


@pytest.mark.parametrize("name", CASES)
def test_outputs_are_those_of_the_model(name):
    model, params, inputs, graph, signature = exported(name)
    onnx.checker.check_model(graph, full_check=True)
    found = run(graph, inputs, LENGTHS)
    said = jax.jit(lambda *given: model.apply(params, *given, method="pooled"))(inputs, LENGTHS)
    assert list(found) == [value.name for value in signature.outputs]
    assert ("weights" in found) == (said.weights is not None)
    for value in signature.outputs:
        expected = np.asarray(getattr(said, value.name))
        assert found[value.name].dtype == value.dtype
        assert np.isfinite(expected).all()
        np.testing.assert_allclose(found[value.name], expected, rtol=0, atol=5e-6 * max(1, np.abs(expected).max()))


def test_weights_are_of_the_steps_of_a_row():
    _, _, inputs, graph, _ = exported("members, attention, judged")
    weights = run(graph, inputs, LENGTHS)["weights"]
    np.testing.assert_allclose(weights.sum(axis=1), LENGTHS > 0, atol=1e-6)
    assert (weights[np.arange(STEPS) >= LENGTHS[:, None]] == 0).all()


@pytest.mark.parametrize("name", ["last, two directions", "mean, dropout", "attention, other gates"])
def test_batch_and_time_are_free(name):
    """A row alone, cut to its length, says what it says in the batch."""
    _, _, inputs, graph, _ = exported(name)
    whole = run(graph, inputs, LENGTHS)["outputs"]
    for row, length in enumerate(LENGTHS):
        if length:
            alone = run(graph, inputs[row : row + 1, :length], np.array([length], np.int32))["outputs"]
            np.testing.assert_allclose(alone[0], whole[row], rtol=0, atol=5e-6)
    assert run(graph, inputs[:0], LENGTHS[:0])["outputs"].shape == (0, 3)
    # Nothing is left but what the output layer adds, as in a row of no steps.
    none = run(graph, inputs[:, :0], 0 * LENGTHS)["outputs"]
    np.testing.assert_allclose(none, np.tile(whole[LENGTHS == 0], (4, 1)), rtol=0, atol=1e-6)


def test_what_the_file_says():
    *_, graph, signature = exported("last, rnn, embedded")
    assert {entry.key: entry.value for entry in graph.metadata_props} == {"made": "here"}
    assert [node.op_type for node in graph.graph.node].count("RNN") == 1
    assert [value.meaning for value in signature.outputs] == ["logits of the classes a, b, c"]


def test_tokens_below_zero_are_no_token():
    """As jax.nn.one_hot has it; ONNX's OneHot would count them from the end."""
    task, config = CASES["every, one-hot"]
    model, params, inputs = made(task, **config)
    graph = onnx_model(model, params, call_signature(task, model, inputs), {})
    inputs[0, 2] = -1
    expected = jax.jit(model.apply)(params, inputs, LENGTHS)
    np.testing.assert_allclose(run(graph, inputs, LENGTHS)["outputs"], expected, rtol=0, atol=5e-6)


def test_a_cell_that_onnx_lacks():
    model, params, inputs = made(VECTORS, cell="min_gru")
    with pytest.raises(ValueError, match=r"cell: expected gru_jax\.gru"):
        onnx_model(model, params, call_signature(VECTORS, model, inputs), {})
