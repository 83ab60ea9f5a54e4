"""Weights of PyTorch, against what torch.nn.GRU and GRUCell computed with them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gru_jax
from gru_jax import interop
from tests.cases import relative_error
from tests.interop.weight_cases import load, nested, run, same_bits, worst
from tests.places import RECORDED

CASES = load("torch")
STACKS = [name for name in CASES if name.startswith("gru-")]
PREFIX = "encoder.rnn."


@pytest.mark.parametrize("backend", ["scan", "fused"])
@pytest.mark.parametrize("name", STACKS)
def test_a_stack_computes_what_torch_did(name, backend, x64):
    case = CASES[name]
    cell, params = interop.from_torch(case.under("weights"))
    double = case["xs"].dtype == np.float64
    assert params[0][0].w_i.dtype == case["xs"].dtype
    state = lambda key: nested(case[key], params)  # noqa: E731
    options = {"seq_lengths": case["lengths"], "backend": backend}
    expected = state("final"), case["ys"]
    if "w_ys" not in case:
        found = run(cell, params, case["xs"], state("initial"), **options)
        assert worst(found, expected) < (1e-12 if double else 2e-6)
        return
    weights = state("w_final"), case["w_ys"]
    results, gradients = run(cell, params, case["xs"], state("initial"), weights=weights, **options)
    assert worst(results, expected) < (1e-12 if double else 2e-6)
    by_key = interop.to_torch(cell, gradients[0])
    if "nobias" in name:
        by_key = {key: value for key, value in by_key.items() if "bias" not in key}
    expected = (case.under("gradient/weights"), case["gradient/xs"], state("gradient/initial"))
    assert relative_error((by_key, *gradients[1:]), expected) < (1e-11 if double else 1e-5)


def test_gradients_are_recorded():
    assert sum("w_ys" in CASES[name] for name in STACKS) >= 12


@pytest.mark.parametrize("backend", ["scan", "fused"])
@pytest.mark.parametrize("name", ["saturated-1", "saturated-2"])
def test_saturated_gates(name, backend):
    case = CASES[name]
    cell, params = interop.from_torch(case.under("weights"))
    initial, final = (nested(case[key], params) for key in ("initial", "final"))
    found = run(cell, params, case["xs"], initial, seq_lengths=case["lengths"], backend=backend)
    assert worst(found, (final, case["ys"])) < 5e-5


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bias", ["bias", "nobias"])
def test_a_cell(bias, dtype, x64):
    case = CASES[f"cell-{bias}-{dtype}"]
    cell, params = interop.from_torch(case.under("weights"))
    carry, y = cell(params[0][0], case["initial"], case["xs"])
    assert worst((carry, y), (case["final"], case["final"])) < (1e-12 if dtype == "float64" else 2e-6)


def test_a_module_inside_another():
    case = CASES["inside"]
    cell, params = interop.from_torch(case.under("weights"), prefix=PREFIX)
    without_dot = interop.from_torch(case.under("weights"), prefix=PREFIX[:-1])
    assert same_bits(interop.to_torch(*without_dot), interop.to_torch(cell, params))
    found = run(cell, params, case["xs"], nested(case["initial"], params), seq_lengths=case["lengths"])
    assert worst(found, (nested(case["final"], params), case["ys"])) < 2e-6
    mine = {key: value for key, value in case.under("weights").items() if key.startswith(PREFIX)}
    assert same_bits(interop.to_torch(cell, params, prefix=PREFIX), mine)


@pytest.mark.parametrize("name", [name for name in CASES if name != "inside"])
def test_and_back_to_the_bit(name, x64):
    weights = CASES[name].under("weights")
    module = "GRUCell" if name.startswith("cell") else "GRU"
    back = interop.to_torch(*interop.from_torch(weights), bias="nobias" not in name, module=module)
    assert same_bits(back, weights)


def test_tensors_are_read_without_their_framework():
    class Tensor:
        """What torch.Tensor has that a converter may use."""

        def __init__(self, array, dtype="torch.float32"):
            self.array, self.dtype = array, dtype

        def detach(self):
            return self

        def cpu(self):
            return self

        def float(self):
            return Tensor(self.array.astype(np.float32))

        def numpy(self):
            if self.dtype == "torch.bfloat16":
                raise TypeError("Got unsupported ScalarType BFloat16")
            return self.array

    weights = CASES["gru-1-1-bias-float32"].under("weights")
    _, params = interop.from_torch({key: Tensor(value) for key, value in weights.items()})
    assert same_bits(interop.to_torch(gru_jax.gru(), params), weights)
    halves = {key: value.astype(jnp.bfloat16) for key, value in weights.items()}
    _, params = interop.from_torch({key: Tensor(value, "torch.bfloat16") for key, value in halves.items()})
    assert params[0][0].w_i.dtype == jnp.bfloat16
    assert same_bits(interop.to_torch(gru_jax.gru(), params), halves)


def test_the_other_order_of_bytes_means_the_same(tmp_path):
    """As h5py and old files hand over; big-endian bytes under a little-endian header would be wrong numbers."""
    cell, params = interop.from_torch({key: value.astype(">f4") for key, value in ONE.items()})
    assert same_bits(interop.to_torch(cell, params), ONE)
    turned = jax.tree.map(lambda leaf: np.asarray(leaf).astype(">f4"), params)
    interop.save_safetensors(tmp_path / "x", cell, turned)
    assert same_bits(interop.to_torch(*interop.load_safetensors(tmp_path / "x")), ONE)


def test_errors_about_a_file_name_it():
    path = RECORDED / "interop_files" / "gru.safetensors"
    with pytest.raises(
        ValueError, match=r"gru\.safetensors: state_dict: expected keys such as .*; pass prefix='encoder"
    ):
        interop.from_torch(path)
    assert interop.from_torch(path, prefix="encoder.")[0] == gru_jax.gru()


def test_float64_keeps_its_digits_where_jax_has_32_bits():
    weights = CASES["gru-2-2-bias-float64"].under("weights")
    cell, params = interop.from_torch(weights)
    assert params[0][0].w_i.dtype == np.float64
    assert same_bits(interop.to_torch(cell, params), weights)


def test_what_writes_is_negated_for_what_keeps(x64):
    """A cell of the other sign gives the same outputs once it has been through PyTorch's."""
    case = CASES["gru-2-2-bias-float64"]
    _, params = interop.from_torch(case.under("weights"))
    writes = gru_jax.gru(update_gate="write")
    cell, back = interop.from_torch(interop.to_torch(writes, params))
    assert cell.options.update_gate == "keep"
    one, other = (run(c, p, case["xs"], None) for c, p in ((writes, params), (cell, back)))
    assert worst(one, other) < 1e-12
    assert worst(one, run(cell, params, case["xs"], None)) > 1e-3


WEIGHTS = CASES["gru-2-2-bias-float32"].under("weights")
ONE = CASES["gru-1-1-bias-float32"].under("weights")


def changed(**arrays):
    return {key: arrays.get(key, value) for key, value in WEIGHTS.items() if arrays.get(key, value) is not None}


@pytest.mark.parametrize(
    ("state_dict", "options", "message"),
    [
        (3, {}, "state_dict: expected a mapping of names to tensors, .* got int"),
        ({}, {}, "state_dict: expected keys such as 'weight_hh_l0', found none; pass the state dict"),
        ({"conv.weight": ONE["weight_ih_l0"]}, {}, "expected keys such as 'weight_hh_l0', found 'conv.weight'; pass"),
        ({f"rnn.{key}": value for key, value in ONE.items()}, {}, "expected keys such as .*; pass prefix='rnn.'"),
        (ONE, {"prefix": "rnn"}, "expected keys such as 'rnn.weight_hh_l0', found .*; pass prefix=''"),
        (ONE, {"prefix": 3}, "prefix: expected a string, got 3"),
        (changed(bias_hh_l1=None), {}, "missing 'bias_hh_l1'; pass the keys of one GRU"),
        (changed(weight_hh_l1_reverse=None), {}, "missing 'weight_hh_l1_reverse'"),
        (changed(weight_ih_l0=None, weight_hh_l0=None), {}, "missing 'weight_ih_l0', 'weight_hh_l0'"),
        (ONE | {"weight_hr_l0": ONE["weight_ih_l0"]}, {}, "unexpected 'weight_hr_l0'"),
        (ONE | {"weight_hh_l99999999": ONE["weight_hh_l0"]}, {}, "unexpected 'weight_hh_l99999999'"),
        (ONE | {"linear.weight": ONE["weight_ih_l0"]}, {}, "unexpected 'linear.weight'; .* prefix= picks"),
        (changed(weight_hh_l0=np.zeros((16, 4), np.float32)), {}, r"'weight_hh_l0'.*\(3H, H\).*got \(16, 4\).* LSTM"),
        (
            changed(weight_hh_l0=np.zeros((4, 4), np.float32)),
            {},
            r"'weight_hh_l0'.*\(3H, H\).*got \(4, 4\).* plain RNN",
        ),
        (changed(weight_hh_l0=np.zeros((12, 5), np.float32)), {}, r"'weight_hh_l0'.*\(3H, H\).*got \(12, 5\)"),
        (changed(weight_hh_l0=np.zeros((0, 0), np.float32)), {}, r"'weight_hh_l0'.*\(3H, H\).*got \(0, 0\)"),
        (changed(weight_ih_l1=np.zeros((12, 7), np.float32)), {}, r"'weight_ih_l1'.*\(12, 8\), got \(12, 7\)"),
        (changed(weight_ih_l0=np.zeros(12, np.float32)), {}, r"'weight_ih_l0'.*\(12, I\), got \(12,\)"),
        (changed(weight_ih_l0_reverse=np.zeros((12, 3), np.float32)), {}, r"'weight_ih_l0_reverse'.*\(12, 2\), got"),
        (changed(bias_ih_l0=np.zeros((12, 1), np.float32)), {}, r"'bias_ih_l0'.*expected shape \(12,\), got \(12, 1\)"),
        (changed(bias_ih_l0=np.zeros(12)), {}, "'bias_ih_l0'.*expected float32, as .* has, got float64"),
        (ONE | {f"weight_hh_l{'9' * 5000}": ONE["weight_hh_l0"]}, {}, "unexpected 'weight_hh_l999"),
        (changed(bias_ih_l0=np.zeros(12, np.longdouble)), {}, "'bias_ih_l0'.*got ndarray of dtype (long|float)"),
        (changed(bias_ih_l0=np.zeros(12, jnp.float8_e5m2)), {}, "'bias_ih_l0'.*dtype float8_e5m2; weights are float32"),
        (
            changed(bias_ih_l0=np.zeros(12, int)),
            {},
            "'bias_ih_l0'.*expected an array of floats, got ndarray of dtype int",
        ),
        (changed(bias_ih_l0="zeros"), {}, "'bias_ih_l0'.*expected an array, got str"),
        (changed(bias_ih_l0=object()), {}, "'bias_ih_l0'.*expected an array of floats, got object"),
        ("nowhere.safetensors", {}, "nowhere.safetensors"),
    ],
)
def test_what_is_no_gru_is_refused(state_dict, options, message):
    with pytest.raises((TypeError, ValueError, OSError), match=message):
        interop.from_torch(state_dict, **options)


PARAMS = interop.from_torch(WEIGHTS)[1]


@pytest.mark.parametrize(
    ("cell", "params", "options", "message"),
    [
        (gru_jax.lstm(), PARAMS, {}, "cell: expected gru_jax.gru.*got 'lstm'"),
        ("gru", PARAMS, {}, "cell: expected gru_jax.gru.*got str"),
        (gru_jax.gru(reset_after=False), PARAMS, {}, "PyTorch computes reset_after=True, this cell reset_after=False"),
        (gru_jax.gru(), 3, {}, "params: expected params.layer..direction., .* got int"),
        (
            gru_jax.gru(),
            ((gru_jax.RNNParams(1, 2, 3, 4),),),
            {},
            r"params\[0\]\[0\]: expected GRUParams, got RNNParams",
        ),
        (gru_jax.gru(), (), {}, "params: expected params.layer..direction., .* got tuple"),
        (gru_jax.gru(), PARAMS[0], {}, "params: expected params.layer..direction., .* got tuple"),
        (
            gru_jax.gru(),
            (PARAMS[0], PARAMS[1][:1]),
            {},
            r"params\[1\]: expected 2 directions, as params\[0\] has, got 1",
        ),
        (gru_jax.gru(), (PARAMS[1], PARAMS[0]), {}, r"params\[1\]\[0\].*w_i"),
        (gru_jax.gru(), PARAMS, {"bias": False}, r"params\[0\]\[0\].b_i: expected zeros, .* pass bias=True"),
        (gru_jax.gru(), PARAMS, {"bias": 0}, "bias: expected True or False, got 0"),
        (gru_jax.gru(), PARAMS, {"module": "GRUCell"}, "torch.nn.GRUCell holds 1 layer, got 2"),
        (gru_jax.gru(), PARAMS[:1], {"module": "GRUCell"}, "torch.nn.GRUCell holds 1 direction, got 2"),
        (gru_jax.gru(), PARAMS, {"module": "LSTM"}, "module: expected"),
        (gru_jax.gru(), ((PARAMS[0][0]._replace(b_i=np.zeros(3, np.float32)),),), {}, r"params\[0\]\[0\].*b_i"),
        (
            gru_jax.gru(),
            ((PARAMS[0][0]._replace(b_i=np.zeros(12, np.float64)),),),
            {},
            "expected float32, .* got float64",
        ),
    ],
)
def test_what_torch_cannot_hold_is_refused(cell, params, options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        interop.to_torch(cell, params, **options)


def test_layers_of_several_widths_are_refused():
    shapes = jax.eval_shape(lambda: gru_jax.init_layers(gru_jax.gru(), jax.random.key(0), 3, (4, 5)))
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    with pytest.raises(ValueError, match=r"holds layers of one width, got \[4, 5\]; convert them one by one"):
        interop.to_torch(gru_jax.gru(), params)
