"""What has no bias keeps none: out of every format, through training, and back into it."""

import flax.linen as linen
import flax.nnx as nnx
import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest

import gru_jax
from gru_jax import interop
from tests.interop.weight_cases import run, same_bits, worst

RNG = np.random.default_rng(0)
XS = RNG.normal(size=(5, 2, 3)).astype(np.float32)


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def named(weights):
    """Any format's weights as a flat dict."""
    leaves = jax.tree_util.tree_flatten_with_path(weights)[0]
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


MATRICES = {"weight_ih": normal(12, 3), "weight_hh": normal(12, 4)}
STACK = {
    f"{kind}_l{i}{d}": normal(12, 4 if "hh" in kind else 8 if i else 3)
    for i in range(2)
    for d in ("", "_reverse")
    for kind in ("weight_ih", "weight_hh")
}
DENSE = {"dense_h": {"kernel": normal(4, 12)}, "dense_i": {"bias": normal(12), "kernel": normal(3, 12)}}
FORMS = {
    "torch": (STACK, False, interop.from_torch, interop.to_torch),
    "torch, GRUCell": (
        MATRICES,
        False,
        interop.from_torch,
        lambda cell, p: interop.to_torch(cell, p, module="GRUCell"),
    ),
    "keras": ([normal(3, 12), normal(4, 12)], False, interop.from_keras, interop.to_keras),
    "keras, Bidirectional": (
        [normal(3, 12), normal(4, 12)] * 2,
        False,
        lambda w: interop.from_keras(w, bidirectional=True),
        interop.to_keras,
    ),
    "keras, reset before": (
        [normal(3, 12), normal(4, 12), normal(12)],
        "input",
        lambda w: interop.from_keras(w, reset_after=False),
        interop.to_keras,
    ),
    "onnx": ({"R": normal(1, 12, 4), "W": normal(1, 12, 3)}, False, lambda w: interop.from_onnx(**w), interop.to_onnx),
    "nnx": (DENSE, "input", interop.from_nnx, interop.to_nnx),
    "haiku": (
        {"gru": {"b": normal(12), "w_h": normal(4, 12), "w_i": normal(3, 12)}},
        "input",
        interop.from_haiku,
        interop.to_haiku,
    ),
    "equinox": (MATRICES, False, interop.from_equinox, interop.to_equinox),
}


@pytest.mark.parametrize("name", FORMS)
def test_out_and_back(name):
    weights, use_bias, convert, back = FORMS[name]
    cell, params = convert(weights)
    assert cell.options.use_bias == use_bias
    assert all((own.b_i is None, own.b_h is None) == (not use_bias, True) for layer in params for own in layer)
    assert same_bits(dict(sorted(named(back(cell, params)).items())), dict(sorted(named(weights).items())))


@pytest.mark.parametrize("name", FORMS)
def test_trained_on_and_back(name):
    weights, _, convert, back = FORMS[name]
    cell, params = convert(weights)
    loss = lambda params: jnp.sum(jnp.square(gru_jax.scan_layers(cell, params, jnp.asarray(XS), backend="scan")[1]))  # noqa: E731
    trained = jax.tree.map(lambda p, g: p - 0.1 * g, params, jax.grad(loss)(params))
    assert worst(trained, params) > 1e-3
    again = back(cell, trained)
    assert {key: a.shape for key, a in named(again).items()} == {key: a.shape for key, a in named(weights).items()}
    other, found = convert(again)
    assert other == cell
    assert worst(run(other, found, XS, None, backend="scan"), run(cell, trained, XS, None, backend="scan")) < 1e-6


@pytest.mark.parametrize("name", FORMS)
def test_the_same_numbers_as_with_zeros(name):
    weights, _, convert, _ = FORMS[name]
    cell, params = convert(weights)
    zeros = jax.tree.map(
        lambda p: p._replace(**{f: jnp.zeros(p.w_h.shape[1]) for f in ("b_i", "b_h") if getattr(p, f) is None}),
        params,
        is_leaf=lambda p: hasattr(p, "_fields"),
    )
    plain = gru_jax.gru(reset_after=cell.options.reset_after, update_gate=cell.options.update_gate)
    for backend in ("scan", "fused"):
        assert worst(run(cell, params, XS, None, backend=backend), run(plain, zeros, XS, None, backend=backend)) < 1e-6


def test_into_modules_of_flax():
    cell, params = interop.from_nnx(DENSE)
    moved = jax.tree.map(lambda leaf: leaf + 0.1, params)
    module = nnx.GRUCell(3, 4, rngs=nnx.Rngs(0))
    nnx.update(module, interop.to_nnx(cell, moved))
    expected = nnx.RNN(module)(np.moveaxis(XS, 0, 1))
    assert worst(run(cell, moved, XS, None, backend="scan")[1], np.moveaxis(expected, 0, 1)) < 2e-6
    # flax.linen has a bias of n beside the state, and r's and z's add up, whatever training made of them.
    module = linen.GRUCell(4)
    cell, params = interop.from_linen(module.init(jax.random.key(0), jnp.ones(4), jnp.ones(3)))
    moved = jax.tree.map(lambda leaf: leaf + 0.1, params)
    tree = interop.to_linen(cell, moved)
    expected = linen.RNN(module).apply({"params": {"cell": tree}}, np.moveaxis(XS, 0, 1))
    assert worst(run(cell, moved, XS, None, backend="scan")[1], np.moveaxis(expected, 0, 1)) < 2e-6


def test_what_says_nothing_is_written_as_zeros():
    """Where a format has a place for a bias that the params lack, beside one that they have."""
    cell = gru_jax.gru(use_bias="input")
    params = cell.init(jax.random.key(0), 3, 4)._replace(b_i=jnp.ones(12))
    assert not np.any(interop.to_torch(cell, params)["bias_hh_l0"])
    assert interop.to_keras(cell, params)[2].tolist() == [[1.0] * 12, [0.0] * 12]
    assert not np.any(interop.to_onnx(cell, params)["B"][0, 12:])
    assert not np.any(interop.to_linen(cell, params)["hn"]["bias"])
    assert not np.any(interop.to_equinox(cell, params)["bias_n"])
    none = params._replace(b_i=None)
    assert not np.any(interop.to_nnx(cell, none)["dense_i"]["bias"])
    assert not np.any(interop.to_torch(cell, none, bias=True)["bias_ih_l0"])
    assert list(interop.to_torch(cell, none)) == ["weight_ih_l0", "weight_hh_l0"]
    assert interop.from_nnx(interop.to_nnx(cell, none, layout="dense_without_bias"))[0] == gru_jax.gru(use_bias=False)
    with pytest.raises(ValueError, match="expected zeros, as PyTorch is to hold no biases"):
        interop.to_torch(cell, params, bias=False)


def some(use_bias, **options):
    cell = gru_jax.gru(use_bias=use_bias)
    return cell, gru_jax.init_layers(cell, jax.random.key(0), 3, 4, num_layers=2, **options)


@pytest.mark.parametrize("use_bias", [False, "input", True])
def test_files(use_bias, tmp_path):
    cell, params = some(use_bias, bidirectional=True)
    interop.save_safetensors(tmp_path / "x", cell, params)
    other, again = interop.load_safetensors(tmp_path / "x")
    assert other == cell
    assert jax.tree.structure(again) == jax.tree.structure(params)
    assert worst(again, params) == 0
    held = interop.read_safetensors(tmp_path / "x")
    assert len(held) == 4 * (4 if use_bias is True else 3 if use_bias else 2)
    assert ("options.use_bias" in interop.describe(cell)) == (use_bias is not True)


def test_files_of_params_that_lack_a_bias_which_their_cell_would_make(tmp_path):
    cell = gru_jax.gru()
    params = cell.init(jax.random.key(0), 3, 4)._replace(b_h=None)
    interop.save_safetensors(tmp_path / "x", cell, params)
    other, ((again,),) = interop.load_safetensors(tmp_path / "x")
    assert other == cell
    assert again.b_h is None
    # A tensor that was lost is no bias that was never there.
    held, lost = interop.read_safetensors(tmp_path / "x"), tmp_path / "lost"
    metadata = {"format": "gru_jax", "format_version": "1", **interop.describe(cell), "directions": "1"}
    interop.write_safetensors(lost, held, metadata)
    with pytest.raises(ValueError, match=r"layers.0.forward.b_h: expected this tensor, found none"):
        interop.load_safetensors(lost)
    with pytest.raises(TypeError, match=r"layers.0.forward.w_h: expected an array"):
        interop.save_safetensors(tmp_path / "y", cell, params._replace(w_h=None))


@pytest.mark.parametrize("use_bias", [False, "input"])
def test_models(use_bias):
    cell, params = some(use_bias, bidirectional=True)
    lengths = np.array([5, 3], np.int32)
    _, expected = gru_jax.scan_layers(cell, params, XS, seq_lengths=lengths)
    model = gru_jax.export.onnx_model(cell, params)
    ys, *_ = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"xs": XS, "seq_lengths": lengths})
    assert worst(ys, expected) < 1e-6
    weights = {tensor.name for tensor in model.graph.initializer}
    assert ("layer_0_B" in weights) == bool(use_bias)
    exported = jax.export.deserialize(gru_jax.export.stablehlo(cell, params).serialize())
    assert worst(exported.call(XS, seq_lengths=lengths)[1], expected) < 1e-6


DICT = some(True)[1][0][0]._asdict()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (DICT, r"params: expected GRUParams, .* got dict of b_h, b_i, w_h, w_i; write gru_jax.GRUParams\(\*\*params\)"),
        (((DICT,),), r"params\[0\]\[0\]: expected GRUParams, .*; write gru_jax.GRUParams\(\*\*params\[0\]\[0\]\)"),
        ({"0": {"0": DICT}}, "tuples that became dicts: write tuple"),
        ({"layer_0": {"forward": DICT}}, "a tree of Flax: pass gru_jax.interop.from_linen"),
        (({"forward": DICT},), r"params\[0\]: expected a tuple with GRUParams for each direction, got dict of forward"),
        ({"kernel": 3}, "got dict of kernel; pass what init_layers"),
    ],
)
def test_dicts_in_the_place_of_params(params, message, tmp_path):
    cell = gru_jax.gru()
    for call in (
        interop.to_torch,
        interop.to_linen,
        interop.to_keras,
        interop.to_onnx,
        interop.to_equinox,
        lambda cell, params: interop.save_safetensors(tmp_path / "x", cell, params),
        gru_jax.export.onnx_model,
        gru_jax.export.stablehlo,
        gru_jax.export.stablehlo_step,
    ):
        with pytest.raises(TypeError, match=message):
            call(cell, params)


def test_dicts_of_another_cell(tmp_path):
    cell = gru_jax.lstm()
    with pytest.raises(TypeError, match=r"write gru_jax.LSTMParams\(\*\*params\)"):
        interop.save_safetensors(tmp_path / "x", cell, cell.init(jax.random.key(0), 3, 4)._asdict())
