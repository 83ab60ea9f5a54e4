"""The model of a config: its shapes, its read-outs on ragged rows, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gru_jax
from experiments.config.schema import ModelConfig
from experiments.models.build import build_model
from experiments.tasks import Task
from experiments.tasks.inputs import Tokens, Vectors

CELLS = [
    "gru",
    {"name": "gru", "reset_after": False, "update_gate": "write", "update_bias": 1.0},
    {"name": "gru", "chrono_span": 50.0},
    {"name": "lstm", "forget_bias": 1.0},
    "rnn",
    "min_gru",
]


def task_of(inputs, per_step=False):
    return Task(
        name="toy",
        inputs=inputs,
        outputs=5,
        per_step=per_step,
        loss="cross_entropy",
        metrics=("accuracy",),
        floor={"accuracy": 0.2},
        floor_note="chance",
        train_batch=lambda seed, step, batch_size: None,
        split_batches=lambda split, batch_size: iter(()),
    )


TOKENS, VECTORS = task_of(Tokens(7)), task_of(Vectors(3))
STEPS = task_of(Tokens(7), per_step=True)


def data(task, batch=4, steps=9):
    rng = np.random.default_rng(0)
    if isinstance(task.inputs, Tokens):
        return jnp.array(rng.integers(task.inputs.vocabulary, size=(batch, steps)), jnp.int32)
    return jnp.array(rng.normal(size=(batch, steps, task.inputs.features)), jnp.float32)


def made(task, **config):
    model = build_model(ModelConfig.model_validate({"features": 6, **config}), task)
    return model, model.init(jax.random.key(0), data(task))


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_every_cell_gives_an_output_at_every_step(cell):
    model, variables = made(STEPS, cell=cell)
    outputs = model.apply(variables, data(STEPS))
    assert outputs.shape == (4, 9, 5)
    assert outputs.dtype == jnp.float32
    assert jnp.isfinite(outputs).all()
    assert jnp.std(outputs) > 0


@pytest.mark.parametrize("task", [TOKENS, VECTORS], ids=["tokens", "vectors"])
def test_a_task_of_one_target_a_sequence_reads_the_last_step_unless_told_otherwise(task):
    model, variables = made(task)
    assert model.readout == "last"
    assert model.apply(variables, data(task)).shape == (4, 5)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(
    ("readout", "cell"),
    [
        ("last", "gru"),
        ("mean", "gru"),
        ("attention", "gru"),
        ("every", "gru"),
        ("last", "lstm"),
        ("last", "min_gru"),
    ],
)
def test_a_padded_row_is_the_row_alone(readout, cell, bidirectional):
    task = STEPS if readout == "every" else VECTORS
    model, variables = made(task, cell=cell, num_layers=2, bidirectional=bidirectional, readout=readout)
    inputs, lengths = data(task, batch=3, steps=7), jnp.array([7, 3, 1], jnp.int32)
    outputs = jax.jit(model.apply)(variables, inputs, lengths)
    for row, length in enumerate([7, 3, 1]):
        alone = jax.jit(model.apply)(variables, inputs[row : row + 1, :length])[0]
        got = outputs[row, :length] if readout == "every" else outputs[row]
        np.testing.assert_allclose(got, alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("readout", ["last", "mean", "attention"])
def test_what_stands_in_the_padding_does_not_matter(readout):
    model, variables = made(VECTORS, bidirectional=True, readout=readout)
    inputs, lengths = data(VECTORS), jnp.array([9, 5, 1, 3], jnp.int32)
    padding = jnp.arange(9)[None, :, None] >= lengths[:, None, None]
    clean = model.apply(variables, inputs, lengths)
    spoilt = model.apply(variables, jnp.where(padding, 1e6, inputs), lengths)
    np.testing.assert_array_equal(clean, spoilt)


def test_last_is_the_last_step_and_mean_the_mean_of_every():
    """The read-out layer is linear, so the mean of its outputs is its output for the mean."""
    model, variables = made(VECTORS, num_layers=2)
    every = model.clone(readout="every").apply(variables, data(VECTORS))
    np.testing.assert_allclose(model.apply(variables, data(VECTORS)), every[:, -1], rtol=1e-6)
    mean = model.clone(readout="mean").apply(variables, data(VECTORS))
    np.testing.assert_allclose(mean, every.mean(axis=1), rtol=1e-5, atol=1e-6)


def test_attention_is_the_pooling_of_every():
    """The read-out layer is linear, and the weights of the pooling sum to one."""
    model, variables = made(VECTORS, bidirectional=True, readout="attention")
    inputs, lengths = data(VECTORS), jnp.array([9, 5, 1, 3], jnp.int32)
    every = model.clone(readout="every").apply(variables, inputs, lengths)
    _, ys = model.bind(variables).recurrent(inputs, seq_lengths=lengths)
    params = gru_jax.AttentionPoolingParams(**variables["params"]["pooling"])
    _, weights = gru_jax.attention_pooling(params, jnp.moveaxis(ys, 1, 0), seq_lengths=lengths)
    expected = jnp.einsum("tb,btc->bc", weights, every)
    np.testing.assert_allclose(model.apply(variables, inputs, lengths), expected, rtol=1e-5, atol=1e-6)
    assert params.w.shape == (12, 12)


def test_bidirectional_last_joins_what_each_direction_read_last():
    """Reversed inputs with the directions' parameters exchanged give the same features, exchanged."""
    model, variables = made(VECTORS, bidirectional=True)
    params = variables["params"]
    layer, kernel = params["recurrent"]["layer_0"], params["output_layer"]["kernel"]
    exchanged = {
        "params": {
            "recurrent": {"layer_0": {"forward": layer["backward"], "backward": layer["forward"]}},
            "output_layer": {**params["output_layer"], "kernel": jnp.concatenate([kernel[6:], kernel[:6]])},
        }
    }
    expected = model.apply(variables, data(VECTORS))
    np.testing.assert_allclose(model.apply(exchanged, data(VECTORS)[:, ::-1]), expected, rtol=1e-5, atol=1e-6)


def shapes_of(task, **config):
    model = build_model(ModelConfig.model_validate(config), task)
    variables = jax.eval_shape(model.init, jax.random.key(0), data(task))
    return jax.tree.map(jnp.shape, variables["params"])


def test_a_width_for_each_layer_and_the_input_layer():
    shapes = shapes_of(TOKENS, features=[8, 4], input_features=2, bidirectional=True)
    assert shapes["input_layer"] == {"embedding": (7, 2)}
    assert shapes["recurrent"]["layer_0"]["forward"]["w_i"] == (2, 24)
    assert shapes["recurrent"]["layer_1"]["backward"]["w_i"] == (16, 12)
    assert shapes["output_layer"]["kernel"] == (8, 5)
    assert shapes_of(VECTORS, features=8, input_features=2)["input_layer"]["kernel"] == (3, 2)


def test_tokens_without_an_input_layer_pick_rows_of_the_first_weights():
    """One-hot inputs through a table are the table's rows: an embedding of the identity changes nothing."""
    model, variables = made(TOKENS)
    embedded = model.clone(input_features=7)
    table = {"input_layer": {"embedding": jnp.eye(7)}}
    expected = embedded.apply({"params": {**variables["params"], **table}}, data(TOKENS))
    np.testing.assert_allclose(model.apply(variables, data(TOKENS)), expected, rtol=1e-6)


def test_dropout_follows_its_key_and_only_acts_when_asked():
    model, variables = made(VECTORS, num_layers=2, dropout_rate=0.5)
    plain, _ = made(VECTORS, num_layers=2)

    def dropped(seed):
        key = {"dropout": jax.random.key(seed)}
        return model.apply(variables, data(VECTORS), deterministic=False, rngs=key)

    np.testing.assert_array_equal(dropped(1), dropped(1))
    assert not np.array_equal(dropped(1), dropped(2))
    np.testing.assert_array_equal(model.apply(variables, data(VECTORS)), plain.apply(variables, data(VECTORS)))


def test_dropout_also_acts_before_the_readout():
    """At a rate close to 1 nearly every feature of the single layer is dropped, and the bias (zero) remains."""
    model, variables = made(VECTORS, dropout_rate=0.999)
    outputs = model.apply(variables, data(VECTORS), deterministic=False, rngs={"dropout": jax.random.key(0)})
    assert (outputs == 0).mean() > 0.9


def test_advance_in_pieces_is_the_whole():
    model, variables = made(STEPS, cell="lstm", num_layers=2, input_features=3, dropout_rate=0.5)
    inputs = data(STEPS)
    carry, first = model.apply(variables, inputs[:, :4], method="advance")
    _, second = model.apply(variables, inputs[:, 4:], carry, method="advance")
    whole = model.apply(variables, inputs)
    np.testing.assert_allclose(jnp.concatenate([first, second], axis=1), whole, rtol=1e-5, atol=1e-6)
