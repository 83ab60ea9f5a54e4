"""safetensors files: what is saved comes back to the bit, other people's are read, and damaged ones are told apart."""

import errno
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors
import safetensors.numpy

import gru_jax
from gru_jax import interop
from tests.interop.file_cases import GRU, RECORDED, parts, recorded_values, some_params
from tests.refusals import refused

KEY = jax.random.key(0)
CELLS = {
    "gru": GRU,
    "gru-before-write": gru_jax.gru(reset_after=False, update_gate="write"),
    "gru-before-keep": gru_jax.gru(reset_after=False),
    "gru-after-write": gru_jax.gru(update_gate="write"),
    "lstm": gru_jax.lstm(),
    "rnn": gru_jax.rnn(),
    "min_gru": gru_jax.min_gru(),
    "min_gru-keep": gru_jax.min_gru(update_gate="keep"),
    "conv_gru": gru_jax.conv_gru(image_shape=(5, 4), kernel_shape=(2, 3)),
    "conv_gru-before-write": gru_jax.conv_gru(image_shape=(1, 1), reset_after=False, update_gate="write"),
    "gru_d": gru_jax.gru_d(),
    "gru_d-after-keep": gru_jax.gru_d(reset_after=True, update_gate="keep"),
}
DTYPES = (np.float32, np.float64, np.float16, jnp.bfloat16)


def same_bits(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert a.dtype == b.dtype
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
        assert a.shape == b.shape


@pytest.fixture
def saved(tmp_path):
    """A stack of two layers and directions as a file, and its params."""
    params = some_params(GRU, num_layers=2, bidirectional=True)
    interop.save_safetensors(tmp_path / "gru.safetensors", GRU, params)
    return tmp_path / "gru.safetensors", params


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: np.dtype(dtype).name)
@pytest.mark.parametrize("name", CELLS)
def test_what_is_saved_comes_back_to_the_bit(tmp_path, name, dtype):
    cell = CELLS[name]
    # A GRU-D reads what no layer writes, so it stands alone.
    params = some_params(cell, num_layers=1 if cell.name == "gru_d" else 2, bidirectional=True, dtype=dtype)
    interop.save_safetensors(tmp_path / "x", cell, params)
    read_cell, read_params = interop.load_safetensors(tmp_path / "x")
    assert read_cell == cell
    same_bits(params, read_params)


def test_float64_loses_no_digit_in_32_bits_and_is_a_jax_array_in_64(tmp_path):
    params = some_params(GRU, dtype=np.float64)
    interop.save_safetensors(tmp_path / "x", GRU, params)
    assert isinstance(interop.load_safetensors(tmp_path / "x")[1][0][0].w_i, np.ndarray)
    with jax.enable_x64(True):
        _, read = interop.load_safetensors(tmp_path / "x")
        assert isinstance(read[0][0].w_i, jax.Array)
        same_bits(params, read)


def test_params_of_one_layer_may_stand_alone(tmp_path):
    params = some_params(GRU)[0][0]
    interop.save_safetensors(str(tmp_path / "x"), GRU, params)
    same_bits(((params,),), interop.load_safetensors(tmp_path / "x")[1])


def test_layers_may_differ_in_directions(tmp_path):
    below, above = some_params(GRU, num_layers=2, bidirectional=True)
    params = [[*below], [above[0]]]
    interop.save_safetensors(tmp_path / "x", GRU, params)
    same_bits(tuple(map(tuple, params)), interop.load_safetensors(tmp_path / "x")[1])


def test_initialisers_are_not_kept(tmp_path):
    cell = gru_jax.gru(kernel_init=jax.nn.initializers.ones, update_bias=2.0)
    interop.save_safetensors(tmp_path / "x", cell, some_params(cell))
    assert interop.load_safetensors(tmp_path / "x")[0] == GRU


def test_a_file_says_what_its_weights_mean(tmp_path):
    cell = CELLS["gru-before-write"]
    interop.save_safetensors(tmp_path / "x", cell, some_params(cell, bidirectional=True))
    metadata, tensors = parts(tmp_path / "x")
    assert metadata == {
        "format": "gru_jax",
        "format_version": "1",
        "cell": "gru",
        "options.reset_after": "false",
        "options.update_gate": "write",
        "gate_order": "r, z, n along the last axis",
        "equations": "r = σ(x W_ir + b_ir + h W_hr + b_hr); z = σ(x W_iz + b_iz + h W_hz + b_hz); "
        "n = tanh(x W_in + b_in + (r ∘ h) W_hn + b_hn); h' = (1 - z) ∘ h + z ∘ n",
        "directions": "2",
    }
    assert set(tensors) == {
        f"layers.0.{direction}.{field}"
        for direction in ("forward", "backward")
        for field in ("w_i", "w_h", "b_i", "b_h")
    }
    assert tensors["layers.0.backward.w_h"].shape == (3, 9)


@pytest.mark.parametrize("name", CELLS)
def test_equations_in_the_file_are_those_of_the_documentation(tmp_path, name):
    """Each formula stands in the maker's docstring, but for how a GRU-D's decays name their weights."""
    cell = CELLS[name]
    interop.save_safetensors(tmp_path / "x", cell, some_params(cell))
    squeeze = lambda text: " ".join(text.split())  # noqa: E731
    documented = squeeze(getattr(gru_jax, cell.name).__doc__)
    kernel_shape = dict(zip(("(kh - 1) // 2", "(kw - 1) // 2"), ("0", "1"), strict=True))
    if name == "conv_gru":
        for term, value in kernel_shape.items():
            documented = documented.replace(term, value)
    for equation in parts(tmp_path / "x")[0]["equations"].split("; "):
        if not equation.startswith(("γ", "m =", "(x * W)")):
            assert equation in documented, equation


def test_the_same_params_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        interop.save_safetensors(tmp_path / name, GRU, some_params(GRU))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_file_is_replaced_whole_or_not_at_all(saved, monkeypatch):
    path, params = saved
    os.symlink(path, path.with_name("link"))
    interop.save_safetensors(path.with_name("link"), GRU, some_params(GRU))
    assert path.with_name("link").is_symlink()
    assert len(interop.load_safetensors(path)[1]) == 1

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        interop.save_safetensors(path, GRU, params)
    assert path.read_bytes() == before
    assert {file.name for file in path.parent.iterdir()} == {"gru.safetensors", "link"}


def test_a_pipe_or_a_device_stays_one(saved):
    """A user who may do so would have put a file in the place of /dev/null."""
    path, params = saved
    os.mkfifo(path.with_name("pipe"))
    with pytest.raises(ValueError, match=r"path: expected the name of a file, got '.*pipe', a device or a pipe"):
        interop.save_safetensors(path.with_name("pipe"), GRU, params)
    assert path.with_name("pipe").is_fifo()


def test_who_may_read_a_file_stays_as_it_was(saved):
    path, params = saved
    path.chmod(0o640)
    interop.save_safetensors(path, GRU, params)
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_pytorch_checkpoint_is_read_without_unpickling():
    recorded = recorded_values()
    tensors = interop.read_safetensors(RECORDED / "gru.safetensors")
    assert {f"params.{key}" for key in tensors} == {key for key in recorded if key.startswith("params.")}
    for key, tensor in tensors.items():
        assert tensor.dtype == recorded[f"params.{key}"].dtype
        np.testing.assert_array_equal(tensor, recorded[f"params.{key}"])
    cell, params = interop.from_torch(tensors, prefix="encoder.")
    _, ys = gru_jax.scan_layers(cell, params, recorded["xs"])
    np.testing.assert_allclose(ys, recorded["ys"], rtol=0, atol=2e-6)


def test_bfloat16_of_pytorch_is_read_as_bfloat16():
    recorded = recorded_values()
    tensors = interop.read_safetensors(RECORDED / "bfloat16.safetensors")
    assert len(tensors) == 16
    for key, tensor in tensors.items():
        assert tensor.dtype == jnp.bfloat16
        np.testing.assert_array_equal(tensor, recorded[f"params.{key}"].astype(jnp.bfloat16))


@pytest.mark.parametrize("kind", ["float32", "float64", "float16", "int64", "int32", "int8", "uint8", "bool"])
def test_every_type_of_numpy_is_read(tmp_path, kind):
    arrays = {"matrix": np.arange(6).reshape(2, 3), "scalar": np.array(1), "empty": np.zeros((0, 2))}
    arrays = {key: array.astype(kind) for key, array in arrays.items()}
    safetensors.numpy.save_file(arrays, tmp_path / "x")
    read = interop.read_safetensors(tmp_path / "x")
    for key, array in arrays.items():
        assert read[key].dtype == array.dtype
        np.testing.assert_array_equal(read[key], array)


def save(cell=GRU, params=None, path=None):
    return lambda folder: interop.save_safetensors(
        folder / "x" if path is None else path, cell, some_params(GRU) if params is None else params
    )


ONE = some_params(GRU)[0][0]
WIDER = jax.tree.map(lambda leaf: np.zeros((*leaf.shape[:-1], 12), np.float32), ONE)
SAVE_MISTAKES = {
    "maker": (save(gru_jax.gru), TypeError, ["cell:", "gru_jax.gru()"]),
    "own name": (save(GRU.replace(name="mine")), ValueError, ["cell:", "'mine'", "of your own", "save_file"]),
    "own step": (save(GRU.replace(step=lambda *_: None)), ValueError, ["cell:", "'gru'", "of your own"]),
    "own options": (save(GRU.replace(options=("a",))), ValueError, ["cell:", "of your own"]),
    "options of no cell": (
        save(GRU.replace(options=gru_jax.GRUOptions(1, "both"))),
        ValueError,
        ["cell:", "of your own"],
    ),
    "other cell": (save(gru_jax.lstm()), TypeError, ["params[0][0]", "LSTMParams", "GRUParams", "init"]),
    "other kernel": (
        save(CELLS["conv_gru"], some_params(gru_jax.conv_gru(image_shape=(5, 4)))),
        ValueError,
        ["layers.0.forward.w_i", "(2, 3, 2, 9)", "(3, 3, 2, 9)"],
    ),
    "dicts": (save(params=[[ONE._asdict()]]), TypeError, ["params[0][0]", "GRUParams", "dict"]),
    "not nested": (save(params=[ONE]), TypeError, ["params", "params[layer][direction]"]),
    "no layer": (save(params=()), TypeError, ["params", "params[layer][direction]"]),
    "shape": (
        save(params=ONE._replace(w_h=np.zeros((4, 9), np.float32))),
        ValueError,
        ["layers.0.forward.w_h", "(3, 9)", "(4, 9)"],
    ),
    "rank": (save(params=ONE._replace(w_i=np.zeros(9, np.float32))), ValueError, ["w_i", "(I, 3H)", "(9,)"]),
    "no third": (save(params=ONE._replace(w_i=np.zeros((2, 8), np.float32))), ValueError, ["w_i", "(I, 3H)", "(2, 8)"]),
    "empty": (save(params=ONE._replace(w_i=np.zeros((2, 0), np.float32))), ValueError, ["w_i", "(I, 3H)", "(2, 0)"]),
    "stack": (save(params=((ONE,), (ONE,))), ValueError, ["layers.1.forward.w_i", "(3, 9)", "(2, 9)", "layer below"]),
    "directions": (
        save(params=((ONE, WIDER),)),
        ValueError,
        ["layers.0.backward.w_i", "(2, 9)", "(2, 12)"],
    ),
    "stack of gru_d": (
        save(CELLS["gru_d"], some_params(CELLS["gru_d"]) * 2),
        ValueError,
        ["params", "1 layer", "'gru_d'", "got 2"],
    ),
    "mixed dtypes": (
        save(params=ONE._replace(b_h=np.zeros(9, np.float16))),
        TypeError,
        ["layers.0.forward.b_h", "float32", "float16"],
    ),
    "integers": (save(params=ONE._replace(b_h=np.zeros(9, int))), TypeError, ["layers.0.forward.b_h", "int"]),
    "float8": (
        save(params=jax.tree.map(lambda leaf: np.zeros(leaf.shape, jnp.float8_e5m2), ONE)),
        TypeError,
        ["layers.0.forward.w_i", "bfloat16", "float8_e5m2"],
    ),
    "folder": (lambda folder: save(path=folder)(folder), IsADirectoryError, ["path:", "folder"]),
    "no folder": (lambda folder: save(path=folder / "a" / "b")(folder), FileNotFoundError, ["path:", "makedirs"]),
    "number": (save(path=3), TypeError, ["path:", "int"]),
    "no name": (save(path=""), ValueError, ["path:", "''"]),
}


@pytest.mark.parametrize("mistake", SAVE_MISTAKES)
def test_what_cannot_be_saved_is_told(tmp_path, mistake):
    act, error, words = SAVE_MISTAKES[mistake]
    with refused(error, words):
        act(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_params_inside_jit_are_told(tmp_path):
    with pytest.raises(TypeError, match=r"layers\.0\.forward\.w_i.*outside of jit"):
        jax.jit(lambda params: interop.save_safetensors(tmp_path / "x", GRU, params))(some_params(GRU)[0][0])


def test_arrays_of_a_whole_model(tmp_path):
    path = tmp_path / "model.safetensors"
    arrays = {"b/kernel": np.arange(6.0).reshape(2, 3), "a": jnp.ones(3, jnp.bfloat16), "t": np.ones((2, 3)).T}
    gru_jax.interop.write_safetensors(path, arrays, {"why": "λ"})
    found = gru_jax.interop.read_safetensors(path)
    for key, array in arrays.items():
        assert found[key].dtype == array.dtype
        np.testing.assert_array_equal(found[key], array)
    with safetensors.safe_open(path, "np") as file:
        assert file.metadata() == {"why": "λ"}
