"""The encoder-decoder of a config: shapes, padding, searches against teacher forcing, dropout, what configs refuse."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.config.configs import check
from experiments.config.schema import ModelConfig
from experiments.models.build import build_model
from experiments.models.encoder_decoder import EncoderDecoder
from experiments.runs.config import Config
from experiments.system.errors import UserError
from experiments.tasks import Task
from experiments.tasks.inputs import Sentences, SourceAndTarget

SENTENCES = Sentences(source_vocabulary=5, target_vocabulary=6, start=1, end=0, max_steps=7)
TASK = Task(
    name="toy",
    inputs=SENTENCES,
    outputs=6,
    per_step=True,
    loss="cross_entropy",
    metrics=("nll",),
    floor={},
    floor_note="",
    train_batch=lambda seed, step, batch_size: None,
    split_batches=lambda split, batch_size: iter(()),
)
LENGTHS = np.array([6, 2, 4], np.int32)


def data(steps=5):
    rng = np.random.default_rng(0)
    return SourceAndTarget(
        rng.integers(5, size=(3, 6)).astype(np.int32), rng.integers(6, size=(3, steps)).astype(np.int32)
    )


def made(**config):
    """A model, and parameters far enough from 0 for targets to differ."""
    model = build_model(ModelConfig.model_validate({"features": 8, "bidirectional": True, **config}), TASK)
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(model.init, jax.random.key(0), data())
    return model, jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape), jnp.float32), shapes)


@functools.partial(jax.jit, static_argnums=0)
def forced(model, variables, inputs, lengths=None):
    return model.apply(variables, inputs, lengths)


@functools.partial(jax.jit, static_argnums=0)
def translate(model, variables):
    return model.apply(variables, data(), LENGTHS, method="translate")


@pytest.mark.parametrize(
    "config",
    [{}, {"input_features": 4, "attention": "dot_product", "num_layers": 2, "cell": "lstm", "bidirectional": False}],
    ids=["plain", "embedded"],
)
def test_a_padded_source_is_the_source_alone(config):
    model, variables = made(**config)
    source, target_in = data()
    logits = forced(model, variables, (source, target_in), LENGTHS)
    assert logits.shape == (3, 5, 6)
    spoilt = np.where(np.arange(6) < LENGTHS[:, None], source, 3)
    np.testing.assert_array_equal(forced(model, variables, (spoilt, target_in), LENGTHS), logits)
    alone = forced(model, variables, (source[1:2, :2], target_in[1:2]))
    np.testing.assert_allclose(logits[1], alone[0], rtol=1e-5, atol=1e-5)


def test_embedding_and_width_follow_the_config():
    config = {"features": 8, "bidirectional": True, "input_features": 3, "num_layers": 2, "attention": "dot_product"}
    model = build_model(ModelConfig.model_validate(config), TASK)
    shapes = jax.tree.map(jnp.shape, jax.eval_shape(model.init, jax.random.key(0), data())["params"])
    assert shapes["source_layer"] == {"embedding": (5, 3)}
    assert shapes["target_layer"] == {"embedding": (6, 3)}
    assert shapes["core"]["attention"] == {"w": (8, 16)}
    assert shapes["core"]["decoder"]["layer_1"]["forward"]["w_h"] == (8, 24)
    assert (model.attention, model.beam_size, model.length_penalty) == ("dot_product", 1, 0.0)


def test_greedy_takes_what_teacher_forcing_finds_likeliest():
    model, variables = made(input_features=4)
    tokens, lengths, weights = translate(model, variables)
    assert (tokens.shape, weights.shape) == ((3, 7), (3, 7, 6))
    target_in = np.concatenate([np.full((3, 1), SENTENCES.start), tokens[:, :-1]], axis=1)
    logits = forced(model, variables, SourceAndTarget(data().source, target_in), LENGTHS)
    for row, length in enumerate(lengths):
        assert tokens[row, :length].tolist() == np.argmax(logits[row, :length], axis=-1).tolist()
        assert 0 not in tokens[row, : length - 1]
        assert (np.asarray(tokens[row, length:]) == SENTENCES.end).all()
        np.testing.assert_allclose(weights[row, :length, : LENGTHS[row]].sum(axis=-1), 1, atol=1e-5)
        assert (np.asarray(weights[row, :, LENGTHS[row] :]) == 0).all()
        assert (np.asarray(weights[row, length:]) == 0).all()


@pytest.mark.parametrize("penalty", [0.0, 4.0])
def test_a_wide_beam_finds_the_best_target_of_all(penalty):
    """All targets of up to three tokens, by teacher forcing."""
    model, variables = made(beam_size=125, length_penalty=penalty)
    model = model.clone(inputs=SENTENCES._replace(max_steps=3))
    found = translate(model, variables)
    every = np.array(list(itertools.product(range(6), repeat=3)))
    target_in = np.concatenate([np.full((216, 1), SENTENCES.start), every[:, :-1]], axis=1)
    ends = np.where((every == 0).any(axis=1), (every == 0).argmax(axis=1), 2)
    for row in range(3):
        source = np.repeat(data().source[row : row + 1], 216, axis=0)
        logits = forced(model, variables, SourceAndTarget(source, target_in), np.repeat(LENGTHS[row], 216))
        log_probs = np.take_along_axis(np.asarray(jax.nn.log_softmax(logits)), every[..., None], axis=-1)[..., 0]
        total = np.where(np.arange(3) <= ends[:, None], log_probs, 0).sum(axis=1)
        best = np.argmax(total / ((6 + ends) / 6) ** penalty)
        assert found.lengths[row] == ends[best] + 1
        assert found.tokens[row, : ends[best] + 1].tolist() == every[best, : ends[best] + 1].tolist()


def test_dropout_follows_its_key_and_only_acts_when_asked():
    model, variables = made(dropout_rate=0.5, input_features=4)
    run = jax.jit(
        lambda seed: model.apply(variables, data(), deterministic=False, rngs={"dropout": jax.random.key(seed)})
    )
    np.testing.assert_array_equal(run(1), run(1))
    assert not np.array_equal(run(1), run(2))
    plain = model.clone(dropout_rate=0.0)
    np.testing.assert_array_equal(forced(model, variables, data()), forced(plain, variables, data()))


def test_the_model_of_sentences_is_the_encoder_decoder():
    assert isinstance(build_model(ModelConfig(beam_size=2), TASK), EncoderDecoder)


@pytest.mark.parametrize(
    ("task", "model", "message"),
    [
        ("copy", {"attention": "additive"}, r"model\.attention: only an encoder-decoder has it, and task copy"),
        ("adding", {"beam_size": 3}, r"model\.beam_size: only an encoder-decoder has it, and task adding"),
        ("adding", {"length_penalty": 0.5}, r"model\.length_penalty: only an encoder-decoder has it"),
        ("pronunciation", {"readout": "every"}, r"model\.readout: the encoder-decoder of task pronunciation has no"),
        ("pronunciation", {"length_penalty": 0.5}, r"model\.length_penalty: only a beam compares targets by it"),
        ("pronunciation", {"attention": "dot"}, r"model\.attention: expected one of additive, dot_product or null"),
    ],
)
def test_keys_that_do_not_apply_are_refused(task, model, message):
    with pytest.raises(UserError, match=message):
        check(Config, {"task": {"name": task}, "model": model})


def test_keys_that_apply_are_taken():
    config = check(Config, {"task": {"name": "pronunciation"}, "model": {"beam_size": 3, "length_penalty": 0.5}})
    assert check(Config, config.model_dump(mode="json")) == config
    assert check(Config, {"task": {"name": "adding"}, "model": {"readout": "attention"}}).model.readout == "attention"
