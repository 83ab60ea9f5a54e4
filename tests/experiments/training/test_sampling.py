"""Sampling against the model run over the whole text at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import tasks
from experiments.config.schema import ModelConfig
from experiments.models.build import build_model
from experiments.system.errors import UserError
from experiments.tasks.synthetic.adding import AddingConfig
from experiments.tasks.text.chars import CharsConfig
from experiments.training.sampling import sample


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("the quick brown fox\njumps over the lazy dog\n" * 20)
    return tasks.build(CharsConfig(name="chars", window=10, path=str(path)))


@pytest.fixture(scope="module", params=["gru", "lstm"])
def model_and_variables(request, task):
    config = ModelConfig.model_validate({"cell": request.param, "features": 12, "num_layers": 2, "input_features": 8})
    model = build_model(config, task)
    variables = model.init(jax.random.key(1), task.train_batch(0, 0, 2).inputs)
    # Larger weights, so that an untrained model has preferences to test.
    return model, jax.tree.map(lambda leaf: 2.5 * leaf, variables)


def test_greedy_text_is_the_likeliest_next_character_of_the_whole_text_before_it(model_and_variables, task):
    model, variables = model_and_variables
    prompt = "the fox "
    text = prompt + sample(model, variables, task, 0, length=40, temperature=0.0, prompt=prompt)
    tokens = jnp.array([[task.alphabet.index(character) for character in text]], jnp.int32)
    logits = np.asarray(model.apply(variables, tokens))[0]
    assert len(set(text[len(prompt) :])) > 1
    for place in range(len(prompt), len(text)):
        scores = logits[place - 1]
        assert scores[tokens[0, place]] >= scores.max() - 1e-5


def test_characters_are_drawn_with_the_models_probabilities(model_and_variables, task):
    model, variables = model_and_variables
    start = jnp.array([[task.alphabet.index("q")]], jnp.int32)
    logits = np.asarray(model.apply(variables, start), np.float64)[0, -1] / 0.7
    expected = np.exp(logits) / np.exp(logits).sum()
    first = [sample(model, variables, task, seed, length=1, temperature=0.7, prompt="q") for seed in range(600)]
    shares = np.array([first.count(character) for character in task.alphabet]) / len(first)
    # The standard deviation of a share is at most sqrt(0.25 / 600) = 0.02.
    np.testing.assert_allclose(shares, expected, atol=0.08)


def test_the_same_seed_gives_the_same_text(model_and_variables, task):
    first, again, other = (sample(*model_and_variables, task, seed, length=60) for seed in (3, 3, 4))
    assert first == again != other
    assert len(first) == 60
    assert set(first) <= set(task.alphabet)


def test_the_start_is_a_new_line(model_and_variables, task):
    assert sample(*model_and_variables, task, 0) == sample(*model_and_variables, task, 0, prompt="\n")


def test_a_text_of_one_line_has_a_start_too(tmp_path):
    path = tmp_path / "line.txt"
    path.write_text("abcab" * 50)
    task = tasks.build(CharsConfig(name="chars", window=10, path=str(path)))
    model = build_model(ModelConfig(features=12), task)
    variables = model.init(jax.random.key(0), task.train_batch(0, 0, 1).inputs)
    assert sample(model, variables, task, 0, length=9) == sample(model, variables, task, 0, length=9, prompt="a")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt": ""}, "prompt: expected at least one character"),
        ({"prompt": "fox €"}, "not in the text: .'€'."),
        ({"temperature": -1.0}, "temperature: expected a number >= 0, got -1"),
        ({"temperature": float("nan")}, "temperature: expected a number >= 0, got nan"),
        ({"length": -2}, "length: expected a number of characters >= 0, got -2"),
    ],
)
def test_refusals(model_and_variables, task, options, message):
    with pytest.raises(UserError, match=message):
        sample(*model_and_variables, task, 0, **options)


def test_a_task_without_characters_is_refused(model_and_variables):
    with pytest.raises(UserError, match="adding has none; use task chars"):
        sample(*model_and_variables, tasks.build(AddingConfig(name="adding")), 0)
