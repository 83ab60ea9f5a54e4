"""Packages that only files need, imported when one is read or written."""

import importlib
from typing import Any


def need(*modules: str, what: str) -> Any:
    """Load these modules of one package and return the first, or raise with how to get what `what` needs."""
    try:
        first, *_ = [importlib.import_module(module) for module in modules]
    except ImportError as error:
        package = modules[0].partition(".")[0]
        raise ImportError(f'{what}: needs the package {package} ({error}): pip install "gru_jax[interop]".') from None
    return first
