"""What a run ran on: versions, device, cores and data, for environment.json."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import jax

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "gru_jax")


def describe(data: dict[str, Any]) -> dict[str, Any]:
    """What this process runs on, as a mapping for JSON; ``data`` is what the task says of its data."""
    device = jax.devices()[0]
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "device": f"{device.platform} ({device.device_kind})" if device.device_kind != device.platform else "cpu",
        "devices": jax.device_count(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "git": _git_revision(),
        "data": data,
    }


def changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What may make a resumed run's numbers differ in the last bits: ``name: before -> now`` for each."""
    # Not every run wrote down its backend.
    backends = before.get("backend", now.get("backend")), now.get("backend")
    flat = [
        {"device": values.get("device"), "backend": backend, **values.get("packages", {})}
        for values, backend in zip((before, now), backends, strict=True)
    ]
    return [f"{name}: {flat[0].get(name)} -> {flat[1][name]}" for name in flat[1] if flat[0].get(name) != flat[1][name]]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_revision() -> str | None:
    """The revision of the checkout, with ``+changes`` if files differ from it; None outside a checkout."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        revision = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True)
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return revision.stdout.strip() + ("+changes" if changed.stdout.strip() else "")
