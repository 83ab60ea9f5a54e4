"""ONNX models without a GRU that can be read, and what is no model: each is refused by an error that says why."""

import sys

import jax.numpy as jnp
import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import pytest
from onnx import TensorProto

from gru_jax import interop
from tests.interop.file_cases import RECORDED
from tests.interop.onnx_models import gru_node, model, weights, written
from tests.refusals import refused


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
        ([gru_node(activations=["Swish", "Tanh"])], weights()),
        ValueError,
        ["activations", "2 of Sigmoid, Tanh", "'Swish'"],
    ),
    "activations of one direction": (
        ([gru_node(direction="bidirectional", activations=["Sigmoid", "Tanh"])], weights(2)),
        ValueError,
        ["activations", "4 of Sigmoid, Tanh", "['Sigmoid', 'Tanh']"],
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
    with refused(error, (str(path), *words)):
        interop.read_onnx(path)


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
