"""Which backend runs a model, and the sizes that it is chosen by against those that the first layer is given."""

import flax.linen as nn
import jax
import numpy as np
import pytest

import gru_jax
import gru_jax.linen
from experiments.models.backend import backend_taken, first_layer
from experiments.system.errors import UserError
from experiments.tasks.inputs import Frames, MeasuredFeatures, Sentences, Tokens, Vectors
from tests.experiments.export.made_models import made, task_of

CASES = {
    "tokens": (task_of(Tokens(5)), {"features": [4, 3]}),
    "embedded": (task_of(Tokens(5), per_step=True), {"input_features": 3, "bidirectional": True}),
    "judged": (task_of(Tokens(5)), {"readout": "attention"}),
    "vectors": (task_of(Vectors(2)), {"num_layers": 2}),
    "measurements": (task_of(MeasuredFeatures(2), loss="bernoulli", outputs=1), {"cell": "gru_d"}),
    "members": (task_of(Vectors(2)), {"members": 2}),
    "sentences": (task_of(Sentences(5, 7, start=0, end=1, max_steps=3), per_step=True, outputs=7), {}),
    "frames": (task_of(Frames(4, 2, 1)), {"dtype": "bfloat16"}),
}


def calls(model, params, inputs):
    """The recurrent modules that a step of training calls, each with the shape of its first input."""
    given = []

    def look(call, arguments, options, context):
        layers = isinstance(context.module, gru_jax.linen.GRU | gru_jax.linen.EncoderDecoder)
        if layers and context.method_name == "__call__":
            given.append((context.module, jax.tree.leaves(arguments)[0].shape))
        return call(*arguments, **options)

    with nn.intercept_methods(look):
        jax.eval_shape(lambda: model.apply(params, inputs, deterministic=False, rngs={"dropout": jax.random.key(0)}))
    return given


@pytest.mark.parametrize("name", CASES)
def test_the_sizes_are_those_of_the_first_layer(name):
    task, config = CASES[name]
    model, params, inputs = made(task, judged=name == "judged", **config)
    layer = first_layer(model, inputs)
    ((_, (rows, steps, width)),) = calls(model, params, inputs)
    assert layer.shape == (steps, rows, width, 4)
    assert (layer.cell.name, layer.backend) == (config.get("cell", "gru"), "auto")
    assert layer.dtype == config.get("dtype", "float32")
    assert str(layer) == f"(T, B, I, H) = {layer.shape} in {layer.dtype}"


def test_places_of_frames_have_no_such_sizes():
    config = {"cell": {"name": "conv_gru", "patch_size": 2}, "dtype": "float16"}
    model, _, inputs = made(task_of(Frames(4, 4, 1)), **config)
    layer = first_layer(model, inputs)
    assert (layer.shape, str(layer)) == (None, "places of frames in float16")
    assert backend_taken(layer) == "scan"


def test_the_backend_is_the_one_that_gru_jax_takes():
    task = task_of(Vectors(2))
    for config, expected in [
        ({"cell": "lstm"}, "scan"),
        ({"cell": "gru"}, gru_jax.backend_for(gru_jax.gru())),
        ({"backend": "scan"}, "scan"),
        ({"backend": "fused", "members": 2}, "fused"),
    ]:
        model, _, inputs = made(task, **config)
        assert backend_taken(first_layer(model, inputs)) == expected


def test_a_backend_that_cannot_run_the_model_is_a_mistake_of_the_config():
    model, _, inputs = made(task_of(Vectors(2)), cell="lstm")
    layer = first_layer(model, inputs)._replace(backend="fused")
    with pytest.raises(UserError, match=r'^model\.backend: "fused" cannot run the cell .*backend="auto"'):
        backend_taken(layer)


@pytest.mark.parametrize("name", ["tokens", "members", "sentences", "frames"])
def test_a_backend_by_name_reaches_the_layers(name):
    task, config = CASES[name]
    found = {}
    for backend in ("scan", "fused"):
        model, params, inputs = made(task, backend=backend, **config)
        ((module, _),) = calls(model, params, inputs)
        assert module.backend == backend
        found[backend] = jax.jit(lambda params, m=model, i=inputs: m.apply(params, i))(params)
    np.testing.assert_allclose(found["scan"], found["fused"], rtol=0, atol=2e-2 if "dtype" in config else 1e-5)
