"""Activations of other formats, against what Keras and ONNX Runtime computed with them."""

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest

import gru_jax
from gru_jax import interop
from tests.interop.onnx_models import gru_node, model, weights
from tests.interop.weight_cases import load, run, worst

CASES = load("activations")
XS = np.random.default_rng(0).normal(size=(5, 2, 2)).astype(np.float32)


@pytest.mark.parametrize("name", CASES)
def test_keras_by_name(name):
    case = CASES[name]
    arrays = case.under("weights")
    key = "recurrent_activation" if name.startswith("gates-") else "activation"
    told = {key: name.removeprefix("gates-")}
    cell, params = interop.from_keras([arrays[str(i)] for i in range(3)], **told)
    _, ys = run(cell, params, np.moveaxis(case["xs"], 1, 0), None, backend="scan")
    # Some of these grow without bounds over the steps.
    assert worst(ys, np.moveaxis(case["ys"], 1, 0)) < 2e-6 * max(1, np.max(np.abs(case["ys"])))
    back = interop.to_keras(cell, params)
    assert all(np.array_equal(a, arrays[str(i)]) for i, a in enumerate(back))


def test_keras_activations_are_told_apart():
    """Else the cases above might agree whatever is made of the names."""
    functions = [
        interop.from_keras(list(CASES["tanh"].under("weights").values()), activation=n)[0].options[3]
        for n in CASES
        if not n.startswith("gates-")
    ]
    a = jnp.linspace(-8, 8, 65)
    values = {np.asarray(f(a)).tobytes() for f in functions}
    # silu and swish are one function, hard_silu and hard_swish, and with their defaults elu and celu.
    assert len(values) == len(functions) - 3


ONNX = {
    "relu": {"activations": ["Sigmoid", "Relu"]},
    "capitals": {"activations": ["SIGMOID", "softsign"]},
    "hard": {"activations": ["HardSigmoid", "Tanh"]},
    "hard of numbers": {"activations": ["HardSigmoid", "Tanh"], "activation_alpha": [0.3], "activation_beta": [0.4]},
    "hard as in Keras 3": {"activations": ["HardSigmoid", "Tanh"], "activation_alpha": [1 / 6]},
    "leaky": {"activations": ["Sigmoid", "LeakyRelu"]},
    "leaky of numbers": {"activations": ["Sigmoid", "LeakyRelu"], "activation_alpha": [0.3]},
    "both take numbers": {
        "activations": ["HardSigmoid", "Elu"],
        "activation_alpha": [0.25, 0.7],
        "activation_beta": [0.45],
    },
    "elu": {"activations": ["Sigmoid", "Elu"]},
    "softplus": {"activations": ["Sigmoid", "Softplus"]},
    "thresholded": {"activations": ["Sigmoid", "ThresholdedRelu"], "activation_alpha": [0.2]},
    "scaled": {"activations": ["Sigmoid", "ScaledTanh"], "activation_alpha": [1.2], "activation_beta": [0.7]},
    "affine": {"activations": ["Sigmoid", "Affine"], "activation_alpha": [0.5], "activation_beta": [0.1]},
}


@pytest.mark.parametrize("name", ONNX)
@pytest.mark.parametrize("linear_before_reset", [0, 1])
def test_onnx_runtime(name, linear_before_reset, tmp_path):
    attributes = ONNX[name] | {"linear_before_reset": linear_before_reset}
    held = weights()
    path = tmp_path / "m.onnx"
    made = model([gru_node(hidden_size=4, **attributes)], held)
    made.ir_version, made.opset_import[0].version = 8, 17
    made.graph.output[0].type.tensor_type.elem_type = 1
    path.write_bytes(made.SerializeToString())
    (expected,) = onnxruntime.InferenceSession(path.read_bytes()).run(["Y"], {"X": XS})
    cell, params = interop.from_onnx(**interop.read_onnx(path))
    _, ys = run(cell, params, XS, None, backend="scan")
    assert worst(ys, expected[:, 0]) < 2e-6 * max(1, np.max(np.abs(expected)))
    # And from ours to a model again.
    again = onnxruntime.InferenceSession(gru_jax.export.onnx_model(cell, params, seq_lengths=False).SerializeToString())
    assert worst(again.run(["ys"], {"xs": XS})[0], expected[:, 0]) < 2e-6 * max(1, np.max(np.abs(expected)))


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"activations": ["Sigmoid", "Swish"]}, "activations: expected 2 of Sigmoid, .*'Swish'.* no weights fit"),
        ({"activations": ["Sigmoid"]}, "activations: expected 2 of"),
        ({"activations": ["Sigmoid", "Affine"]}, "activation_alpha: expected a number for Affine, which has none by"),
        (
            {"activations": ["Sigmoid", "Elu"], "activation_alpha": [0.1, 0.2]},
            "activation_alpha: expected a number for",
        ),
    ],
)
def test_what_onnx_does_not_define_is_refused(attributes, message):
    with pytest.raises(ValueError, match=message):
        interop.from_onnx(**weights(), **attributes)


def test_directions_of_one_node_have_the_same_activations():
    with pytest.raises(ValueError, match="activations: expected the same in both directions"):
        interop.from_onnx(**weights(2), direction="bidirectional", activations=["Sigmoid", "Tanh", "Sigmoid", "Relu"])
    same = interop.from_onnx(**weights(2), direction="bidirectional", activations=["Sigmoid", "Relu"] * 2)
    assert same[0].options.activation is jax.nn.relu


RELU = gru_jax.gru(activation=jax.nn.relu)
ONE = RELU.init(jax.random.key(0), 2, 4)


@pytest.mark.parametrize("to", ["to_torch", "to_equinox"])
def test_what_has_tanh_alone_refuses_others(to):
    with pytest.raises(ValueError, match=r"cell: .* computes activation=.*tanh and no other, this cell .*jax.nn.relu"):
        getattr(interop, to)(RELU, ONE)
    with pytest.raises(ValueError, match=r"haiku.GRU computes gate_activation=jax.nn.sigmoid"):
        interop.to_haiku(gru_jax.gru(reset_after=False, gate_activation=jax.nn.hard_sigmoid), ONE)


def my_own(x):
    return x * jnp.tanh(x)


def test_functions_without_a_name_there_are_refused_by_theirs():
    cell = gru_jax.gru(activation=my_own)
    for call in (interop.to_keras, interop.to_onnx, lambda cell, p: gru_jax.export.onnx_model(cell, ((p,),))):
        with pytest.raises(ValueError, match="my_own"):
            call(cell, ONE)
    with pytest.raises(ValueError, match=r"activation: expected a function that JAX has a name for, .* got my_own"):
        interop.describe(cell)


def test_gates_that_cannot_be_turned_around_are_refused():
    """-z is 1 - z for σ and hard_sigmoid alone."""
    hard = gru_jax.gru(update_gate="write", gate_activation=jax.nn.hard_sigmoid)
    other, params = interop.from_onnx(
        **interop.to_onnx(hard, ONE),
        linear_before_reset=1,
        activations=["HardSigmoid", "Tanh"],
        activation_alpha=[1 / 6],
    )
    assert other.options.update_gate == "keep"
    assert worst(run(hard, ((ONE,),), XS, None, backend="scan"), run(other, params, XS, None, backend="scan")) < 2e-6
    soft = gru_jax.gru(update_gate="write", gate_activation=jax.nn.soft_sign)
    with pytest.raises(
        ValueError, match=r"update_gate='keep', this cell 'write' with gate_activation=jax.nn.soft_sign"
    ):
        interop.to_onnx(soft, ONE)


@pytest.mark.parametrize(
    "options",
    [
        {"activation": jax.nn.relu, "gate_activation": jax.nn.hard_sigmoid},
        {"activation": jax.nn.gelu},
        {"activation": jax.nn.tanh, "gate_activation": jax.lax.logistic},
    ],
)
def test_files_keep_activations_by_name(options, tmp_path):
    cell = gru_jax.gru(**options)
    interop.save_safetensors(tmp_path / "x", cell, ONE)
    assert interop.load_safetensors(tmp_path / "x")[0] == cell


def test_files_keep_activations_of_other_formats(tmp_path):
    cell, params = interop.from_onnx(**weights(), activations=["HardSigmoid", "Elu"], activation_alpha=[0.3, 0.7])
    interop.save_safetensors(tmp_path / "x", cell, params)
    assert interop.load_safetensors(tmp_path / "x")[0] == cell
    assert interop.describe(cell)["options.gate_activation"] == "HardSigmoid(alpha=0.3, beta=0.5)"


@pytest.mark.parametrize(
    "text", ["os.system", "jax.nn.softmax", "HardSigmoid(alpha=nan)", "HardSigmoid(alpha=1", "Elu()"]
)
def test_files_name_no_other_functions(text, tmp_path):
    interop.save_safetensors(tmp_path / "x", RELU, ONE)
    changed = (
        (tmp_path / "x")
        .read_bytes()
        .replace(b'"options.activation":"jax.nn.relu"', f'"options.activation":"{text}"'.encode())
    )
    size = int.from_bytes(changed[:8], "little") + len(changed) - (tmp_path / "x").stat().st_size
    (tmp_path / "x").write_bytes(size.to_bytes(8, "little") + changed[8:])
    with pytest.raises(ValueError, match=r"options.activation: expected the name of a function"):
        interop.load_safetensors(tmp_path / "x")
