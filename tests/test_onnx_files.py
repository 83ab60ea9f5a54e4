"""ONNX models as files: the weights of a GRU node are found and read, everything else is told."""

import sys

import jax.numpy as jnp
import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import pytest
from onnx import TensorProto

import gru_jax
from gru_jax import interop
from tests.file_cases import RECORDED, recorded_values

I, H = 2, 4  # noqa: E741 - the letters of DESIGN.md
RNG = np.random.default_rng(3)


def weights(directions=1, dtype=np.float32):
    shapes = {"W": (directions, 3 * H, I), "R": (directions, 3 * H, H), "B": (directions, 6 * H)}
    return {name: RNG.normal(size=shape).astype(dtype) for name, shape in shapes.items()}


def gru_node(inputs=("X", "W", "R", "B"), name="encoder", outputs=("Y",), **attributes):
    return onnx.helper.make_node("GRU", list(inputs), list(outputs), name=name, **attributes)


def model(nodes, arrays, inputs=("X",)):
    """A model of nodes, with initialisers."""
    initialisers = [
        array if isinstance(array, TensorProto) else onnx.numpy_helper.from_array(array, name)
        for name, array in arrays.items()
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "g",
        [onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in inputs],
        [onnx.helper.make_tensor_value_info("Y", TensorProto.FLOAT, None)],
        initialisers,
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 22)])


def written(path, *args, **options):
    """The path of a file with this model."""
    path.write_bytes(model(*args, **options).SerializeToString())
    return path


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


def changed(**arrays):
    """A GRU some of whose tensors are others, None for none."""
    held = weights() | arrays
    return [gru_node()], {name: array for name, array in held.items() if array is not None}


def typed(kind):
    tensor = onnx.numpy_helper.from_array(weights()["W"], "W")
    tensor.data_type = kind
    return tensor


RING = [onnx.helper.make_node("Identity", [a], [b]) for a, b in (("W", "w"), ("w", "W"))]
SPARSE = onnx.helper.make_sparse_tensor(
    onnx.helper.make_tensor("", TensorProto.FLOAT, [1], [1.0]),
    onnx.helper.make_tensor("", TensorProto.INT64, [1], [1]),
    [1, 12, 2],
)
GIVEN = {name: array for name, array in weights().items() if name != "W"}
# A model's nodes and tensors, the error, and its words.
MISTAKES = {
    "no GRU": (([onnx.helper.make_node("LSTM", ["X", "W"], ["Y"])], {}), ValueError, ["GRU node", "'LSTM'"]),
    "nothing": (([], {}), ValueError, ["GRU node", "found none"]),
    "another's GRU": (
        ([onnx.helper.make_node("GRU", ["X", "W", "R"], ["Y"], domain="com.example")], weights()),
        ValueError,
        ["GRU node"],
    ),
    "two of a name": (([gru_node(), gru_node()], weights()), ValueError, ["node:", "'encoder'", "of 2"]),
    "activations": (
        ([gru_node(activations=["HardSigmoid", "Tanh"])], weights()),
        ValueError,
        ["activations", "['Sigmoid', 'Tanh']", "'HardSigmoid'"],
    ),
    "activations of one direction": (
        ([gru_node(direction="bidirectional", activations=["Sigmoid", "Tanh"])], weights(2)),
        ValueError,
        ["activations", "['Sigmoid', 'Tanh', 'Sigmoid', 'Tanh']"],
    ),
    "clip": (([gru_node(clip=3.0)], weights()), ValueError, ["clip", "3.0", "does not clip"]),
    "unheard of": (([gru_node(peephole=1)], weights()), ValueError, ["attributes", "'peephole'"]),
    "direction": (([gru_node(direction="both")], weights()), ValueError, ["direction", "'reverse'", "'both'"]),
    "kind of direction": (([gru_node(direction=1)], weights()), ValueError, ["direction", "STRING"]),
    "reset": (([gru_node(linear_before_reset=2)], weights()), ValueError, ["linear_before_reset", "0 or 1", "2"]),
    "hidden_size": (([gru_node(hidden_size=5)], weights()), ValueError, ["hidden_size", "4", "5"]),
    "directions": (([gru_node(direction="bidirectional")], weights()), ValueError, ["R:", "D = 2", "(1, 12, 4)"]),
    "few inputs": (([gru_node(["X", "W"])], weights()), ValueError, ["R:", "inputs", "none"]),
    "an empty input": (([gru_node(["X", "", "R"])], weights()), ValueError, ["W:", "inputs", "none"]),
    "input": (changed(W=None), ValueError, ["W:", "constant", "an input of the graph", "from_onnx"]),
    "nowhere": (changed(R=None), ValueError, ["R:", "constant", "no such tensor"]),
    "computed": (
        ([onnx.helper.make_node("Concat", ["a", "b"], ["W"], axis=0), gru_node()], GIVEN),
        ValueError,
        ["W:", "'Concat'", "folded"],
    ),
    "a ring": (([*RING, gru_node()], GIVEN), ValueError, ["W:"]),
    "sparse": (
        ([onnx.helper.make_node("Constant", [], ["W"], sparse_value=SPARSE), gru_node()], GIVEN),
        ValueError,
        ["W:", "'Constant'"],
    ),
    "numbers without a shape": (
        ([onnx.helper.make_node("Constant", [], ["W"], value_floats=[1.0, 2.0]), gru_node()], GIVEN),
        ValueError,
        ["W:", "'Constant'"],
    ),
    "two tensors": (
        ([onnx.helper.make_node("Identity", ["R"], ["W"]), gru_node()], weights()),
        ValueError,
        ["W:", "one tensor", "2"],
    ),
    "shape of W": (changed(W=np.ones((1, 9, 2), np.float32)), ValueError, ["W:", "(D, 3H, I)", "H = 4", "(1, 9, 2)"]),
    "shape of R": (changed(R=np.ones((1, 12, 5), np.float32)), ValueError, ["R:", "(D, 3H, H)", "(1, 12, 5)"]),
    "shape of B": (changed(B=np.ones((1, 12), np.float32)), ValueError, ["B:", "(D, 6H)", "H = 4", "(1, 12)"]),
    "rank of W": (changed(W=np.ones((12, 2), np.float32)), ValueError, ["W:", "(D, 3H, I)", "(12, 2)"]),
    "a number": (changed(R=np.float32(1)), ValueError, ["R:", "(D, 3H, H)", "()"]),
    "empty": (changed(W=np.ones((1, 12, 0), np.float32)), ValueError, ["W:", "(D, 3H, I)", "(1, 12, 0)"]),
    "integers": (changed(W=np.ones((1, 12, 2), np.int32)), TypeError, ["W:", "FLOAT", "INT32"]),
    "all integers": (
        ([gru_node()], {name: array.astype(np.int64) for name, array in weights().items()}),
        TypeError,
        ["W:", "FLOAT", "INT64"],
    ),
    "float8": (changed(W=np.ones((1, 12, 2), jnp.float8_e5m2)), TypeError, ["W:", "FLOAT8E5M2"]),
    "a type of no number": (changed(W=typed(0)), TypeError, ["W:", "UNDEFINED"]),
    "a type that nobody has": (changed(W=typed(77)), TypeError, ["W:", "77"]),
    "mixed": (changed(R=np.ones((1, 12, 4), np.float16)), TypeError, ["R:", "FLOAT, as W has", "FLOAT16"]),
    "fewer numbers": (
        changed(W=TensorProto(name="W", data_type=1, dims=[1, 12, 2], raw_data=b"1234")),
        ValueError,
        ["W:", "24 numbers of type FLOAT"],
    ),
    "more than memory": (
        changed(W=TensorProto(name="W", data_type=1, dims=[1, 12, 2**60], float_data=[1.0])),
        ValueError,
        ["W:", "numbers of type FLOAT"],
    ),
    "in segments": (
        changed(W=TensorProto(name="W", data_type=1, dims=[1, 12, 2], segment=TensorProto.Segment(begin=0, end=1))),
        ValueError,
        ["W:", "segments"],
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_is_no_gru_of_this_file_is_told(tmp_path, mistake):
    (nodes, arrays), error, words = MISTAKES[mistake]
    inputs = ("X", "W") if mistake == "input" else ("X",)
    path = written(tmp_path / "m.onnx", nodes, arrays, inputs=inputs)
    with pytest.raises(error) as told:
        interop.read_onnx(path)
    assert [word for word in (str(path), *words) if word not in str(told.value)] == []


def test_names_of_any_number_and_length_make_no_long_message(tmp_path):
    nodes = [gru_node(name=f"{'n' * 10_000}{i}") for i in range(100)]
    path = written(tmp_path / "m.onnx", nodes, weights())
    with pytest.raises(ValueError, match="and 80 more") as told:
        interop.read_onnx(path)
    assert len(str(told.value)) < 6000


def test_what_is_no_file_is_told(tmp_path):
    with pytest.raises(IsADirectoryError, match=r"path: .*folder.*name the file in it"):
        interop.read_onnx(tmp_path)
    with pytest.raises(FileNotFoundError, match="absent"):
        interop.read_onnx(tmp_path / "absent")
    with pytest.raises(ValueError, match=r"path: .*device or a pipe"):
        interop.read_onnx("/dev/zero")
    with pytest.raises(TypeError, match="path: expected"):
        interop.read_onnx(None)
    for name, contents, word in (
        ("empty", b"", "no graph"),
        ("text", b"hello", "damaged"),
        ("weights", (RECORDED / "gru.safetensors").read_bytes(), "damaged"),
        ("checkpoint", (RECORDED / "gru.pt").read_bytes(), "never unpickles"),
        ("graph alone", onnx.ModelProto(graph=model([gru_node()], weights()).graph).SerializeToString(), "operators"),
    ):
        (tmp_path / name).write_bytes(contents)
        with pytest.raises(ValueError, match=rf"path: expected an ONNX model, got '.*{name}'.*{word}"):
            interop.read_onnx(tmp_path / name)


def test_a_file_larger_than_protobuf_allows_is_not_read(tmp_path):
    with open(tmp_path / "m.onnx", "wb") as file:
        file.truncate(2**31)  # A hole: it takes no room on disk.
    with pytest.raises(ValueError, match=r"m\.onnx', larger than the 2 GiB"):
        interop.read_onnx(tmp_path / "m.onnx")


def test_without_the_library_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r'pip install "gru_jax\[interop\]"'):
        interop.read_onnx(RECORDED / "gru.onnx")
