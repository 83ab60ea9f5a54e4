"""The model of films: patches, what a place sees, forecasts, and the settings that are refused."""

import functools
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.config import configs
from experiments.models.build import build_model
from experiments.models.frames_model import from_patches, pool, to_patches
from experiments.runs.config import Config
from experiments.system.errors import UserError
from experiments.tasks import build

FORECAST = """
    task: {name: video, side: 12, steps: 6, test_rows: 4}
    model: {cell: {name: conv_gru, patch_size: 2}, features: 5}
"""
ANSWER = """
    task: {name: video, target: digits, side: 12, steps: 6, test_rows: 4}
    model: {cell: {name: conv_gru, patch_size: 4}, features: 5, input_features: 6}
"""


@pytest.fixture
def load(tmp_path):
    def load(text, *overrides):
        path = tmp_path / "config.yaml"
        path.write_text(textwrap.dedent(text))
        return configs.load(Config, path, list(overrides))

    return load


@pytest.fixture
def assembled(load):
    """The model of a config as a function of films, and three films."""

    def assembled(text, *overrides):
        loaded = load(text, *overrides)
        task = build(loaded.task)
        model, films = build_model(loaded.model, task), task.train_batch(0, 1, 3).inputs
        params = jax.jit(model.init)(jax.random.key(0), films)
        apply = jax.jit(model.apply, static_argnames="method")
        return functools.partial(apply, params), films

    return assembled


def test_patches_are_squares_of_pixels():
    frames = np.random.default_rng(0).random((2, 3, 6, 8, 2))
    patches = to_patches(jnp.asarray(frames), 2)
    assert patches.shape == (2, 3, 3, 4, 8)
    for row in range(3):
        for column in range(4):
            square = frames[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            np.testing.assert_array_equal(patches[:, :, row, column], np.float32(square.reshape(2, 3, 8)))
    np.testing.assert_array_equal(from_patches(patches, 2), np.float32(frames))


def test_a_pool_keeps_the_largest_values():
    places = np.random.default_rng(0).random((2, 3, 6, 4, 5)).astype(np.float32)
    pooled = np.asarray(pool(jnp.asarray(places), 2))
    assert pooled.shape == (2, 3, 3, 2, 5)
    for row in range(3):
        for column in range(2):
            square = places[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            np.testing.assert_array_equal(pooled[:, :, row, column], square.max(axis=(2, 3)))


def test_a_pixel_is_told_from_what_is_near(assembled):
    """A change in one corner reaches one place farther a frame, and nothing beyond."""
    model, films = assembled(FORECAST)
    changed = films.copy()
    changed[:, 0, 0, 0] += 1
    moved = np.asarray(model(changed) != model(films)).reshape(3, 5, 12, 12).any(axis=0)
    for step, reach in enumerate([4, 6, 8, 10, 12]):
        near = np.zeros((12, 12), bool)
        near[:reach, :reach] = True
        np.testing.assert_array_equal(moved[step], near)


@pytest.mark.parametrize("overrides", [("model.cell=gru",), ("model.input_features=4",)])
def test_a_forecast_is_fed_its_own_frames(assembled, overrides):
    """As by hand: a film whose end is made of what the model has told last, one frame at a time."""
    model, films = assembled(FORECAST, *overrides)
    next_frames, own = model(films, method="forecast")
    np.testing.assert_allclose(next_frames, model(films), atol=1e-6)
    assert own.shape == (3, 3, 144)
    # What is behind the last frame that is looked at has no say in it.
    film = np.where(np.arange(5)[:, None, None, None] < 3, films, np.nan)
    for ahead in range(3):
        told = np.asarray(model(film))[:, 2 + ahead]
        np.testing.assert_allclose(own[:, ahead], told, atol=1e-5)
        if ahead < 2:
            film[:, 3 + ahead] = told.reshape(3, 12, 12, 1)


@pytest.mark.parametrize(
    "overrides",
    [
        ("model.readout=last", "model.bidirectional=true"),
        ("model.readout=mean", "model.dropout_rate=0.3", "model.num_layers=2"),
        ("model.readout=attention", "model.bidirectional=true", "model.cell.pool_size=3"),
        ("model.cell=lstm",),
    ],
)
def test_a_film_gets_one_answer(assembled, overrides):
    """It depends on every frame of the film, and on no other film."""
    model, films = assembled(ANSWER, *overrides)
    outputs = np.asarray(model(films))
    assert outputs.shape == (3, 10)
    for step in range(6):
        changed = films.copy()
        changed[1, step] += 1
        found = np.asarray(model(changed))
        np.testing.assert_allclose(found[[0, 2]], outputs[[0, 2]], atol=1e-5)
        assert np.abs(found[1] - outputs[1]).max() > 1e-4


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        (
            "task: {name: digits}",
            ["model.cell=conv_gru"],
            "model.cell: conv_gru reads frames, and task digits has none",
        ),
        (
            FORECAST,
            ["model.cell.patch_size=5"],
            "model.cell.patch_size: expected a divisor of both sides of the frames",
        ),
        (FORECAST, ["model.bidirectional=true"], "model.bidirectional: task video predicts its own later inputs"),
        (FORECAST, ["model.readout=mean"], "model.readout: task video asks for an output at every step"),
        (ANSWER, ["model.readout=every"], "model.readout: task video asks for one output a sequence"),
        (ANSWER, ["model.cell.kernel_size=0"], "model.cell.kernel_size: expected an integer > 0 and <= 31, got 0"),
        (ANSWER, ["task.side=8"], "task.side: expected an integer > 8 and <= 64, got 8"),
        (ANSWER, ["task.highest_speed=0.5"], "task.highest_speed: expected at least task.lowest_speed (1), got 0.5"),
        (ANSWER, ["task.target=speed"], "task.target: expected one of next_frame, digits, got"),
    ],
)
def test_settings_that_do_not_suit_are_refused(load, text, overrides, message):
    with pytest.raises(UserError) as caught:
        load(text, *overrides)
    assert message in "\n".join(caught.value.messages)
