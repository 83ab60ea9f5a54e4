"""Weights of Keras, against what keras.layers.GRU and Bidirectional computed with them."""

import jax
import numpy as np
import pytest

import gru_jax
from gru_jax import interop
from tests.cases import relative_error
from tests.interop.file_cases import some_params
from tests.interop.weight_cases import load, run, same_bits, worst

CASES = load("keras")
BACKENDS = pytest.mark.parametrize("backend", ["scan", "fused"])


def told(name):
    """How the layer was made."""
    return {"reset_after": "-after-" in name, "bidirectional": name.startswith("bidirectional")}


def listed(weights):
    return [weights[str(i)] for i in range(len(weights))]


def time_major(a):
    return np.moveaxis(a, 0, 1)


def states(array, bidirectional):
    return (tuple(array) if bidirectional else (array,),)


def weights_of_outputs(case, bidirectional):
    """w_ys, time-major, as outputs that are 0 in the padding see it.

    Keras's GRU repeats a row's last output there, so its weights add up at the last valid step; Bidirectional gives 0.
    """
    w_ys = time_major(case["w_ys"])
    if "lengths" not in case:
        return w_ys
    moved = np.where(valid(case), w_ys, 0)
    for row, length in enumerate(case["lengths"]):
        if not bidirectional:
            moved[length - 1, row] += w_ys[length:, row].sum(axis=0)
    return moved


def valid(case):
    steps = np.arange(case["xs"].shape[1])
    return (steps[:, None] < case["lengths"])[..., None]


@BACKENDS
@pytest.mark.parametrize("name", [name for name in CASES if "saturated" not in name])
def test_a_layer_computes_what_keras_did(name, backend, x64):
    case, how = CASES[name], told(name)
    both = how["bidirectional"]
    double = case["xs"].dtype == np.float64
    cell, params = interop.from_keras(listed(case.under("weights")), **how)
    results, gradients = run(
        cell,
        params,
        time_major(case["xs"]),
        states(case["initial"], both),
        weights=(states(case["w_final"], both), weights_of_outputs(case, both)),
        backend=backend,
        **({"seq_lengths": case["lengths"]} if "lengths" in case else {}),
    )
    final, ys = results
    expected = time_major(case["ys"])
    if "lengths" in case and not both:
        expected = np.where(valid(case), expected, 0)
    assert worst((final, ys), (states(case["final"], both), expected)) < (1e-12 if double else 2e-6)
    by_weights = interop.to_keras(cell, in_one_bias(cell, gradients[0]))
    expected = (
        listed(case.under("gradient/weights")),
        time_major(case["gradient/xs"]),
        states(case["gradient/initial"], both),
    )
    assert relative_error((by_weights, *gradients[1:]), expected) < (1e-11 if double else 1e-5)


def in_one_bias(cell, gradients):
    """Where Keras has one bias, its gradient is that of either of ours, not of both: to_keras would add them up."""
    if cell.options.reset_after:
        return gradients
    return tuple(tuple(p._replace(b_h=None) for p in layer) for layer in gradients)


@BACKENDS
@pytest.mark.parametrize("name", [name for name in CASES if "saturated" in name])
def test_saturated_gates(name, backend):
    case, how = CASES[name], told(name)
    cell, params = interop.from_keras(listed(case.under("weights")), **how)
    final, ys = run(cell, params, time_major(case["xs"]), states(case["initial"], False), backend=backend)
    assert worst((final, ys), (states(case["final"], False), time_major(case["ys"]))) < 5e-5


@pytest.mark.parametrize("name", CASES)
def test_and_back_to_the_bit(name, x64):
    weights = listed(CASES[name].under("weights"))
    back = interop.to_keras(*interop.from_keras(weights, **told(name)), bias="nobias" not in name)
    assert same_bits(dict(enumerate(back)), dict(enumerate(weights)))


def test_two_biases_become_one_where_keras_has_one(x64):
    """The sum is the same function, as nothing stands between the two."""
    cell, rng = gru_jax.gru(reset_after=False, update_gate="write"), np.random.default_rng(0)
    shapes = ((3, 12), (4, 12), (12,), (12,))
    params = (tuple(gru_jax.GRUParams(*(rng.normal(size=shape) for shape in shapes)) for _ in range(2)),)
    weights = interop.to_keras(cell, params)
    assert [w.shape for w in weights] == [(3, 12), (4, 12), (12,)] * 2
    xs = rng.normal(size=(6, 2, 3))
    back = interop.from_keras(weights, reset_after=False, bidirectional=True)
    assert worst(run(cell, params, xs, None), run(*back, xs, None)) < 1e-12


AFTER = listed(CASES["gru-after-bias"].under("weights"))
BEFORE = listed(CASES["gru-before-bias"].under("weights"))
BARE = listed(CASES["gru-after-nobias"].under("weights"))


@pytest.mark.parametrize(
    ("weights", "options", "message"),
    [
        ({"kernel": AFTER[0]}, {}, "weights: expected a list of arrays, got dict"),
        (
            AFTER * 2,
            {},
            "weights: expected 2 or 3 arrays .*, got 6; pass bidirectional=True for a Bidirec.* one by one",
        ),
        (AFTER, {"bidirectional": True}, "weights: expected 4 or 6 arrays .*, got 3; pass bidirectional=False"),
        (AFTER[:1], {}, "weights: expected 2 or 3 arrays .*, got 1; pass what layer.get_weights"),
        (BEFORE, {}, r"weights\[2\], forward/bias: expected shape \(2, 3H\) .*; pass reset_after=False"),
        (AFTER, {"reset_after": False}, r"weights\[2\], forward/bias: expected shape \(3H,\).*; pass reset_after=True"),
        (AFTER, {"reset_after": 1}, "reset_after: expected True or False, got 1"),
        (AFTER, {"activation": np.ones(2)}, "activation: expected one of 'tanh', .*, got array"),
        (AFTER, {"activation": "softmax"}, "activation: expected one of 'tanh', .*, got 'softmax'; .* no weights fit"),
        (AFTER, {"recurrent_activation": "hard"}, "recurrent_activation: expected one of .*, got 'hard'"),
        ([BARE[0], BARE[1], BARE[1], BARE[1]], {}, "got 4; pass the weights of stacked layers one by one"),
        ([BARE[0], BARE[1][:, :8]], {}, r"forward/recurrent_kernel: expected shape \(H, 3H\).*got \(4, 8\)"),
        ([BARE[0][:, :9], BARE[1]], {}, r"forward/kernel: expected shape \(I, 12\), got \(2, 9\)"),
        ([*BARE, np.zeros((2, 9), np.float32)], {}, r"forward/bias\[0\]: expected shape \(12,\), got \(9,\)"),
        ([*BARE, np.zeros((2, 12))], {}, r"bias\[0\]: expected float32, .* got float64"),
        ([BARE[0], "a"], {}, r"weights\[1\], forward/recurrent_kernel: expected an array, got str"),
    ],
)
def test_what_is_no_gru_is_refused(weights, options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        interop.from_keras(weights, **options)


def test_what_keras_cannot_hold_is_refused():
    cell, params = gru_jax.gru(), some_params(gru_jax.gru(), num_layers=2)
    with pytest.raises(ValueError, match=r"keras.layers.GRU holds 1 layer, got 2; convert them one by one"):
        interop.to_keras(cell, params)
    with pytest.raises(TypeError, match=r"cell: expected gru_jax.gru.*got 'rnn'"):
        interop.to_keras(gru_jax.rnn(), params)
    with pytest.raises(ValueError, match="expected zeros, as Keras is to hold no biases"):
        interop.to_keras(*interop.from_keras(AFTER), bias=False)


def layer_of(name="GRU", module="keras.src.layers.rnn.gru", weights=AFTER, **config):
    """What a layer of Keras has that a converter may use."""
    told = {"reset_after": True, "activation": "tanh", "recurrent_activation": "sigmoid", "dtype": "float32"} | config
    kind = type(name, (), {"__module__": module, "get_weights": lambda self: weights, "get_config": lambda self: told})
    return kind()


def directions(merge_mode="concat", backward=None, **options):
    both = layer_of(**options).get_config(), layer_of(**({"go_backwards": True} | (backward or options))).get_config()
    configs = [{"class_name": "GRU", "config": config} for config in both]
    return layer_of(
        "Bidirectional", weights=AFTER * 2, merge_mode=merge_mode, layer=configs[0], backward_layer=configs[1]
    )


def test_layers_are_read_whole():
    """Checked with Keras 3.15.1 itself, too, whose layers have these attributes."""
    cell, params = interop.from_keras(layer_of(activation="relu", recurrent_activation="hard_sigmoid"))
    assert cell == gru_jax.gru(activation=jax.nn.relu, gate_activation=jax.nn.hard_sigmoid)
    assert same_bits(dict(enumerate(interop.to_keras(cell, params))), dict(enumerate(AFTER)))
    cell, _ = interop.from_keras(layer_of(reset_after=False, weights=BEFORE, go_backwards=False))
    assert cell == gru_jax.gru(reset_after=False, use_bias="input")
    assert len(interop.from_keras(directions())[1][0]) == 2


@pytest.mark.parametrize(
    ("layer", "options", "message"),
    [
        (layer_of(go_backwards=True), {}, r"go_backwards: expected it off, got True.*reverse=True"),
        (layer_of(stateful=True), {}, "stateful: expected it off, got True.* as carry"),
        (layer_of(dropout=0.5), {}, r"dropout: expected it off, got 0.5.*layer.get_weights\(\)"),
        (layer_of(recurrent_dropout=0.5), {}, "recurrent_dropout: expected it off, got 0.5"),
        (layer_of(dtype={"config": {"name": "mixed_bfloat16"}}), {}, "dtype: .*the policy 'mixed_bfloat16'"),
        (layer_of(activation="softmax"), {}, "activation: expected one of .*, got 'softmax'"),
        (layer_of(implementation=2, recurrent_activation="hard_sigmoid"), {}, "hard_sigmoid of Keras 2"),
        (layer_of("LSTM"), {}, r"or a Bidirectional around one, got keras.*LSTM"),
        (layer_of("GRU", "models"), {}, "got models.GRU; pass layer.get_weights"),
        (directions("sum"), {}, "merge_mode: expected 'concat', got 'sum'"),
        (directions(backward={"activation": "relu"}), {}, "expected two directions made alike"),
        (directions(backward={"go_backwards": False}), {}, "go_backwards: expected True of the backward layer"),
        (layer_of(), {"reset_after": False}, "reset_after: expected True, as the layer has it, got False"),
    ],
)
def test_layers_that_compute_something_else_are_refused(layer, options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        interop.from_keras(layer, **options)
