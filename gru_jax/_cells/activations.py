"""The functions that make gates and candidates: how they are checked, and how pickle finds them by name."""

import importlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

Activation = Callable[[jax.Array], jax.Array]

# Operations whose results depend on several numbers. The derivative of a run assumes that an activation has none.
_MIXES = {
    *("reduce_sum", "reduce_prod", "reduce_max", "reduce_min", "reduce_window", "argmax", "argmin", "sort", "top_k"),
    *("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp", "dot_general", "conv_general_dilated", "fft"),
    *("transpose", "rev", "gather", "scatter"),
}

# Where JAX publishes functions. Where it defines them is private, and changes.
_PUBLIC = ("jax.nn", "jax.numpy", "jax.lax")


def check_activation(name: str, function: Any) -> None:
    """Check that JAX can trace the function, that it treats each number alone, and that it keeps shape and dtype.

    Nothing is computed here: cells are made when modules are imported, before JAX looks for its devices.
    """
    if function is jnp.tanh or function is jax.nn.sigmoid:
        return
    remedy = "pass a function of each number alone, such as jax.nn.relu"
    if not callable(function) or type(function).__hash__ is None:
        raise TypeError(f"{name}: expected a hashable function of an array, got {function!r}; {remedy}.")
    called = getattr(function, "__name__", repr(function))
    # A scalar too: a softmax over an axis fails on it.
    for shape in ((2, 3), ()):
        given = jax.ShapeDtypeStruct(shape, jnp.float32)
        try:
            found = jax.eval_shape(function, given)
        except Exception as error:
            raise TypeError(
                f"{name}: expected a function of each number alone, got {called}, which fails on float32 of shape "
                f"{shape} ({_line(error)}); {remedy}."
            ) from error
        if not hasattr(found, "shape") or (found.shape, found.dtype) != (given.shape, given.dtype):
            raise ValueError(
                f"{name}: expected a function that keeps shape and dtype, got {called}, which makes {found} of "
                f"{given}; {remedy}."
            )
    mixing = sorted(
        _MIXES.intersection(_operations(jax.make_jaxpr(function)(jax.ShapeDtypeStruct((2, 3), jnp.float32)).jaxpr))
    )
    if mixing:
        raise ValueError(
            f"{name}: expected a function of each number alone, got {called}, which does {', '.join(mixing)} over "
            f"several; {remedy}."
        )


def _operations(jaxpr: Any) -> Iterator[str]:
    """The names of all operations of a program, nested ones included."""
    for equation in jaxpr.eqns:
        yield equation.primitive.name
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from _operations(inner)


def public_name(function: Any) -> str | None:
    """The public name of a function of JAX, such as `jax.nn.relu`; None where it has none."""
    name = getattr(function, "__name__", "")
    return next((f"{module}.{name}" for module in _PUBLIC if _lookup(module, name) is function), None)


def named(function: Any) -> Any:
    """What to pickle for a function: (module, name) if that finds it, else the function itself.

    Pickle alone does not find a function under `jax.jit` by its name, and those of JAX are under it.
    """
    public = public_name(function)
    if public is not None:
        module, _, name = public.rpartition(".")
        return module, name
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    return (module, name) if module in sys.modules and _lookup(module, name) is function else function


def restored(found: Any) -> Any:
    """The function that `named` returned this for."""
    return _lookup(*found) if isinstance(found, tuple) else found


def _lookup(module: str, name: str) -> Any:
    found = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def _line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
