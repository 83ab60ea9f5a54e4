"""The table: which backend "auto" takes, and how each platform runs pure JAX."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

import gru_jax
from gru_jax._backends import platforms
from gru_jax._backends.platforms import Chunking, chunking, unroll_for
from tests.cases import relative_error

GRU, LSTM = gru_jax.gru(), gru_jax.lstm()


@pytest.mark.parametrize("platform", ["cpu", "gpu", "rocm", "tpu"])
@pytest.mark.parametrize(
    ("cell", "shape", "backend"),
    [
        (GRU, None, "fused"),
        (GRU, (2, 1, 1, 1), "fused"),
        (GRU, (1, 8, 32, 64), "scan"),
        (gru_jax.gru(activation=jnp.sin), (100, 8, 32, 64), "fused"),
        (LSTM, (100, 8, 32, 64), "scan"),
        (LSTM, None, "scan"),
    ],
)
def test_auto_follows_the_table(cell, platform, shape, backend):
    for dtype in (jnp.float32, jnp.bfloat16, np.float64):
        assert gru_jax.backend_for(cell, platform=platform, shape=shape, dtype=dtype) == backend


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"platform": "cuda"}, ValueError, 'platform: expected one of "cpu", "gpu", "rocm", "tpu", got \'cuda\''),
        ({"shape": (100, 8, 32)}, ValueError, r"shape: expected four sizes \(T, B, I, H\), got \(100, 8, 32\)"),
        ({"shape": 100}, ValueError, "shape: expected four sizes"),
        ({"shape": (100, 8, 32, -1)}, ValueError, "shape: expected four sizes"),
        ({"shape": (100, True, 32, 1)}, ValueError, "shape: expected four sizes"),
        ({"dtype": jnp.int32}, TypeError, "dtype: expected a float dtype"),
        ({"dtype": "float31"}, TypeError, "dtype: expected a float dtype"),
        ({"precision": "exact"}, ValueError, "precision: expected None"),
        ({"backend": "cuda"}, ValueError, "backend: expected one of"),
        ({"backend": "fused", "cell": LSTM}, ValueError, "backend: \"fused\" cannot run the cell 'lstm'"),
    ],
)
def test_mistakes_are_named(options, error, words):
    with pytest.raises(error, match=words):
        gru_jax.backend_for(options.pop("cell", GRU), **options)


def test_chunks_of_a_cpu_stay_in_its_cache():
    assert chunking("cpu", 128, 8, 32, 32) == Chunking(128, keeps_p=False)
    assert chunking("cpu", 128, 32, 64, 128) == Chunking(128, keeps_p=True)
    assert chunking("cpu", 512, 16, 128, 256) == Chunking(64, keeps_p=False)
    assert chunking("cpu", 256, 64, 256, 512) == Chunking(16, keeps_p=True)


@pytest.mark.parametrize("platform", ["gpu", "tpu"])
def test_elsewhere_runs_are_whole_as_far_as_memory_allows(platform):
    for shape in ((256, 2048, 128, 128), (128, 32, 64, 128), (1024, 16, 768, 768)):
        assert chunking(platform, *shape) == Chunking(shape[0], keeps_p=False)
    steps, rows, features = 4096, 2048, 256
    found = chunking(platform, steps, rows, 64, features).steps
    assert steps % found == 0
    assert 2**29 < 15 * 4 * found * rows * features <= 2**30


def test_symbolic_sizes_are_one_chunk_and_one_step():
    (steps,) = jax.export.symbolic_shape("t")
    assert chunking("gpu", steps, 8, 4, 4).steps is steps
    assert unroll_for("gpu", None, steps) == 1


def test_unroll_is_that_of_the_platform_or_what_was_asked_for():
    assert [unroll_for(name, None, 100) for name in ("cpu", "gpu", "tpu", None)] == [1, 8, 8, 1]
    assert unroll_for("gpu", None, 100, tangents=True) == 4
    assert unroll_for("gpu", 3, 100) == unroll_for("cpu", 3, 100) == 3


def test_the_default_device_is_the_guess():
    here = jax.devices("cpu")[0]
    with jax.default_device(here):
        assert platforms.guess() == "cpu"
    with jax.default_device("cpu"):
        assert platforms.guess() == "cpu"


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("steps", [37, 64])
def test_settings_change_speed_alone(monkeypatch, steps, both, x64):
    """Training as a GPU runs it, here: whole, and above the limit of memory in chunks with a rest."""
    params = GRU.init(jax.random.key(0), 3, 5, jnp.float64)
    layer = (params, jax.tree.map(jnp.negative, params)) if both else (params,)
    xs = jnp.asarray(np.random.default_rng(0).normal(size=(steps, 4, 3)))
    lengths = jnp.array([steps, 0, 9, steps - 1])

    def loss(layer, xs):
        carry, ys = gru_jax.scan_layers(GRU, (layer,), xs, seq_lengths=lengths)
        return jnp.sum(jnp.sin(ys)) + sum(jnp.sum(h) for h in carry[0])

    def derivatives():
        jax.clear_caches()
        gradient = jax.grad(loss, argnums=(0, 1))
        return jax.jit(lambda *a: (gradient(*a), jax.jvp(gradient, a, a)[1]))(layer, xs)

    expected = derivatives()
    for whole in (2**30, 100):
        monkeypatch.setitem(
            platforms.SETTINGS, "cpu", platforms.SETTINGS["gpu"]._replace(whole_bytes=whole, chunk_bytes=1)
        )
        assert relative_error(derivatives(), expected) < 1e-12
    jax.clear_caches()
