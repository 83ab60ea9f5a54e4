"""Initial weights, gate by gate.

An `(H, 3H)` recurrent matrix is three matrices side by side. One orthogonal draw for the whole would make none of its
blocks orthogonal, so every gate gets a draw of its own.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gru_jax._cells.boxes import note_box, note_same_box, opened
from gru_jax._cells.checks import check_dtype, check_float_array, check_key, check_positive
from gru_jax._cells.precision import carry_dtype

Initializer = Callable[..., jax.Array]

zeros: Initializer = jax.nn.initializers.zeros

_lecun_normal = jax.nn.initializers.lecun_normal()
_orthogonal = jax.nn.initializers.orthogonal()


# Functions at the module's level, so that cells made with them pickle.
def lecun_normal(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """Normal with variance 1 / fan-in, cut at two standard deviations (LeCun et al. 1998)."""
    return _lecun_normal(key, shape, dtype)


def orthogonal(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """A matrix with orthonormal columns or rows (Saxe et al. 2014)."""
    return _orthogonal(key, shape, dtype)


def rates(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    """U(0, 1 / variables), `(variables, outputs)`: a decay by gaps of 1 in all variables begins at exp(-1) or above."""
    return jax.random.uniform(key, shape, dtype, 0.0, 1.0 / shape[0])


def check_initializers(**inits: Any) -> None:
    """Check for hashable callables, since the cell made of them is a static argument of jax.jit."""
    for name, init in inits.items():
        if not callable(init) or type(init).__hash__ is None:
            raise TypeError(
                f"{name}: expected a hashable function init(key, shape, dtype), got {init!r}; "
                "pass one of jax.nn.initializers, such as jax.nn.initializers.zeros."
            )


def check_init(key: Any, in_features: Any, features: Any, dtype: Any) -> tuple[int, int, jnp.dtype]:
    """Check the arguments that every `init` takes; returns both sizes and the dtype."""
    check_key("key", key)
    return (
        check_positive("in_features", in_features, remedy="pass the width of one input"),
        check_positive("features", features, remedy="pass the width of the hidden state"),
        check_dtype("dtype", dtype),
    )


def per_gate(name: str, init: Initializer, key: jax.Array, shape: tuple[int, ...], gates: int, dtype: Any) -> jax.Array:
    """One draw of `init(key, shape, dtype)` for each gate, side by side along the last axis."""
    # Half-precision draws are made in float32 first: QR, behind the orthogonal initialiser, has no half-precision form.
    wide = carry_dtype(dtype)
    drawn = [opened(init(gate_key, shape, wide)) for gate_key in jax.random.split(key, gates)]
    blocks = [check_float_array(name, block) for block, _ in drawn]
    for block in blocks:
        if block.shape != shape:
            raise ValueError(
                f"{name}: expected an initialiser that returns the shape it is asked for, {shape}, got {block.shape}; "
                "it is called once per gate as init(key, shape, dtype)."
            )
    side_by_side = jnp.concatenate([jnp.astype(block, dtype) for block in blocks], axis=-1)
    note_box(side_by_side, drawn[0][1])
    return side_by_side


def set_gate(bias: jax.Array, gate: int, gates: int, value: jax.Array | float) -> jax.Array:
    """`bias (gates * H,)` with the block of one gate replaced."""
    features = bias.shape[0] // gates
    changed = bias.at[gate * features : (gate + 1) * features].set(jnp.asarray(value, bias.dtype))
    note_same_box(changed, bias)
    return changed


def chrono(key: jax.Array, features: int, longest: float, dtype: Any) -> jax.Array:
    """Bias log(u), u ~ U(1, longest - 1), `(features,)`: memories of 2 to `longest` steps.

    A gate that keeps its state with probability σ(b) forgets over about 1 / (1 - σ(b)) = 1 + exp(b) steps
    (Tallec & Ollivier 2018, "Can recurrent neural networks warp time?", section 3).
    """
    u = jax.random.uniform(key, (features,), carry_dtype(dtype), 1.0, longest - 1.0)
    return jnp.astype(jnp.log(u), dtype)


def check_bias_options(name: str, bias: float, chrono_span: float | None) -> None:
    """Check that a gate's bias is one number or drawn from a longest time span, and not both."""
    for option, value in ((name, bias), ("chrono_span", chrono_span)):
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value)
        ):
            raise TypeError(f"{option}: expected a finite number, got {value!r}; pass a Python float or int.")
    if chrono_span is None:
        return
    if chrono_span <= 2:
        raise ValueError(
            f"chrono_span: expected a longest time span above 2 steps, got {chrono_span}; "
            "pass the longest dependency you expect, in steps, or None."
        )
    if bias != 0.0:
        raise ValueError(
            f"{name} and chrono_span: expected at most one of them, got {bias} and {chrono_span}; "
            "chrono_span draws that very bias: leave the other out."
        )
