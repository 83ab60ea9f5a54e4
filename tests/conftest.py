"""Every test runs under strict dtype promotion, with NaN checks off (NaN is put in on purpose) and fixed examples."""

import atexit
import gc
import os
import shutil
import tempfile

# Most of the suite's time is compilation, and most of that what LLVM does after XLA is done with a program. JAX's own
# tests spare it in this way, too; JAX_DISABLE_MOST_OPTIMIZATIONS=0 runs everything as users compile it.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

# What one test, worker or process of a test has compiled, the others load. Read when JAX is imported.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    compiled = tempfile.mkdtemp(prefix="gru_jax_compiled_")
    atexit.register(shutil.rmtree, compiled, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = compiled
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import hypothesis
import jax
import jaxlib.version
import pytest

from tests.cases import CASES, KINDS, in_64_bits

# Three quarters of the rest go into emitting fusions through MLIR and into splitting a small program among compilers.
# XLA aborts on a flag that it does not know: other releases, which may lack these, only compile more slowly.
SPARING = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
if os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] == "1" and jaxlib.version.__version__.startswith("0.10."):
    # Read when the first program is compiled; what the user set comes last and wins.
    os.environ["XLA_FLAGS"] = f"{SPARING} {os.environ.get('XLA_FLAGS', '')}".strip()
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
hypothesis.settings.register_profile(
    "gru_jax",
    deadline=None,
    derandomize=True,
    max_examples=12,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.load_profile("gru_jax")


def pytest_collection_finish():
    """Spare the garbage collector the modules, which live as long as the process, and data while they are read."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000)


@pytest.fixture
def x64():
    """64-bit JAX for one test."""
    with in_64_bits():
        yield


@pytest.fixture(params=CASES, ids=str)
def case(request):
    """Every cell on every backend that serves it."""
    return request.param


@pytest.fixture(params=KINDS, ids=str)
def kind(request):
    """One cell of each kind on every backend that serves it."""
    return request.param
