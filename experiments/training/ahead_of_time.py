"""Compiles functions before their first call, so that the time it takes is known apart."""

from collections.abc import Callable
from typing import Any

import jax

from experiments.system.errors import UserError

# JAX's annotations lack the options of its config.
_CONFIG: Any = jax.config


def compiled(function: Callable[..., Any], *arguments: Any) -> Callable[..., Any]:
    """``function`` compiled for arguments like these; under jax_disable_jit it is returned as it is."""
    if _CONFIG.jax_disable_jit:
        return function
    return jax.jit(function).lower(*arguments).compile()


def need_jit(what: str) -> None:
    """UserError under jax_disable_jit: ``what`` measures compiled programs."""
    if _CONFIG.jax_disable_jit:
        raise UserError(f"{what}: measures compiled programs, and JAX_DISABLE_JIT forbids to compile; unset it")
