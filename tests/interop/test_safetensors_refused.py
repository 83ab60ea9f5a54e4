"""safetensors files that are no stack of layers, or none at all: each is refused by an error that says why."""

import os
import sys

import numpy as np
import pytest
import safetensors.numpy

from gru_jax import interop
from tests.interop.file_cases import GRU, RECORDED, header, parts, some_params


@pytest.fixture
def saved(tmp_path):
    """A stack of two layers and directions as a file, and its params."""
    params = some_params(GRU, num_layers=2, bidirectional=True)
    interop.save_safetensors(tmp_path / "gru.safetensors", GRU, params)
    return tmp_path / "gru.safetensors", params


def without(tree, *names):
    return {key: value for key, value in tree.items() if key not in names}


def renamed(tree, old, new):
    return {new if key == old else key: value for key, value in tree.items()}


W_H = "layers.1.backward.w_h"
# What is done to the metadata and the tensors, the error, and its words.
CHANGES = {
    "no metadata": (lambda m, t: (None, t), ValueError, ["save_safetensors", "from_torch(read_safetensors(path)"]),
    "of PyTorch": (lambda m, t: ({"format": "pt"}, t), ValueError, ["from_torch(read_safetensors(path)"]),
    "version": (lambda m, t: (m | {"format_version": "2"}, t), ValueError, ["format_version", "'1'", "'2'", "update"]),
    "no version": (lambda m, t: (without(m, "format_version"), t), ValueError, ["format_version", "None"]),
    "cell": (lambda m, t: (m | {"cell": "quasi_rnn"}, t), ValueError, ["cell:", "gru_d", "'quasi_rnn'"]),
    "no cell": (lambda m, t: (without(m, "cell"), t), ValueError, ["cell:", "None"]),
    "other cell": (lambda m, t: (m | {"cell": "lstm"}, t), ValueError, ["options.reset_after", "lstm"]),
    "option": (lambda m, t: (m | {"options.peephole": "true"}, t), ValueError, ["options.peephole", "'gru'"]),
    "no option": (lambda m, t: (without(m, "options.update_gate"), t), ValueError, ["options.update_gate", "missing"]),
    "value": (lambda m, t: (m | {"options.reset_after": "maybe"}, t), ValueError, ["options.reset_after", "'maybe'"]),
    "value of size": (lambda m, t: (m | {"options.reset_after": "1, 1"}, t), ValueError, ["reset_after", "(1, 1)"]),
    "gate": (lambda m, t: (m | {"options.update_gate": "Keep"}, t), ValueError, ["options.update_gate", "'Keep'"]),
    "options against equations": (
        lambda m, t: (m | {"options.reset_after": "false"}, t),
        ValueError,
        ["equations:", "(r ∘ h) W_hn", "r ∘ (h W_hn + b_hn)"],
    ),
    "equations": (lambda m, t: (m | {"equations": "h' = x" * 1000}, t), ValueError, ["equations:", "tanh", "h' = x"]),
    "gate order": (
        lambda m, t: (m | {"gate_order": "z, r, n along the last axis"}, t),
        ValueError,
        ["gate_order", "'z, r, n", "'r, z, n"],
    ),
    "unknown": (lambda m, t: (m | {"scale": "2"}, t), ValueError, ["scale", "no such metadata"]),
    "directions": (lambda m, t: (m | {"directions": "2, 3"}, t), ValueError, ["directions", "'2, 3'"]),
    "no directions": (lambda m, t: (without(m, "directions"), t), ValueError, ["directions"]),
    "layer too many": (lambda m, t: (m | {"directions": "2, 2, 1"}, t), ValueError, ["layers.2.forward.b_h", "none"]),
    "layer too few": (lambda m, t: (m | {"directions": "2"}, t), ValueError, ["layers.1.backward.b_h", "no such"]),
    "missing": (lambda m, t: (m, without(t, W_H)), ValueError, [W_H, "found none"]),
    "extra": (lambda m, t: (m, t | {"head": t[W_H]}), ValueError, ["head", "no such tensor"]),
    "renamed": (lambda m, t: (m, renamed(t, W_H, "layers.1.backwards.w_h")), ValueError, [W_H]),
    "shape": (lambda m, t: (m, t | {W_H: t[W_H][:2]}), ValueError, [W_H, "(3, 9)", "(2, 9)"]),
    "transposed": (lambda m, t: (m, t | {W_H: t[W_H].T.copy()}), ValueError, [W_H, "(3, 9)", "(9, 3)"]),
    "mixed": (
        lambda m, t: (m, t | {W_H: t[W_H].view(np.float16)[:, ::2].copy()}),
        TypeError,
        [W_H, "float32", "float16"],
    ),
    "integers": (lambda m, t: (m, t | {W_H: t[W_H].view(np.int32)}), TypeError, [W_H, "bfloat16", "int32"]),
    "all integers": (
        lambda m, t: (m, {key: tensor.view(np.int32) for key, tensor in t.items()}),
        TypeError,
        ["layers.0.backward.b_h", "bfloat16", "int32"],
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_is_never_read_as_another_stack(saved, change):
    path, _ = saved
    act, error, words = CHANGES[change]
    metadata, tensors = act(*parts(path))
    safetensors.numpy.save_file(tensors, path, metadata)
    with pytest.raises(error) as told:
        interop.load_safetensors(path)
    message = str(told.value)
    assert [word for word in (str(path), *words) if word not in message] == []
    assert len(message) < 1000


def tensor(*offsets, shape=(1,), dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


BROKEN = {
    "empty": (b"", ["header too small"]),
    "shorter than a length": (b"\0" * 7, ["header too small"]),
    "oversized header": (header(b"{}", length=2**63), ["header too large"]),
    "header longer than the file": (header(b"{}", length=99_000_000), ["damaged"]),
    "no JSON": (header(b'{"a":'), ["JSON"]),
    "a list": (header([]), ["JSON"]),
    "deep": (header(b'{"a":' + b"[" * 100_000), ["damaged"]),
    "no UTF-8": (header(b'{"\xff":1}'), ["UTF-8"]),
    "overlapping": (header({"a": tensor(0, 4), "b": tensor(0, 4)}, b"1234"), ["invalid offset"]),
    "backwards": (header({"a": tensor(4, 0)}, b"1234"), ["damaged"]),
    "beyond the end": (header({"a": tensor(0, 4)}, b"12"), ["damaged"]),
    "bytes left over": (header({"a": tensor(0, 4)}, b"123456"), ["damaged"]),
    "shape against bytes": (header({"a": tensor(0, 4, shape=(2,))}, b"1234"), ["damaged"]),
    "shape that overflows": (header({"a": tensor(0, 4, shape=(2**62, 2**62))}, b"1234"), ["overflow"]),
    "empty and longer than memory": (header({"a": tensor(0, 0, shape=(2**62, 0))}), ["'a'", "F32"]),
    "more axes than NumPy has": (header({"a": tensor(0, 4, shape=(1,) * 100)}, b"1234"), ["'a'", "100 axes"]),
    "a type that NumPy lacks": (header({"a": tensor(0, 1, dtype="F8_E5M2")}, b"1"), ["'a'", "F8_E5M2", "float32"]),
    "a type that nobody has": (header({"a": tensor(0, 4, dtype="F33")}, b"1234"), ["F33"]),
    "a zip archive": ((RECORDED / "gru.pt").read_bytes(), ["never unpickles", "weights_only=True", "from_torch"]),
    "a pickle": (b"\x80\x02}q\x00.", ["never unpickles", "weights_only=True", "from_torch"]),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + b"\0" * 40, ["Keras", "from_keras"]),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", ["git lfs pull"]),
    "ONNX": ((RECORDED / "gru.onnx").read_bytes(), ["damaged"]),
}


@pytest.mark.parametrize("read", [interop.read_safetensors, interop.load_safetensors], ids=["read", "load"])
@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_safetensors_file_is_told(tmp_path, name, read):
    contents, words = BROKEN[name]
    path = tmp_path / "weights.safetensors"
    path.write_bytes(contents)
    with pytest.raises(ValueError, match=r"weights\.safetensors") as told:
        read(path)
    assert [word for word in ("path:", *words) if word not in str(told.value)] == []


@pytest.mark.parametrize("read", [interop.read_safetensors, interop.load_safetensors], ids=["read", "load"])
def test_what_is_no_file_is_told(tmp_path, read):
    with pytest.raises(IsADirectoryError, match=r"path: .*folder.*name the file in it"):
        read(tmp_path)
    with pytest.raises(FileNotFoundError, match="absent"):
        read(tmp_path / "absent")
    with pytest.raises(ValueError, match=r"path: .*device or a pipe"):
        read("/dev/zero")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match=r"path: .*device or a pipe"):
        read(tmp_path / "pipe")
    for path, error in ((None, TypeError), (0, TypeError), ("", ValueError), ("a\0b", ValueError)):
        with pytest.raises(error, match="path: expected"):
            read(path)


@pytest.mark.parametrize("read", [interop.read_safetensors, interop.load_safetensors], ids=["read", "load"])
def test_without_the_library_it_says_what_to_install(saved, read, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(ImportError, match=r'pip install "gru_jax\[interop\]"'):
        read(saved[0])


@pytest.mark.parametrize(
    ("arrays", "metadata", "message"),
    [
        ([np.ones(3)], None, "arrays: expected a mapping of keys to arrays, got list"),
        ({3: np.ones(3)}, None, "arrays: expected strings as keys, got 3"),
        ({"__metadata__": np.ones(3)}, None, "arrays: expected strings as keys, got '__metadata__'"),
        ({"a": np.arange(3)}, None, r"arrays\['a'\]: expected an array of floats, got ndarray of dtype int"),
        ({"a": np.ones(3)}, ["b"], "metadata: expected a mapping of names to strings, got list"),
        ({"a": np.ones(3)}, {"b": 3}, r"metadata\['b'\]: expected a string, got int"),
    ],
)
def test_what_is_no_model_is_not_written(arrays, metadata, message, tmp_path):
    with pytest.raises(TypeError, match=message):
        interop.write_safetensors(tmp_path / "a", arrays, metadata)
    assert not list(tmp_path.iterdir())
