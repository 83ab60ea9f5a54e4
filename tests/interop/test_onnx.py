"""Tensors of the ONNX GRU operator, against what onnxruntime computed with them."""

import numpy as np
import pytest

import gru_jax
from gru_jax import interop
from tests.interop.file_cases import some_params
from tests.interop.weight_cases import load, run, same_bits, worst

CASES = load("onnx")


def told(name):
    direction = name.split("-")[0]
    known = direction in ("forward", "reverse", "bidirectional")
    return {
        "direction": direction if known else "bidirectional",
        "linear_before_reset": int("-after" in name),
    }


@pytest.mark.parametrize("backend", ["scan", "fused"])
@pytest.mark.parametrize("name", CASES)
def test_a_node_computes_what_onnxruntime_did(name, backend):
    case, how = CASES[name], told(name)
    cell, params = interop.from_onnx(**case.under("weights"), **how)
    options = {"seq_lengths": case["lengths"]} if "lengths" in case else {}
    final, ys = run(
        cell,
        params,
        case["xs"],
        (tuple(case["initial"]),),
        backend=backend,
        reverse=how["direction"] == "reverse",
        **options,
    )
    # (T, D, B, H) there.
    expected = np.concatenate(list(np.moveaxis(case["ys"], 1, 0)), axis=-1)
    tolerance = 5e-5 if "saturated" in name else 2e-6
    assert worst(ys, expected) < tolerance
    # Of a row of length 0 gru_jax promises the initial carry; onnxruntime says 0.
    lengths = case.get("lengths", np.full(case["xs"].shape[1], len(case["xs"])))
    promised = np.where((lengths > 0)[:, None], case["final"], case["initial"])
    assert worst(final, (tuple(promised),)) < tolerance


@pytest.mark.parametrize("name", CASES)
def test_and_back_to_the_bit(name):
    weights = CASES[name].under("weights")
    back = interop.to_onnx(*interop.from_onnx(**weights, **told(name)), bias="B" in weights)
    assert same_bits(back, weights)


ONE = CASES["forward-after-bias"].under("weights")
TWO = CASES["bidirectional-before-bias"].under("weights")


@pytest.mark.parametrize(
    ("changed", "options", "message"),
    [
        (
            {},
            {"direction": "backward"},
            "direction: expected one of 'forward', 'reverse', 'bidirectional', got 'backward'",
        ),
        (
            {},
            {"direction": "bidirectional"},
            r"W: expected shape \(2, 3H, I\) with direction='bidirectional', got \(1,",
        ),
        ({}, {"linear_before_reset": 2}, "linear_before_reset: expected 0 or 1, got 2"),
        ({}, {"linear_before_reset": np.array([0, 1])}, "linear_before_reset: expected 0 or 1, got array"),
        ({}, {"activations": 3}, "activations: expected .*, got 3; .* no weights fit"),
        ({}, {"activations": ["Sigmoid", "Swish"]}, r"activations: expected 2 of Sigmoid, Tanh, .*, got .*Swish"),
        ({}, {"clip": 3.0}, "clip: expected None, got 3.0; .* does not clip"),
        ({"W": ONE["W"][0]}, {}, r"W: expected shape \(1, 3H, I\) .*, got \(12, 2\)"),
        ({"R": ONE["R"][:, :, :3]}, {}, r"^R\[0\]: expected shape \(3H, H\).*got \(12, 3\)"),
        ({"B": ONE["B"][:, :12]}, {}, r"^B\[0, :3H\]: expected shape \(12,\), got \(6,\)"),
        ({"B": ONE["B"][0]}, {}, r"B: expected shape \(1, 6H\).*, got \(24,\)"),
        ({"B": ONE["B"].astype(np.float64)}, {}, "expected float32, .* got float64"),
        ({"W": None}, {}, "W: expected an array"),
    ],
)
def test_what_is_no_gru_is_refused(changed, options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        interop.from_onnx(**(ONE | changed), **options)


def test_activations_that_are_the_default_may_be_said():
    cell, params = interop.from_onnx(**TWO, direction="bidirectional", activations=["Sigmoid", "tanh"] * 2)
    assert cell.options == gru_jax.GRUOptions(reset_after=False, update_gate="keep")
    assert same_bits(interop.to_onnx(cell, params), TWO)


def test_what_a_node_cannot_hold_is_refused():
    params = some_params(gru_jax.gru(), num_layers=2)
    with pytest.raises(ValueError, match="an ONNX GRU node holds 1 layer, got 2"):
        interop.to_onnx(gru_jax.gru(), params)
    with pytest.raises(ValueError, match="expected zeros, as ONNX is to hold no biases"):
        interop.to_onnx(*interop.from_onnx(**ONE, linear_before_reset=1), bias=False)
