"""Every kind of model in narrow dtypes: what is rounded, what stays in float32, and how near it is."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from experiments.models.precision import conv, dense
from experiments.tasks.inputs import Frames, MeasuredFeatures, Sentences, Tokens, Vectors
from experiments.training import losses
from tests.experiments.export.made_models import LENGTHS, STEPS, made, task_of

SENTENCES = task_of(Sentences(5, 4, start=0, end=1, max_steps=3), per_step=True, outputs=4)
FILM = task_of(Frames(4, 4, 1), per_step=True, loss="squared_error", outputs=16)
CASES = {
    "tokens, one-hot, every": (task_of(Tokens(5), per_step=True), {"num_layers": 2, "dropout_rate": 0.2}),
    "tokens, embedded, last": (task_of(Tokens(5)), {"cell": "lstm", "input_features": 3}),
    "vectors, mean": (task_of(Vectors(2)), {"cell": "rnn", "readout": "mean", "bidirectional": True}),
    "vectors, attention": (task_of(Vectors(2)), {"cell": "min_gru", "readout": "attention"}),
    "measurements": (task_of(MeasuredFeatures(2), loss="bernoulli", outputs=1), {"cell": "gru_d"}),
    "members": (task_of(Vectors(2)), {"readout": "attention", "members": 2}),
    "sentences, embedded": (SENTENCES, {"input_features": 3, "bidirectional": True, "beam_size": 2}),
    "sentences, one-hot": (SENTENCES, {"attention": "dot_product", "cell": "lstm"}),
    "places": (FILM, {"cell": {"name": "conv_gru", "patch_size": 2}, "input_features": 3}),
    "places, mean": (
        task_of(Frames(4, 4, 1)),
        {"cell": {"name": "conv_gru", "patch_size": 2, "pool_size": 2}, "readout": "mean", "input_features": 3},
    ),
    "whole frames": (FILM, {"cell": "gru", "input_features": 3}),
}
METHODS = {
    "tokens, one-hot, every": "advance",
    "vectors, attention": "pooled",
    "members": "pooled",
    "sentences, embedded": "translate",
    "sentences, one-hot": "translate",
    "places": "forecast",
    "whole frames": "forecast",
}


def targets_of(task):
    steps = STEPS - 1 if task is SENTENCES else STEPS
    rows = (len(LENGTHS), steps) if task.per_step else (len(LENGTHS),)
    if task.loss == "cross_entropy":
        return jnp.zeros(rows, jnp.int32)
    return jnp.ones((*rows, task.outputs), jnp.float32)


def lengths_of(task):
    return None if isinstance(task.inputs, Frames) else LENGTHS


def given_to(method, case, inputs):
    return (inputs,) if method in ("advance", "forecast") else (inputs, lengths_of(CASES[case][0]))


def learned(case, dtype):
    """Outputs, and the loss with its gradients, of a training batch."""
    task, config = CASES[case]
    model, params, inputs = made(task, dtype=dtype, **config)
    targets, rngs = targets_of(task), {"dropout": jax.random.key(0)}

    def loss(params):
        outputs = model.apply(params, inputs, lengths_of(task), deterministic=False, rngs=rngs)
        weights = jnp.ones(outputs.shape[:2] if task.per_step else outputs.shape[:1], jnp.float32)
        return losses.mean_loss(task.loss, outputs, targets, weights), outputs

    (value, outputs), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    return outputs, value, grads


@pytest.fixture(autouse=True)
def strict():
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


@pytest.mark.parametrize(
    ("case", "dtype"),
    [(case, "bfloat16") for case in CASES]
    + [(case, "float16") for case in ("tokens, embedded, last", "sentences, one-hot", "places")],
)
def test_a_step_in_a_narrow_dtype_is_near_one_in_float32(case, dtype):
    """And not the same: it would be if the dtype reached nothing. Outputs and gradients are float32."""
    off = {"bfloat16": 2e-2, "float16": 3e-3}[dtype]
    found, wanted = learned(case, dtype), learned(case, "float32")
    for one, reference in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert one.dtype == jnp.float32
        assert np.isfinite(one).all()
        np.testing.assert_allclose(one, reference, rtol=0, atol=off * max(1, np.abs(reference).max()))
    assert not np.array_equal(found[0], wanted[0])


@pytest.mark.parametrize("case", METHODS)
def test_other_methods_give_float32_too(case):
    task, config = CASES[case]
    model, params, inputs = made(task, dtype="bfloat16", **config)
    call = jax.jit(lambda *given: model.apply(params, *given, method=METHODS[case]))
    found = call(*given_to(METHODS[case], case, inputs))
    dtypes = {str(leaf.dtype) for leaf in jax.tree.leaves(found)}
    assert dtypes == ({"float32", "int32"} if METHODS[case] == "translate" else {"float32"})


@pytest.mark.parametrize("case", CASES)
def test_products_run_in_the_dtype_and_parameters_do_not(case):
    """Every product of matrices multiplies bfloat16, but for that of a GRU-D's gaps; all parameters are float32."""
    task, config = CASES[case]
    # Programs of "scan" show all of their products.
    model, params, inputs = made(task, dtype="bfloat16", backend="scan", **config)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    made_by_init = jax.eval_shape(model.init, jax.random.key(0), inputs)
    assert {leaf.dtype for leaf in jax.tree.leaves(made_by_init)} == {jnp.dtype("float32")}
    for method in {"__call__", METHODS.get(case, "__call__")}:
        call = jax.make_jaxpr(lambda *given, method=method: model.apply(*given, method=method))
        products = [
            {str(variable.aval.dtype) for variable in equation.invars}
            for equation in equations(call(params, *given_to(method, case, inputs)).jaxpr)
            if multiplies_matrices(equation)
        ]
        assert products.count({"bfloat16"}) >= 2
        assert len(products) - products.count({"bfloat16"}) == (1 if case == "measurements" else 0)


def multiplies_matrices(equation):
    """Not where one is a vector, such as what attention judges by: vectors are float32 in gru_jax, too."""
    if equation.primitive.name != "dot_general":
        return equation.primitive.name == "conv_general_dilated"
    _, batch = equation.params["dimension_numbers"]
    return all(len(v.aval.shape) - len(axes) > 1 for v, axes in zip(equation.invars, batch, strict=True))


def equations(jaxpr):
    for equation in jaxpr.eqns:
        yield equation
        for below in jaxprs_in_params(equation.params):
            yield from equations(below)


def test_float32_is_what_flax_has():
    """The very layers, so that nothing is computed otherwise."""
    assert dense(3, None) == nn.Dense(3)
    assert conv(3, (3, 3), None) == nn.Conv(3, (3, 3))
    for case, (task, config) in CASES.items():
        model, params, inputs = made(task, dtype="float32", **config)
        call = jax.make_jaxpr(lambda params, m=model, i=inputs, t=task: m.apply(params, i, lengths_of(t)))(params)
        dtypes = {str(v.aval.dtype) for equation in equations(call.jaxpr) for v in equation.outvars}
        assert not dtypes & {"bfloat16", "float16"}, case


@pytest.mark.parametrize("made_in", ["bfloat16", "float16"])
def test_gradients_of_many_places_are_summed_in_float32(made_in):
    """Of a bias: 4097/1024, which no narrow float has, however its sum was made."""
    xs = jnp.full((4097, 1), 0.5, jnp.float32)
    layer = dense(1, jnp.dtype(made_in))
    params = layer.init(jax.random.key(0), xs)
    grads = jax.jit(jax.grad(lambda params: layer.apply(params, xs).sum() / 1024))(params)["params"]
    np.testing.assert_allclose(grads["bias"], [4097 / 1024], rtol=1e-6)
    np.testing.assert_allclose(grads["kernel"], [[2]], rtol=1e-2)


def test_gradients_of_a_frequent_token_are_summed_in_float32():
    task, tokens = task_of(Tokens(5), per_step=True), jnp.zeros((64, 64), jnp.int32)

    def gradient(dtype):
        model, params, _ = made(task, dtype=dtype, input_features=3)
        loss = jax.jit(jax.grad(lambda params: model.apply(params, tokens).mean()))
        return loss(params)["params"]["input_layer"]["embedding"][0]

    np.testing.assert_allclose(gradient("bfloat16"), gradient("float32"), rtol=1e-2)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_mean_over_many_steps_counts_them_exactly(dtype):
    """bfloat16 has no 257, and would take 256 for it."""
    task = task_of(Vectors(2))
    model, params, _ = made(task, dtype=dtype, readout="mean")
    same, _, _ = made(task, dtype=dtype, readout="every")
    xs = jnp.asarray(np.random.default_rng(0).standard_normal((1, 257, 2)), jnp.float32)
    every = jax.jit(lambda xs: same.apply(params, xs))(xs)
    mean = jax.jit(lambda xs: model.apply(params, xs))(xs)
    np.testing.assert_allclose(mean, every.mean(axis=1), rtol=0, atol=1e-3)
