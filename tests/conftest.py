"""Every test runs under strict dtype promotion, with NaN checks off (NaN is put in on purpose) and fixed examples."""

import os

# Most of the suite's time is compilation, and most of that what LLVM does after XLA is done with a program. JAX's own
# tests spare it in this way, too; JAX_DISABLE_MOST_OPTIMIZATIONS=0 runs everything as users compile it.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

import hypothesis
import jax
import pytest

from tests.cases import CASES, KINDS

jax.config.update("jax_numpy_dtype_promotion", "strict")
hypothesis.settings.register_profile(
    "gru_jax",
    deadline=None,
    derandomize=True,
    max_examples=12,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.load_profile("gru_jax")


@pytest.fixture
def x64():
    """64-bit JAX for one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(params=CASES, ids=str)
def case(request):
    """Every cell on every backend that serves it."""
    return request.param


@pytest.fixture(params=KINDS, ids=str)
def kind(request):
    """One cell of each kind on every backend that serves it."""
    return request.param
