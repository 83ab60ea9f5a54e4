"""Mistakes in what is exported, named before anything is written."""

import os
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gru_jax

CELL = gru_jax.gru()


def make_stack(widths, *, bidirectional=False, in_features=2):
    """float32 params as NumPy arrays."""
    params = gru_jax.init_layers(CELL, jax.random.key(0), in_features, widths, bidirectional=bidirectional)
    return jax.tree.map(np.asarray, params)


STACK, BOTH = make_stack((4, 3)), make_stack((4, 3), bidirectional=True)
UNEVEN = ((BOTH[0][0], make_stack((5,))[0][0]),)
UNFIT = (make_stack((1,))[0], STACK[1])
OWN = CELL.replace(step=lambda params, h, g: (h, h))
WIDTH_OPEN = CELL.replace(input_shape=lambda params: (None,))

ONNX = {
    "another cell": (gru_jax.min_gru(), STACK, {}, ValueError, r"cell: expected gru_jax.gru\(\), gru_jax.lstm\(\), gru_jax.rnn\(\), .*got 'min_gru'; export as stablehlo"),
    "a cell of one's own": (OWN, STACK, {}, ValueError, r"cell: expected gru_jax.gru\(\).*stablehlo"),
    "no cell": (gru_jax.gru, STACK, {}, TypeError, r"cell: expected a gru_jax.Cell"),
    "params of another cell": (gru_jax.lstm(), STACK, {}, TypeError, r"params\[0\]\[0\]: params: expected LSTMParams for the cell 'lstm', got GRUParams"),
    "no nesting": (CELL, STACK[0][0], {}, TypeError, r"params: expected params\[layer\]\[direction\]"),
    "layers that do not fit": (CELL, STACK[::-1], {}, ValueError, r"params\[1\]\[0\]: expected a layer for inputs of width 3, which layer 0 writes, got one for 2"),
    "widths that differ": (CELL, UNEVEN, {}, ValueError, r"params\[0\]: expected two directions of one width.*\[4, 5\]; export as stablehlo"),
    "a list for an array": (CELL, ((STACK[0][0]._replace(b_i=[0.0]),),), {}, TypeError, r"params\[0\]\[0\]\.b_i\[0\]: expected an array, got float"),
    "integers": (CELL, ((STACK[0][0]._replace(b_h=np.zeros(12, int)),),), {}, TypeError, r"params\[0\]\[0\]: params\.b_h: expected a float array"),
    "reversed twice": (CELL, BOTH, {"reverse": True}, ValueError, r"reverse: expected False with two directions"),
    "lengths in the place of a flag": (CELL, STACK, {"seq_lengths": np.array([1])}, TypeError, r"seq_lengths: expected True or False"),
    "time_major": (CELL, STACK, {"time_major": 1}, TypeError, r"time_major: expected True or False"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", ONNX)
def test_onnx(mistake):
    cell, params, options, error, message = ONNX[mistake]
    with pytest.raises(error, match=message):
        gru_jax.export.onnx_model(cell, params, **options)


STABLEHLO = {
    "no cell": ("stablehlo", gru_jax.gru, STACK, {}, TypeError, r"cell: expected a gru_jax.Cell"),
    "params of another cell": ("stablehlo", gru_jax.lstm(), STACK, {}, TypeError, r"params: expected LSTMParams"),
    "no nesting": ("stablehlo_step", CELL, STACK[0][0], {}, TypeError, r"params: expected params\[layer\]\[direction\]"),
    "layers that do not fit": ("stablehlo", CELL, UNFIT, {}, ValueError, r"params\[1\]\[0\]: expected a layer for inputs of width 1"),
    "steps that do not fit": ("stablehlo_step", CELL, UNFIT, {}, ValueError, r"params\[1\]\[0\]: x: expected shape \(\*B, 4\)"),
    "two directions": ("stablehlo_step", CELL, BOTH, {}, ValueError, r"params\[0\]: expected one direction, got two.*gru_jax.export.stablehlo"),
    "reversed twice": ("stablehlo", CELL, BOTH, {"reverse": True}, ValueError, r"reverse: expected False with two directions"),
    "a string for platforms": ("stablehlo", CELL, STACK, {"platforms": "cpu"}, TypeError, r"platforms: expected some of 'cpu'"),
    "an unknown platform": ("stablehlo", CELL, STACK, {"platforms": ["gpu"]}, ValueError, r"platforms: expected some of .*got \['gpu'\]"),
    "no platform": ("stablehlo_step", CELL, STACK, {"platforms": ()}, TypeError, r"platforms: expected some of"),
    "a dtype of integers": ("stablehlo", CELL, STACK, {"dtype": jnp.int32}, TypeError, r"dtype: expected a float dtype"),
    "a flag that is none": ("stablehlo", CELL, STACK, {"seq_lengths": np.array([3])}, TypeError, r"seq_lengths: expected True or False"),
    "precision": ("stablehlo_step", CELL, STACK, {"precision": "exact"}, ValueError, r"precision: expected None"),
    "an open width": ("stablehlo", WIDTH_OPEN, STACK, {}, ValueError, r"cell: expected one whose input_shape says how wide"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", STABLEHLO)
def test_stablehlo(mistake):
    function, cell, params, options, error, message = STABLEHLO[mistake]
    with pytest.raises(error, match=message):
        getattr(gru_jax.export, function)(cell, params, **options)


def test_wide_inputs_beside_narrow_params_are_refused(x64):
    with pytest.raises(TypeError, match=r"dtype: expected the precision of the params, float32, got float64"):
        gru_jax.export.stablehlo(CELL, STACK, dtype=jnp.float64)


def test_onnx_refuses_float64(x64):
    wide = jax.tree.map(lambda leaf: leaf.astype(np.float64), STACK)
    with pytest.raises(TypeError, match=r"params\[0\]\[0\]\.w_i: expected float32 or narrower, got float64.*stablehlo"):
        gru_jax.export.onnx_model(CELL, wide)


def test_tracers_are_refused():
    with pytest.raises(TypeError, match=r"params\[0\]\[0\]\.w_i: expected an array of known values, got a tracer"):
        jax.jit(lambda params: gru_jax.export.onnx_model(CELL, params))(STACK)


def test_initial_carry_of_another_nesting_is_refused():
    graph = gru_jax.export.Graph()
    xs = graph.input("xs", np.float32, ("time", "batch", 2))
    with pytest.raises(ValueError, match=r"initial_carry: expected 1 value for each of 2 layers of GRU"):
        gru_jax.export.add_layers(graph, CELL, STACK, xs, initial_carry=[[xs]])


def test_paths_that_cannot_be_written(tmp_path):
    save = gru_jax.export.save_onnx
    with pytest.raises(IsADirectoryError, match=r"path: expected the name of a file, got the folder"):
        save(tmp_path, CELL, STACK)
    with pytest.raises(FileNotFoundError, match=r"path: expected a folder that exists, got .*nowhere"):
        save(tmp_path / "nowhere" / "gru.onnx", CELL, STACK)
    with pytest.raises(TypeError, match=r"path: expected a string or a pathlib.Path, got int"):
        save(3, CELL, STACK)
    (tmp_path / "gru.onnx").write_bytes(b"kept")
    with pytest.raises(TypeError, match="params"):
        save(tmp_path / "gru.onnx", gru_jax.lstm(), STACK)
    assert (tmp_path / "gru.onnx").read_bytes() == b"kept"


@pytest.mark.parametrize("kind", ["onnx", "stablehlo"])
def test_links_are_followed_and_devices_stay(kind, tmp_path):
    def save(path):
        if kind == "onnx":
            gru_jax.export.save_onnx(path, CELL, STACK)
        else:
            gru_jax.export.save_stablehlo(path, gru_jax.export.stablehlo_step(CELL, STACK))

    target, link, pipe = (tmp_path / name for name in ("target", "link", "pipe"))
    link.symlink_to(target)
    save(link)
    assert link.is_symlink()
    assert target.stat().st_size > 100
    os.mkfifo(pipe)
    with pytest.raises(ValueError, match=r"path: expected the name of a file, got '.*pipe', a device or a pipe"):
        save(pipe)
    assert pipe.is_fifo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "pipe", "target"]


def test_without_onnx_the_way_out_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r'pip install "gru_jax\[interop\]"'):
        gru_jax.export.onnx_model(CELL, STACK)


def test_a_graph_refuses_what_it_does_not_know():
    graph = gru_jax.export.Graph()
    xs = graph.input("xs", np.float32, ("time", "batch", 3))
    with pytest.raises(ValueError, match=r"name: expected one that the graph has not used, got 'xs'"):
        graph.input("xs", np.float32, (1,))
    with pytest.raises(ValueError, match=r"inputs: expected names of values that this graph has, got 'ys'"):
        graph.add("Relu", ["ys"])
    graph.output("ys", graph.add("Rleu", [xs]), np.float32, ("time", "batch", 3))
    with pytest.raises(ValueError, match=r"(?s)graph: expected one that ONNX's checker passes, .*Rleu"):
        graph.model()
