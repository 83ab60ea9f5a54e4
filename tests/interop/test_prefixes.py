"""Prefixes that messages advise work, whatever is around the GRU."""

import ast
import re

import flax.linen as linen
import flax.nnx as nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gru_jax import interop

RNG = np.random.default_rng(0)
XS = jnp.ones((2, 5, 3))


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def state_dict(gates=3, inputs=3, place="_l0"):
    shapes = {
        "weight_ih": (4 * gates, inputs),
        "weight_hh": (4 * gates, 4),
        "bias_ih": (4 * gates,),
        "bias_hh": (4 * gates,),
    }
    return {f"{name}{place}": normal(*shape) for name, shape in shapes.items()}


def under(prefix, arrays):
    return {f"{prefix}{key}": value for key, value in arrays.items()}


def haiku(inputs=3, gates=3):
    return {"w_i": normal(inputs, 4 * gates), "w_h": normal(4, 4 * gates), "b": normal(4 * gates)}


class TwoRNNs(linen.Module):
    """The names that cells get from within."""

    widths: tuple[int, int]
    both: bool = False

    @linen.compact
    def __call__(self, xs):
        one, other = (linen.RNN(linen.GRUCell(width)) for width in self.widths)
        return linen.Bidirectional(one, other)(xs) if self.both else other(one(xs))


def of_linen(module):
    shapes = jax.eval_shape(module.init, jax.random.key(0), XS)
    return jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), shapes)


def of_nnx(*inputs):
    return [nnx.RNN(nnx.GRUCell(i, 4, rngs=nnx.Rngs(0))) for i in inputs]


BIDIRECTIONAL = linen.Bidirectional(linen.RNN(linen.GRUCell(4)), linen.RNN(linen.GRUCell(4)))
PAIR = "[['{}forward_rnn/cell', '{}backward_rnn/cell']]"
# What is converted, by what, and what the message advises; the first is tried here as well.
ADVISED = {
    "torch, inside": ("torch", under("rnn.", state_dict()) | {"head.weight": normal(2, 4)}, ["'rnn.'"]),
    "torch, DataParallel": ("torch", under("module.", state_dict()), ["'module.'"]),
    "torch, compiled": ("torch", under("_orig_mod.encoder.", state_dict()), ["'_orig_mod.encoder.'"]),
    "torch, cells": (
        "torch",
        under("a.0.", state_dict(place="")) | under("a.1.", state_dict(place="")),
        ["'a.0.' or 'a.1.'"],
    ),
    "torch, beside an LSTM": ("torch", under("a.", state_dict(4)) | under("b.", state_dict()), ["'b.'"]),
    "torch, weight norm": (
        "torch",
        {"rnn.weight_hh_l0_g": normal(12, 1), "rnn.weight_hh_l0_v": normal(12, 4)}
        | {k: v for k, v in under("rnn.", state_dict()).items() if "weight_hh" not in k},
        ["'rnn.'"],
    ),
    "linen, Bidirectional": (
        "linen",
        of_linen(BIDIRECTIONAL),
        [PAIR.format("params/", "params/"), "both directions of the layer"],
    ),
    "nnx, Bidirectional": ("nnx", nnx.Bidirectional(*of_nnx(3, 3)), [PAIR.format("", "")]),
    "nnx, its state": ("nnx", nnx.state(nnx.Bidirectional(*of_nnx(3, 3)), nnx.Param), [PAIR.format("", "")]),
    "nnx, layers of it": (
        "nnx",
        nnx.List([nnx.Bidirectional(*of_nnx(3, 3)), nnx.Bidirectional(*of_nnx(8, 8))]),
        ["[['0/forward_rnn/cell', '0/backward_rnn/cell'], ['1/forward_rnn/cell', '1/backward_rnn/cell']]"],
    ),
    "linen, from within": (
        "linen",
        of_linen(TwoRNNs((4, 4), both=True)),
        ["'params/GRUCell_0' or 'params/GRUCell_1'", "[['params/GRUCell_0', 'params/GRUCell_1']] for two directions"],
    ),
    "linen, a stack": (
        "linen",
        of_linen(TwoRNNs((4, 5))),
        ["'params/GRUCell_0' or", "['params/GRUCell_0', 'params/GRUCell_1'] for layers of one stack"],
    ),
    "nnx, a stack and more": (
        "nnx",
        nnx.Dict(layers=nnx.List(of_nnx(3, 4)), head=nnx.Linear(4, 2, rngs=nnx.Rngs(0))),
        ["['layers/0/cell', 'layers/1/cell'] for layers"],
    ),
    "haiku, beside an LSTM": ("haiku", {"lstm": haiku(gates=4), "gru": haiku()}, ["'gru'"]),
    "haiku, a stack": (
        "haiku",
        {"gru": haiku(), "gru_1": haiku(4), "gru_10": haiku(4)},
        ["['gru', 'gru_1', 'gru_10'] for layers"],
    ),
}


@pytest.mark.parametrize("name", ADVISED)
def test_what_is_advised_works(name):
    family, tree, words = ADVISED[name]
    convert = getattr(interop, f"from_{family}")
    with pytest.raises(ValueError, match="pass prefix=") as told:
        convert(tree)
    assert [word for word in words if word not in str(told.value)] == []
    lists = re.findall(r"prefix=(\[.*?\]+)(?= for|, both)", str(told.value))
    advised = lists + re.findall(r"(?:prefix=| or )('[^']*')", str(told.value))
    assert advised
    for prefix in advised:
        assert convert(tree, prefix=ast.literal_eval(prefix))[0].name == "gru"


def test_what_does_not_fit_is_not_advised():
    """A stack is no layer of two directions, nor the other way round where widths differ."""
    with pytest.raises(ValueError, match="pass prefix=") as told:
        interop.from_linen(of_linen(TwoRNNs((4, 5))))
    assert "two directions" not in str(told.value)
    with pytest.raises(ValueError, match="pass prefix=") as told:
        interop.from_linen(of_linen(TwoRNNs((4, 4), both=True)))
    assert "one stack" not in str(told.value)


@pytest.mark.parametrize("key", ["my_weight_hh_l0", "weight_hh_l0x", "weight_hh_lx", "rnn.lweight_hh_l0"])
def test_names_that_only_end_alike_are_not_advised(key):
    with pytest.raises(ValueError, match=r"pass the state dict of a torch.nn.GRU"):
        interop.from_torch({key: normal(12, 4)})


def test_where_nothing_works_the_reason_is_told():
    with pytest.raises(ValueError, match=r"with prefix='rnn.' .*the weights of an LSTM") as told:
        interop.from_torch(under("rnn.", state_dict(4)))
    assert "pass prefix" not in str(told.value)
    with pytest.raises(ValueError, match=r"what looks like one, 'a', is none: .*missing 'a/dense_h/kernel'|missing"):
        interop.from_nnx({"a": {"dense_h": {"kernel": normal(4, 12)}}, "b": normal(3)})


WEIGHT = normal(12, 4)
PLAIN = {key: value for key, value in state_dict().items() if "weight_hh" not in key}
ROWS = WEIGHT / np.sqrt(np.sum(WEIGHT.astype(np.float64) ** 2, axis=1, keepdims=True))
G = normal(12, 1)
WRAPPED = {
    "weight norm": ({"weight_hh_l0_g": G, "weight_hh_l0_v": WEIGHT}, G * ROWS),
    "a parametrization": (
        {"parametrizations.weight_hh_l0.original0": G, "parametrizations.weight_hh_l0.original1": WEIGHT},
        G * ROWS,
    ),
    "of all": ({"weight_hh_l0_g": np.float32(2), "weight_hh_l0_v": WEIGHT}, 2 * WEIGHT / np.linalg.norm(WEIGHT)),
    "of columns": (
        {"weight_hh_l0_g": G[:4].T, "weight_hh_l0_v": WEIGHT},
        G[:4].T * WEIGHT / np.linalg.norm(WEIGHT, axis=0),
    ),
    "pruned": (
        {"weight_hh_l0_orig": WEIGHT, "weight_hh_l0_mask": (WEIGHT > 0).astype(np.float32)},
        np.maximum(WEIGHT, 0),
    ),
}


@pytest.mark.parametrize("prefix", ["", "rnn."])
@pytest.mark.parametrize("name", WRAPPED)
def test_weights_of_torch_that_are_computed(name, prefix):
    parts, expected = WRAPPED[name]
    _, params = interop.from_torch(under(prefix, PLAIN | parts), prefix=prefix)
    np.testing.assert_allclose(np.asarray(params[0][0].w_h).T, expected, rtol=1e-6)


SPECTRAL = {"weight_hh_l0_orig": WEIGHT, "weight_hh_l0_u": normal(12), "weight_hh_l0_v": normal(4)}
NEW_SPECTRAL = {f"parametrizations.weight_hh_l0.{part}": WEIGHT for part in ("original", "0._u", "0._v")}
REFUSED = {
    "spectral norm": (
        SPECTRAL,
        r"weight_hh_l0_\w+' of spectral norm, .*remove_spectral_norm\(module, 'weight_hh_l0'\)",
    ),
    "spectral norm anew": (NEW_SPECTRAL, r"of a parametrization, .*remove_parametrizations\(module, 'weight_hh_l0'\)"),
    "half of weight norm": ({"weight_hh_l0_g": G}, r"found '(rnn\.)?weight_hh_l0_g', parts of a wrapped weight"),
    "another norm": ({"weight_hh_l0_g": G[:4], "weight_hh_l0_v": WEIGHT}, r"a norm for each row .*got shape \(4, 1\)"),
    "both": (
        WRAPPED["pruned"][0] | {"weight_hh_l0": WEIGHT},
        r"expected '(rnn\.)?weight_hh_l0' alone or its parts .*, got both",
    ),
    "another mask": ({"weight_hh_l0_orig": WEIGHT, "weight_hh_l0_mask": G}, r"the shape of its mask, \(12, 1\)"),
}


@pytest.mark.parametrize("prefix", ["", "rnn."])
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrapped_otherwise_says_how_to_unwrap_it(name, prefix):
    parts, message = REFUSED[name]
    tensors = under(prefix, PLAIN | parts)
    for given in {"", prefix}:
        with pytest.raises(ValueError, match=message) as told:
            interop.from_torch(tensors, prefix=given)
        assert "pass prefix=" not in str(told.value)


@pytest.mark.parametrize("inside", ["0.module.", "0."])
def test_wrappers_that_drop_weights(inside):
    """They may leave the weights of one step, some of them 0, where the weights were."""
    tensors = under("0.module.", PLAIN | {"weight_hh_l0": WEIGHT * (WEIGHT > 0)} if inside == "0." else PLAIN)
    tensors[f"{inside}weight_hh_l0_raw"] = WEIGHT
    for prefix in ("", "0.module."):
        with pytest.raises(ValueError, match="of a wrapper that drops weights") as told:
            interop.from_torch(tensors, prefix=prefix)
    # What the message says to do.
    move, advised = re.search(r"(state_dict\[.*?\] = .*?\)), each.*prefix=('[^']*')", str(told.value)).groups()
    exec(move, {"state_dict": tensors})
    _, params = interop.from_torch(tensors, prefix=ast.literal_eval(advised))
    np.testing.assert_array_equal(np.asarray(params[0][0].w_h).T, WEIGHT)


def test_quantised_modules():
    for prefix in ("", "rnn."):
        with pytest.raises(ValueError, match="of a quantised module; convert the module that it was made from"):
            interop.from_torch(under(prefix, {"_all_weight_values.0.param": object(), "scale": 1.0}))
