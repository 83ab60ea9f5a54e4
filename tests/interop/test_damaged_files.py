"""Files cut off, with wrong bits, or of any bytes: each is read, or refused by an error of our own that names it."""

import hypothesis
import numpy as np
import onnx.helper
import onnx.numpy_helper
import pytest
from hypothesis import strategies as st

from gru_jax import interop
from tests.interop.file_cases import GRU, header, some_params

SHAPES = [[[(2, 9), (3, 9), (9,), (9,)]]]


def read_or_told(read, path, contents):
    """What is read of these bytes, or None after an error of our own about this file."""
    path.write_bytes(contents)
    result, told = None, None
    try:
        result = read(path)
    except (TypeError, ValueError) as error:
        told = error
    # One of these types alone: a subclass, such as UnicodeDecodeError, would be somebody else's.
    assert told is None or (type(told) in (TypeError, ValueError) and str(path) in str(told))
    return result


def loaded(path, contents):
    """Whether `load_safetensors` reads it, and then always a GRU of the right shapes."""
    result = read_or_told(interop.load_safetensors, path, contents)
    if result is not None:
        cell, params = result
        assert cell == GRU
        assert [[[leaf.shape for leaf in own] for own in layer] for layer in params] == SHAPES
    return result is not None


def read_as_onnx(path, contents):
    """Whether `read_onnx` reads it, and then always what `from_onnx` takes."""
    found = read_or_told(interop.read_onnx, path, contents)
    if found is not None:
        assert found["direction"] in ("forward", "reverse", "bidirectional")
        assert found["linear_before_reset"] in (0, 1)
        (directions, _, features), (_, _, in_features) = found["R"].shape, found["W"].shape
        assert directions == (2 if found["direction"] == "bidirectional" else 1)
        assert found["R"].shape == (directions, 3 * features, features)
        assert found["W"].shape == (directions, 3 * features, in_features)
        assert found["B"] is None or found["B"].shape == (directions, 6 * features)
    return found is not None


def flipped(contents, bits):
    changed = bytearray(contents)
    for bit in bits:
        changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """A small file of ours, its bytes, and where its data begin."""
    path = tmp_path_factory.mktemp("damaged") / "gru.safetensors"
    interop.save_safetensors(path, GRU, some_params(GRU))
    contents = path.read_bytes()
    return path, contents, 8 + int.from_bytes(contents[:8], "little")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A small ONNX model's path and bytes, one weight of each kind of constant."""
    path = tmp_path_factory.mktemp("damaged") / "m.onnx"
    rng = np.random.default_rng(3)
    w, r, b = (rng.normal(size=shape).astype(np.float32) for shape in ((1, 12, 2), (1, 12, 4), (1, 24)))
    (path.parent / "b.bin").write_bytes(b.tobytes())
    bias = onnx.TensorProto(name="B", data_type=onnx.TensorProto.FLOAT, dims=b.shape)
    bias.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": "b.bin", "offset": "0", "length": str(b.nbytes)}.items():
        bias.external_data.add(key=key, value=value)
    nodes = [
        onnx.helper.make_node("Constant", [], ["w"], value=onnx.numpy_helper.from_array(w)),
        onnx.helper.make_node("Identity", ["w"], ["W"]),
        onnx.helper.make_node(
            *("GRU", ["X", "W", "R", "B"], ["Y"], "encoder"),
            direction="forward",
            linear_before_reset=1,
            hidden_size=4,
            activations=["Sigmoid", "Tanh"],
        ),
    ]
    flat = onnx.helper.make_tensor("R", onnx.TensorProto.FLOAT, r.shape, r.ravel())
    graph = onnx.helper.make_graph(nodes, "g", [], [], [flat, bias])
    contents = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 22)]).SerializeToString()
    assert read_as_onnx(path, contents)
    return path, contents


def test_a_safetensors_file_cut_off_anywhere_is_refused(stack):
    path, contents, _ = stack
    for length in range(len(contents)):
        assert read_or_told(interop.read_safetensors, path, contents[:length]) is None, length
        # Loading begins with reading, so every so often is enough.
        assert length % 16 or not loaded(path, contents[:length]), length


@hypothesis.settings(max_examples=200)
@hypothesis.given(st.data())
def test_one_wrong_bit_in_the_header_is_noticed(stack, data):
    """All of them are, tried one by one; here some are."""
    path, contents, begin = stack
    assert not loaded(path, flipped(contents, [data.draw(st.integers(0, 8 * begin - 1))]))


@hypothesis.settings(max_examples=50)
@hypothesis.given(st.data())
def test_wrong_bits_in_the_data_change_numbers_alone(stack, data):
    path, contents, begin = stack
    bits = data.draw(st.sets(st.integers(8 * begin, 8 * len(contents) - 1), min_size=1, max_size=5))
    assert loaded(path, flipped(contents, bits))


@hypothesis.settings(max_examples=200)
@hypothesis.given(st.data())
def test_wrong_bits_anywhere_are_read_or_told(stack, data):
    path, contents, _ = stack
    bits = data.draw(st.sets(st.integers(0, 8 * len(contents) - 1), min_size=1, max_size=8))
    tensors = read_or_told(interop.read_safetensors, path, flipped(contents, bits))
    assert tensors is None or all(isinstance(array, np.ndarray) for array in tensors.values())
    loaded(path, flipped(contents, bits))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["F32", "gru_jax"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["__metadata__", "dtype", "shape", "data_offsets", "format", "a"]), inner)
    ),
    max_leaves=12,
)
INFO = st.builds(
    lambda dtype, shape, offsets: {"dtype": dtype, "shape": shape, "data_offsets": offsets},
    st.sampled_from(["F32", "F16", "BF16", "I64", "BOOL", "F4", "F8_E4M3", "C64"]),
    st.lists(st.integers(0, 4) | st.integers(0, 2**64 - 1), max_size=3),
    st.tuples(*[st.integers(0, 20) | st.integers(0, 2**64)] * 2),
)
HEADERS = st.dictionaries(st.text(max_size=3), INFO, max_size=3) | JSON
LENGTHS = st.none() | st.integers(0, 2**64 - 1)


@hypothesis.settings(max_examples=200)
@hypothesis.given(
    st.binary(max_size=64) | st.builds(header, HEADERS | st.binary(max_size=32), st.binary(max_size=40), LENGTHS)
)
def test_any_bytes_as_safetensors_are_read_or_told(stack, contents):
    path, _, _ = stack
    read_or_told(interop.read_safetensors, path, contents)
    assert not loaded(path, contents)


def test_a_model_cut_off_anywhere_is_refused(model):
    path, contents = model
    for length in range(len(contents)):
        assert not read_as_onnx(path, contents[:length]), length


@hypothesis.settings(max_examples=300)
@hypothesis.given(st.data())
def test_wrong_bits_in_a_model_are_read_or_told(model, data):
    path, contents = model
    bits = data.draw(st.lists(st.integers(0, 8 * len(contents) - 1), min_size=1, max_size=6))
    read_as_onnx(path, flipped(contents, bits))


@hypothesis.settings(max_examples=150)
@hypothesis.given(st.binary(max_size=80), st.integers(0, 2**16), st.booleans())
def test_any_bytes_as_a_model_are_read_or_told(model, inserted, where, instead):
    """Alone, and in a model at any place."""
    path, contents = model
    read_as_onnx(path, inserted)
    where %= len(contents)
    read_as_onnx(path, contents[:where] + inserted + contents[where + len(inserted) * instead :])
