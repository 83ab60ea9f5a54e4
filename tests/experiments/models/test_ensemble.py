"""An ensemble against its members run one by one, each with its own parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.config import configs
from experiments.models.build import build_model
from experiments.runs.config import Config
from experiments.system.errors import UserError
from experiments.tasks import Task
from experiments.tasks.inputs import Judged, Vectors
from experiments.training import losses

MEMBERS = 3


def task_of(loss):
    return Task(
        name="made",
        inputs=Vectors(2),
        outputs=4,
        per_step=False,
        loss=loss,
        metrics=("loss",),
        floor={},
        floor_note="",
        train_batch=lambda *_: None,
        split_batches=lambda *_: iter(()),
    )


@pytest.fixture(scope="module")
def write(tmp_path_factory):
    """A config with these lines in its blocks."""
    folder = tmp_path_factory.mktemp("configs")

    def written(*settings, task="adding"):
        path = folder / "made.yaml"
        path.write_text(f"task: {{name: {task}}}\n")
        return configs.load(Config, path, ["training.batch_size=6", *settings])

    return written


@pytest.fixture(scope="module")
def made(write):
    """The ensemble of a task of classes, its parameters, each member's, and inputs with their lengths."""
    config = write(f"model.members={MEMBERS}", "model.features=3", "model.readout=attention")
    inputs = np.random.default_rng(0).standard_normal((6, 5, 2)).astype(np.float32)
    model = build_model(config.model, task_of("cross_entropy"))
    variables = jax.jit(model.init)(jax.random.key(0), inputs[:1])
    own = [{"params": jax.tree.map(lambda leaf, m=m: leaf[m], variables["params"]["member"])} for m in range(MEMBERS)]
    return config, model, variables, own, inputs, np.array([5, 2, 1, 4, 3, 5], np.int32)


def test_members_start_apart(made):
    kernels = made[2]["params"]["member"]["output_layer"]["kernel"]
    assert kernels.shape[0] == MEMBERS
    assert not np.allclose(kernels[0], kernels[1])


def test_the_answer_is_the_mean_of_the_probabilities(made):
    _, model, variables, own, inputs, lengths = made
    found = jax.jit(lambda *given: model.apply(variables, *given, method="pooled"))(inputs, lengths)
    member = jax.jit(lambda params: model.member.apply(params, inputs, lengths, method="pooled"))
    said = [member(params) for params in own]
    expected = np.mean([jax.nn.softmax(one.outputs) for one in said], axis=0)
    np.testing.assert_allclose(np.exp(found.outputs), expected, rtol=1e-5)
    np.testing.assert_allclose(found.weights, np.mean([one.weights for one in said], axis=0), rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(jax.jit(model.apply)(variables, inputs, lengths), found.outputs)


def test_each_member_adds_its_own_to_what_is_judged(made):
    """Also in training, where each has a third of the rows and of the judgements."""
    _, model, variables, own, inputs, lengths = made
    logits = np.random.default_rng(1).standard_normal((6, 4)).astype(np.float32)

    @jax.jit
    def answers(variables, inputs):
        found = model.apply(variables, inputs, lengths)
        return found, model.apply(variables, inputs, lengths, deterministic=False)

    found, training = answers(variables, Judged(inputs, logits))
    said = [model.member.apply(params, inputs, lengths) + logits for params in own]
    np.testing.assert_allclose(np.exp(found), np.mean([jax.nn.softmax(one) for one in said], axis=0), rtol=1e-5)
    expected = np.concatenate([one[2 * m : 2 * m + 2] for m, one in enumerate(said)])
    np.testing.assert_allclose(training, expected, rtol=1e-4, atol=1e-6)


def test_the_answer_of_a_regression_is_the_mean(made):
    config, _, variables, own, inputs, lengths = made
    model = build_model(config.model, task_of("squared_error"))
    member = jax.jit(lambda params: model.member.apply(params, inputs, lengths))
    expected = np.mean([member(params) for params in own], axis=0)
    np.testing.assert_allclose(jax.jit(model.apply)(variables, inputs, lengths), expected, rtol=1e-5, atol=1e-6)


def test_each_member_learns_from_its_own_rows_alone(made):
    """Loss and gradients are the means of those of the members alone, on a third of the batch each."""
    _, model, variables, own, *given = made
    inputs, lengths = map(jnp.asarray, given)
    targets, weights = jnp.array([0, 3, 1, 2, 2, 0]), jnp.ones(6)

    def differentiated(model):
        def loss(variables, rows):
            outputs = model.apply(variables, inputs[rows], lengths[rows], deterministic=False)
            return losses.mean_loss("cross_entropy", outputs, targets[rows], weights[rows])

        return jax.jit(jax.value_and_grad(loss))

    found, grads = differentiated(model)(variables, jnp.arange(6))
    member = differentiated(model.member)
    alone = [member(own[m], jnp.array([2 * m, 2 * m + 1])) for m in range(MEMBERS)]
    np.testing.assert_allclose(found, np.mean([value for value, _ in alone]), rtol=1e-5)
    for m, (_, expected) in enumerate(alone):
        ours = jax.tree.map(lambda leaf, m=m: MEMBERS * leaf[m], grads["params"]["member"])
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), ours, expected["params"])


def test_settings_that_do_not_fit_are_refused(write):
    with pytest.raises(UserError, match=r"training\.batch_size: expected a multiple of model\.members \(4\).* got 6"):
        write("model.members=4")
    with pytest.raises(UserError, match=r"model\.members: expected 1, since task chars .* got 3"):
        write("model.members=3", task="chars")
