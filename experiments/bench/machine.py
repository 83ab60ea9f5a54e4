"""The machine: its name and versions, and how fast it multiplies matrices, which no GRU can exceed."""

import importlib.metadata
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from experiments.bench import registry
from experiments.bench.measurement import seconds_of
from experiments.runs import environment

_VARIABLES = ("XLA_FLAGS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "XLA_PYTHON_CLIENT_PREALLOCATE", "JAX_PLATFORMS")
_REPEATS = 5


def describe() -> dict[str, Any]:
    """The facts that environment.json has of any run, and others that may change a time."""
    facts = environment.describe({})
    del facts["data"]
    packages = [peer.package for peer in registry.PEERS.values()]
    facts["packages"] |= {name: _version(name) for name in dict.fromkeys(packages) if name not in facts["packages"]}
    return facts | {
        "cpu": _cpu_model(),
        "load": round(os.getloadavg()[0], 2),
        "environment": {name: os.environ.get(name) for name in _VARIABLES},
    }


def torch_facts() -> dict[str, Any]:
    """The threads and kernels that torch works with; empty if no contender has imported it."""
    torch: Any = sys.modules.get("torch")
    if torch is None:
        return {}
    facts = {"torch_threads": torch.get_num_threads()}
    if torch.cuda.is_available():
        facts |= {"torch_device": torch.cuda.get_device_name(), "cudnn": torch.backends.cudnn.version()}
    return facts


def set_precision(precision: str | None) -> None:
    """Set the precision of float32 products alike in JAX and, if installed, in torch; None changes nothing."""
    if precision is None:
        return
    jax.config.update("jax_default_matmul_precision", precision)
    if "torch" not in registry.missing(["torch"]):
        import torch  # pyrefly: ignore[missing-import]

        torch.backends.cuda.matmul.allow_tf32 = precision == "tensorfloat32"
        torch.backends.cudnn.allow_tf32 = precision == "tensorfloat32"


def matmul_rates(sizes: Sequence[int], dtype: str) -> dict[str, float]:
    """Operations a second of (n, n) @ (n, n) for each n, the best of a few calls through `jax.jit`.

    The machinery and the threads are those of the contenders on JAX, so the rates say what this process could do.
    """
    multiply = jax.jit(jnp.matmul)
    rates = {}
    for size in sizes:
        key = jax.random.key(size)
        a, b = (jax.random.normal(k, (size, size), jnp.dtype(dtype)) for k in jax.random.split(key))
        jax.block_until_ready(multiply(a, b))
        best = min(seconds_of(lambda a=a, b=b: jax.block_until_ready(multiply(a, b))) for _ in range(_REPEATS))
        rates[str(size)] = 2 * size**3 / best
    return rates


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
