"""Compilation before the first call, so that its time is known apart."""

from collections.abc import Callable
from typing import Any

import jax

from experiments.system.errors import UserError

# Its annotations know none of its options.
_CONFIG: Any = jax.config


def compiled(function: Callable[..., Any], *arguments: Any) -> Callable[..., Any]:
    """``function`` compiled for arguments like these; itself under jax_disable_jit, where nothing is compiled."""
    if _CONFIG.jax_disable_jit:
        return function
    return jax.jit(function).lower(*arguments).compile()


def need_jit(what: str) -> None:
    """UserError under jax_disable_jit, for ``what`` measures compiled programs."""
    if _CONFIG.jax_disable_jit:
        raise UserError(f"{what}: measures compiled programs, and JAX_DISABLE_JIT forbids to compile; unset it")
