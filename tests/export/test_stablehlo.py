"""Artifacts of jax.export: values of the reference and of scan_layers, without gru_jax, and files that are whole."""

import functools
import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gru_jax
from tests import reference
from tests.cases import CASES, Case, assert_close, loose

SCANNED = [case for case in CASES if case.backend == "scan"]
BY_NAME = {case.name: case for case in SCANNED}
CELL = gru_jax.gru()
HERE = [{"gpu": "cuda"}.get(jax.default_backend(), jax.default_backend())]


def make_stack(case: Case, directions=1):
    """Two layers, widths 3 and 3."""
    layers = [
        tuple(
            case.params(10 * layer + d, np.float32, in_features=3 * directions if layer else 2)
            for d in range(directions)
        )
        for layer in range(2)
    ]
    return tuple(layers)


def expect(case, params, xs, lengths, carry=None, reverse=False):
    """The reference in float64: the final carry, params[layer][direction], and ys."""
    valid = np.arange(len(xs))[:, None] < np.asarray(lengths)
    xs, final = xs.astype(np.float64), []
    for i, layer in enumerate(params):
        ends, outs = [], []
        for d, own in enumerate(layer):
            start = case.cell.carry(own, (xs.shape[1],)) if carry is None else carry[i][d]
            start = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), loose(start))
            wide = tuple(np.asarray(leaf, np.float64) for leaf in own)
            end, ys = reference.run(case.step, wide, xs, start, valid, reverse=reverse or d == 1)
            ends.append(end)
            outs.append(ys)
        final.append(tuple(ends))
        xs = np.concatenate(outs, axis=-1)
    return tuple(final), xs


@functools.cache
def exported_stack(name):
    """Two layers in two directions with all inputs, read back from their bytes."""
    case = BY_NAME[name]
    exported = gru_jax.export.stablehlo(case.cell, make_stack(case, 2), initial_carry=True)
    return jax.export.deserialize(exported.serialize())


def plain(carry):
    """A carry as artifacts have it."""
    as_dict = lambda state: state._asdict() if hasattr(state, "_asdict") else state  # noqa: E731
    return tuple(tuple(as_dict(state) for state in layer) for layer in carry)


@pytest.mark.parametrize(
    ("case", "steps", "lengths"),
    [
        *((case, 5, [5, 0, 3]) for case in SCANNED),
        *((BY_NAME[name], *sizes) for name in ("gru-after-keep", "lstm") for sizes in ((1, [1, 0, 1]), (4, [2]))),
    ],
    ids=str,
)
def test_equals_the_reference(case, steps, lengths):
    params = make_stack(case, 2)
    xs = case.xs((steps, len(lengths)), dtype=np.float32)
    carry = tuple(tuple(case.carry((len(lengths),), 4 * i + d, np.float32) for d in range(2)) for i in range(2))
    found, ys = exported_stack(case.name).call(
        xs, seq_lengths=np.asarray(lengths, np.int32), initial_carry=plain(carry)
    )
    assert type(found) is tuple
    assert {type(state) for layer in found for state in layer} <= {dict, type(jnp.zeros(1))}
    assert ys.shape == (steps, len(lengths), 6)
    expected = expect(case, params, xs, lengths, carry)
    # A dict is in the order of its names, and so is (c, h).
    inner = tuple(tuple(dict(zip("hc", s, strict=True)) if type(s) is tuple else s for s in l) for l in expected[0])  # noqa: E741
    assert_close((found, ys), (inner, expected[1]), atol=2e-6)


@pytest.mark.parametrize("name", ["gru-after-keep", "lstm"])
def test_what_is_written_down(name):
    exported = exported_stack(name)
    assert exported.platforms == ("cpu", "cuda", "tpu")
    # Nothing that a platform would have to bring but JAX's own checks of the free sizes.
    assert set(re.findall(r"custom_call @(\w+)", exported.mlir_module())) == {"shape_assertion"}
    shapes = [str(aval.shape) for aval in exported.in_avals]
    assert shapes[0] == "(T, B, 2)"
    assert set(shapes[1:]) == {"(B, 3)", "(B,)"}


def test_the_same_bytes_again_and_no_paths_of_this_machine(tmp_path):
    params = make_stack(BY_NAME["gru-after-keep"])
    for name in ("first", "second"):
        exported = gru_jax.export.stablehlo(CELL, params, platforms=HERE)
        gru_jax.export.save_stablehlo(tmp_path / name, exported, gradients=True)
    written = (tmp_path / "first").read_bytes()
    assert written == (tmp_path / "second").read_bytes()
    assert b".py" not in written
    assert jax.config.jax_traceback_in_locations_limit != 0


def test_free_sizes_begin_at_one():
    exported = exported_stack("gru-after-keep")
    carry = jax.tree.map(jnp.asarray, tuple((np.ones((1, 3), np.float32),) * 2 for _ in range(2)))
    with pytest.raises(ValueError, match="Expected value >= 1 for dimension variable 'T'"):
        exported.call(jnp.ones((0, 1, 2)), seq_lengths=jnp.zeros(1, jnp.int32), initial_carry=carry)


@pytest.mark.parametrize("options", [{}, {"reverse": True}, {"time_major": False}, {"seq_lengths": False}], ids=str)
def test_options(options):
    case = BY_NAME["gru-before-write"]
    params, xs = make_stack(case), case.xs((6, 2), dtype=np.float32)
    given = {} if options.get("seq_lengths") is False else {"seq_lengths": np.array([6, 4], np.int32)}
    exported = gru_jax.export.stablehlo(case.cell, params, platforms=HERE, **options)
    batch_major = not options.get("time_major", True)
    carry, ys = exported.call(xs.swapaxes(0, 1) if batch_major else xs, **given)
    expected = expect(case, params, xs, given.get("seq_lengths", [6, 6]), reverse=options.get("reverse", False))
    assert_close((carry, ys.swapaxes(0, 1) if batch_major else ys), expected, atol=2e-6)


def test_float64_stays_float64(x64):
    case = BY_NAME["gru-after-keep"]
    params, xs = ((case.params(),),), case.xs((6, 2))
    exported = gru_jax.export.stablehlo(case.cell, params, platforms=HERE)
    carry, ys = exported.call(xs, seq_lengths=np.array([6, 4], np.int32))
    assert_close((carry, ys), expect(case, params, xs, [6, 4]), atol=1e-12)


def test_float64_in_32_bits_is_refused():
    case = BY_NAME["gru-after-keep"]
    with pytest.raises(TypeError, match=r"params\[0\]\[0\]\.w_i: got float64 while JAX runs in 32 bits"):
        gru_jax.export.stablehlo(case.cell, ((case.params(),),))


def test_bfloat16_is_as_in_scan_layers():
    case = BY_NAME["gru-after-keep"]
    params = jax.tree.map(lambda leaf: np.asarray(jnp.asarray(leaf, jnp.bfloat16)), make_stack(case))
    xs = jnp.asarray(case.xs((6, 2), dtype=np.float32), jnp.bfloat16)
    exported = gru_jax.export.stablehlo(case.cell, params, dtype=jnp.bfloat16, seq_lengths=False, platforms=HERE)
    carry, ys = exported.call(xs)
    expected = gru_jax.scan_layers(case.cell, jax.tree.map(jnp.asarray, params), xs)
    assert (ys.dtype, carry[0][0].dtype) == (jnp.bfloat16, jnp.float32)
    assert_close((carry, jnp.astype(ys, jnp.float32)), (expected[0], jnp.astype(expected[1], jnp.float32)), atol=1e-2)


@pytest.mark.parametrize("name", ["gru-after-keep", "gru-before-write", "lstm", "min_gru-write"])
def test_steps_go_on_from_a_whole_sequence(name):
    case = BY_NAME[name]
    params, xs = make_stack(case), case.xs((5, 2), dtype=np.float32)
    whole, step = gru_jax.export.stablehlo(case.cell, params), gru_jax.export.stablehlo_step(case.cell, params)
    step = jax.export.deserialize(step.serialize())
    assert step.platforms == ("cpu", "cuda", "tpu")
    carry, _ = whole.call(xs[:3], seq_lengths=np.array([3, 0], np.int32))
    outputs = []
    for x in xs[3:]:
        carry, y = step.call(carry, x)
        outputs.append(y)
    _, first = expect(case, params, xs[:, :1], [5])
    _, second = expect(case, params, xs[3:, 1:], [2])
    assert_close(jnp.stack(outputs), np.concatenate([first[3:], second], axis=1), atol=2e-6)


def test_films():
    film = gru_jax.conv_gru(image_shape=(3, 2), kernel_shape=(2, 1))
    params = gru_jax.init_layers(film, jax.random.key(0), 1, 2, num_layers=2)
    frames, lengths = np.random.default_rng(0).normal(size=(3, 2, 3, 2, 1)).astype(np.float32), np.array([3, 1])
    found = gru_jax.export.stablehlo(film, params).call(frames, seq_lengths=lengths.astype(np.int32))
    assert_close(found, gru_jax.scan_layers(film, params, frames, seq_lengths=lengths), atol=2e-6)


def test_a_cell_of_several_arrays_reads_a_dict():
    cell = gru_jax.gru_d()
    params = gru_jax.init_layers(cell, jax.random.key(0), 3, 4)
    x = np.random.default_rng(0).normal(size=(5, 2, 3)).astype(np.float32)
    inputs = {"x": x, "observed": np.float32(x > 0), "gap": np.ones_like(x)}
    carry, ys = gru_jax.scan_layers(cell, params, gru_jax.GRUDInputs(**inputs))
    found = gru_jax.export.stablehlo(cell, params, seq_lengths=False).call(inputs)
    assert_close(found, (plain(carry), ys), atol=2e-6)
    state = (({"h": np.zeros((2, 4), np.float32), "last": np.zeros((2, 3), np.float32)},),)
    step = gru_jax.export.stablehlo_step(cell, params)
    state, y = step.call(state, {name: leaf[0] for name, leaf in inputs.items()})
    assert_close(y, ys[0], atol=2e-6)
    assert set(state[0][0]) == {"h", "last"}


def test_files_need_jax_alone(tmp_path):
    """In a process without gru_jax, whole and step by step, with gradients."""
    case = BY_NAME["lstm"]
    params, xs = make_stack(case), case.xs((5, 2), dtype=np.float32)
    gru_jax.export.save_stablehlo(tmp_path / "whole", gru_jax.export.stablehlo(case.cell, params), gradients=True)
    gru_jax.export.save_stablehlo(tmp_path / "step", gru_jax.export.stablehlo_step(case.cell, params))
    np.save(tmp_path / "xs.npy", xs)
    code = """
import sys, jax, jax.export, jax.numpy as jnp, numpy as np
whole, step = (jax.export.deserialize(bytearray(open(name, "rb").read())) for name in ("whole", "step"))
xs, lengths = np.load("xs.npy"), np.array([5, 3], np.int32)
carry, ys = whole.call(xs, seq_lengths=lengths)
gradient = jax.grad(lambda xs: whole.call(xs, seq_lengths=lengths)[1].sum())(xs)
zeros = jnp.zeros((2, 3))
state = (({"h": zeros, "c": zeros},),) * 2
for x in xs:
    state, y = step.call(state, x)
assert "gru_jax" not in sys.modules
np.savez("found.npz", ys=ys, c=carry[1][0]["c"], y=y, gradient=gradient)
"""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    # Left open it would warn in whatever test runs when it is collected.
    with np.load(tmp_path / "found.npz") as file:
        found = dict(file)
    final, ys = expect(case, params, xs, [5, 3])
    assert_close((found["ys"], found["c"]), (ys, final[1][0][1]), atol=2e-6)
    assert_close(found["y"], expect(case, params, xs, [5, 5])[1][-1], atol=2e-6)

    def loss(xs):
        return gru_jax.scan_layers(case.cell, params, xs, seq_lengths=np.array([5, 3]))[1].sum()

    assert_close(found["gradient"], jax.grad(loss)(xs), atol=1e-5)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A small file and its artifact."""
    path = tmp_path_factory.mktemp("stablehlo") / "gru"
    exported = gru_jax.export.stablehlo_step(CELL, make_stack(BY_NAME["gru-after-keep"]), platforms=HERE)
    gru_jax.export.save_stablehlo(path, exported)
    return path, exported


def test_a_file_gives_back_the_artifact(saved):
    path, exported = saved
    again = gru_jax.export.load_stablehlo(path)
    assert again.mlir_module_serialized == exported.mlir_module_serialized
    assert (again.platforms, again.in_tree, again.out_tree) == (exported.platforms, exported.in_tree, exported.out_tree)
    assert [file.name for file in path.parent.iterdir()] == ["gru"]


def test_damaged_files_are_refused(saved, tmp_path):
    path, _ = saved
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    damaged = [whole[: int(cut)] for cut in (0, 1, 7, *rng.integers(8, len(whole), 40), len(whole) - 1)]
    for place in (0, *rng.integers(1, len(whole), 40), len(whole) - 1):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(rng.integers(8))
        damaged.append(bytes(flipped))
    damaged += [whole + b"\n", whole * 2, rng.bytes(500), whole[-48:], whole[-16:]]
    for number, content in enumerate(damaged):
        other = tmp_path / str(number)
        other.write_bytes(content)
        with pytest.raises(ValueError, match=r"path: "):
            gru_jax.export.load_stablehlo(other)


def test_other_files_and_paths(saved, tmp_path):
    _, exported = saved
    load, save = gru_jax.export.load_stablehlo, gru_jax.export.save_stablehlo
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "missing")
    with pytest.raises(IsADirectoryError, match="path: "):
        load(tmp_path)
    with pytest.raises(IsADirectoryError, match="path: expected the name of a file, got the folder"):
        save(tmp_path, exported)
    with pytest.raises(TypeError, match=r"exported: expected a jax.export.Exported, got bytearray"):
        save(tmp_path / "file", exported.serialize())
    with pytest.raises(TypeError, match=r"gradients: expected True or False"):
        save(tmp_path / "file", exported, gradients=2)
    (tmp_path / "raw").write_bytes(bytes(exported.serialize()))
    with pytest.raises(ValueError, match=r"written by others: .* read by jax.export.deserialize"):
        load(tmp_path / "raw")
    np.savez(tmp_path / "arrays.npz", a=1)
    with pytest.raises(ValueError, match="a zip archive"):
        load(tmp_path / "arrays.npz")
