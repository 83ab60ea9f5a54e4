"""ONNX models as files: the weights of a GRU node are found and read."""

import jax.numpy as jnp
import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import pytest
from onnx import TensorProto

import gru_jax
from gru_jax import interop
from tests.interop.file_cases import RECORDED, recorded_values
from tests.interop.onnx_models import H, I, gru_node, weights, written


def same(found, expected, **attributes):
    assert {key: found[key] for key in ("direction", "linear_before_reset")} == attributes
    assert set(found) == {"W", "R", "B", "direction", "linear_before_reset"}
    for name in ("W", "R", "B"):
        if name in expected:
            assert found[name].dtype == expected[name].dtype
            np.testing.assert_array_equal(found[name], expected[name])
        else:
            assert found[name] is None


def test_what_pytorch_exports_is_its_gru():
    """Node by node, against the state dict and the outputs that torch recorded."""
    recorded = recorded_values()
    names = [node.name for node in onnx.load(RECORDED / "gru.onnx").graph.node if node.op_type == "GRU"]
    read = [interop.read_onnx(RECORDED / "gru.onnx", node=name) for name in names]
    assert [found["W"].shape for found in read] == [(2, 3 * H, I), (2, 3 * H, 2 * H)]
    layers = [interop.from_onnx(**found) for found in read]
    cell = layers[0][0]
    assert cell == gru_jax.gru()
    params = [params[0] for _, params in layers]
    _, ys = gru_jax.scan_layers(cell, params, recorded["xs"])
    np.testing.assert_allclose(ys, recorded["ys"], rtol=0, atol=2e-6)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("linear_before_reset", [0, 1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, jnp.bfloat16], ids=lambda d: np.dtype(d).name)
def test_weights_come_as_they_were_stored(tmp_path, direction, linear_before_reset, dtype):
    arrays = weights(2 if direction == "bidirectional" else 1, dtype)
    node = gru_node(direction=direction, linear_before_reset=linear_before_reset, hidden_size=H, layout=1)
    path = written(tmp_path / "m.onnx", [node], arrays)
    same(interop.read_onnx(path), arrays, direction=direction, linear_before_reset=linear_before_reset)


DEFAULTS = {"direction": "forward", "linear_before_reset": 0}


@pytest.mark.parametrize("inputs", [("X", "W", "R"), ("X", "W", "R", ""), ("X", "W", "R", "", "lengths", "state")])
def test_a_bias_may_be_missing(tmp_path, inputs):
    arrays = weights()
    del arrays["B"]
    same(interop.read_onnx(str(written(tmp_path / "m.onnx", [gru_node(inputs)], arrays))), arrays, **DEFAULTS)


def test_default_activations_and_their_unused_parameters_are_read(tmp_path):
    arrays = weights(2)
    node = gru_node(
        direction="bidirectional",
        activations=["Sigmoid", "Tanh", "sigmoid", "tanh"],
        activation_alpha=[0.5],
        activation_beta=[0.5],
    )
    found = interop.read_onnx(written(tmp_path / "m.onnx", [node], arrays))
    same(found, arrays, direction="bidirectional", linear_before_reset=0)


def test_constants_and_what_passes_them_on_are_weights_too(tmp_path):
    """Of a Constant node, through Identity nodes, as numbers of their own field, and listed among the inputs."""
    arrays = weights()
    nodes = [
        onnx.helper.make_node("Constant", [], ["w"], value=onnx.numpy_helper.from_array(arrays["W"])),
        onnx.helper.make_node("Identity", ["w"], ["w again"]),
        onnx.helper.make_node("Identity", ["w again"], ["W"]),
        gru_node(),
    ]
    held = {
        "R": onnx.helper.make_tensor("R", TensorProto.FLOAT, arrays["R"].shape, arrays["R"].ravel()),
        "B": arrays["B"],
    }
    same(interop.read_onnx(written(tmp_path / "m.onnx", nodes, held, inputs=("X", "R"))), arrays, **DEFAULTS)


def test_a_node_is_found_by_its_name_or_its_output(tmp_path):
    first, second = weights(), weights()
    renamed = {f"{name}2": array for name, array in second.items()}
    nodes = [gru_node(outputs=["Y1"]), gru_node(("X", "W2", "R2", "B2"), name="", outputs=["Y"])]
    path = written(tmp_path / "m.onnx", nodes, first | renamed)
    same(interop.read_onnx(path, "encoder"), first, **DEFAULTS)
    same(interop.read_onnx(path, node="Y"), second, **DEFAULTS)
    with pytest.raises(ValueError, match=r"node: expected .* 2, 'encoder', 'Y', got None; pass one"):
        interop.read_onnx(path)
    with pytest.raises(ValueError, match=r"node: expected .* 'encoder', 'Y', got 'decoder'; pass one"):
        interop.read_onnx(path, "decoder")
    with pytest.raises(TypeError, match="node: expected the name of a GRU node, got int"):
        interop.read_onnx(path, 0)


def external(array, location, **entries):
    """A tensor whose numbers are said to be elsewhere."""
    tensor = TensorProto(name="W", data_type=TensorProto.FLOAT, dims=array.shape, data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def test_weights_beside_the_model_are_read(tmp_path):
    arrays = weights()
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "w.bin").write_bytes(b"1234" + arrays["W"].tobytes() + b"more")
    for entries in ({"offset": 4}, {"offset": 4, "length": arrays["W"].nbytes}, {"offset": 4, "unheard_of": 1}):
        held = arrays | {"W": external(arrays["W"], "weights/w.bin", **entries)}
        same(interop.read_onnx(written(tmp_path / "m.onnx", [gru_node()], held)), arrays, **DEFAULTS)


def test_weights_elsewhere_are_refused(tmp_path):
    arrays = weights()
    contents = arrays["W"].tobytes()
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "outside.bin").write_bytes(contents)
    (folder / "w.bin").write_bytes(contents)
    (folder / "link.bin").symlink_to("../outside.bin")
    for location, entries in (
        ("../outside.bin", {}),
        (str(tmp_path / "outside.bin"), {}),
        (str(folder / "w.bin"), {}),
        ("link.bin", {}),
        ("/dev/zero", {}),
        ("sub", {}),
        ("absent", {}),
        ("", {}),
        ("w.bin", {"offset": 4}),
        ("w.bin", {"offset": -4}),
        ("w.bin", {"offset": "four"}),
        ("w.bin", {"length": 4}),
        ("w.bin", {"length": 2**62}),
        ("w.bin", {"offset": 2**62, "length": 4}),
    ):
        held = arrays | {"W": external(arrays["W"], location, **entries)}
        with pytest.raises(ValueError, match=r"m\.onnx: GRU 'encoder': W: expected 24 numbers of type FLOAT"):
            interop.read_onnx(written(folder / "m.onnx", [gru_node()], held))
    # One that would not fit in memory: nothing of it is read.
    huge = external(np.broadcast_to(np.float32(0), (1, 3 * H, 2**50)), "w.bin")
    with pytest.raises(ValueError, match=r"W: expected .* numbers"):
        interop.read_onnx(written(folder / "m.onnx", [gru_node()], arrays | {"W": huge}))
