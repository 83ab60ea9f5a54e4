"""The gated recurrent unit."""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from gru_jax._cells import initializers
from gru_jax._cells.cell import Cell
from gru_jax._cells.checks import check_batch_shape, check_flag, check_params
from gru_jax._cells.initializers import Initializer
from gru_jax._cells.precision import carry_dtype, matmul


class GRUParams(NamedTuple):
    """One GRU layer in one direction; gates side by side in the order r, z, n.

    Attributes:
      w_i: `(I, 3H)`, applied to the input.
      w_h: `(H, 3H)`, applied to the state.
      b_i: `(3H,)`, the bias beside the input.
      b_h: `(3H,)`, the bias beside the state.
    """

    w_i: jax.Array
    w_h: jax.Array
    b_i: jax.Array
    b_h: jax.Array


class GRUGates(NamedTuple):
    """GRUParams cut for a loop over time; `project` and `activate` take either.

    XLA:CPU does not vectorise elementwise code that picks its step and its gate from one array of projections of all
    gates and steps: with an array for each gate the loop runs about twice as fast. Products with the state are as wide
    as the equations allow, for fewer kernels a step. The cuts are made before the loop, as XLA leaves the slicing of
    weights inside.

    Attributes:
      w_i: `(I, H)` for each of r, z, n.
      b_i: `(H,)` for each of r, z, n.
      w_h: `(H, 3H)` of all three, or `(H, 2H)` of r, z and `(H, H)` of n where the reset gate acts before the product.
      b_h: likewise.
    """

    w_i: tuple[jax.Array, ...]
    w_h: tuple[jax.Array, ...]
    b_i: tuple[jax.Array, ...]
    b_h: tuple[jax.Array, ...]


class GRUActivations(NamedTuple):
    """What a step computes on the way to h', `(..., H)` each; q is the state's part of the candidate."""

    r: jax.Array
    z: jax.Array
    n: jax.Array
    q: jax.Array


class GRUOptions(NamedTuple):
    """Which of the four GRU equations a cell computes."""

    reset_after: bool
    update_gate: Literal["keep", "write"]


def gates(options: GRUOptions, params: GRUParams) -> GRUGates:
    """The params cut for a loop."""
    r_and_z = 2 * params.b_h.shape[0] // 3
    cut = lambda leaf: (leaf,) if options.reset_after else (leaf[..., :r_and_z], leaf[..., r_and_z:])  # noqa: E731
    return GRUGates(
        w_i=tuple(jnp.split(params.w_i, 3, axis=-1)),
        w_h=cut(params.w_h),
        b_i=tuple(jnp.split(params.b_i, 3)),
        b_h=cut(params.b_h),
    )


SHAPES: dict[str, tuple[str, ...]] = {"w_i": ("I", "3H"), "w_h": ("H", "3H"), "b_i": ("3H",), "b_h": ("3H",)}


def check_update_gate(value: Any) -> None:
    """Only the two conventions there are."""
    if not isinstance(value, str) or value not in ("keep", "write"):
        raise ValueError(
            f'update_gate: expected "keep" (z near 1 keeps the old state) or "write" (z near 1 writes the candidate), '
            f"got {value!r}; pass one of the two."
        )


def gru(
    *,
    reset_after: bool = True,
    update_gate: Literal["keep", "write"] = "keep",
    kernel_init: Initializer = initializers.lecun_normal,
    recurrent_init: Initializer = initializers.orthogonal,
    bias_init: Initializer = initializers.zeros,
    update_bias: float = 0.0,
    chrono_span: float | None = None,
) -> Cell:
    """The gated recurrent unit.

        r  = σ(x W_ir + b_ir + h W_hr + b_hr)                    reset gate
        z  = σ(x W_iz + b_iz + h W_hz + b_hz)                    update gate
        n  = tanh(x W_in + b_in + r ∘ (h W_hn + b_hn))           reset_after=True  (cuDNN, PyTorch, Keras, Flax)
        n  = tanh(x W_in + b_in + (r ∘ h) W_hn + b_hn)           reset_after=False (Cho et al. 2014, equations 5 to 8)
        h' = z ∘ h + (1 - z) ∘ n                                 update_gate="keep"
        h' = (1 - z) ∘ h + z ∘ n                                 update_gate="write"

    Args:
      reset_after: whether the reset gate acts after the state's matrix product, or before it.
      update_gate: whether z near 1 keeps the old state or writes the candidate.
      kernel_init: `init(key, (I, H), dtype)`, called once per gate, for w_i.
      recurrent_init: `init(key, (H, H), dtype)`, called once per gate, for w_h.
      bias_init: `init(key, (H,), dtype)`, called once per gate and bias.
      update_bias: the initial bias of the update gate, when not 0. Positive values remember longer with "keep", and
        shorter with "write".
      chrono_span: the longest time span to remember at the start, in steps: draws the update gate's bias
        (Tallec & Ollivier 2018) so that memories reach from 1 to that many steps.

    Returns:
      A `Cell` whose params are `GRUParams` and whose carry is h, `(*B, H)`; y is h' in the input's dtype.

    Raises:
      TypeError, ValueError: for options that do not exist or contradict each other.

    Source: Cho et al. 2014, "Learning phrase representations using RNN encoder-decoder".
    """
    check_update_gate(update_gate)
    initializers.check_initializers(kernel_init=kernel_init, recurrent_init=recurrent_init, bias_init=bias_init)
    initializers.check_bias_options("update_bias", update_bias, chrono_span)
    options = GRUOptions(check_flag("reset_after", reset_after), update_gate)
    return _gru(options, kernel_init, recurrent_init, bias_init, float(update_bias), chrono_span)


# Cached, so that equal options give the very same cell and a static argument of jax.jit does not recompile.
@functools.cache
def _gru(
    options: GRUOptions,
    kernel_init: Initializer,
    recurrent_init: Initializer,
    bias_init: Initializer,
    update_bias: float,
    chrono_span: float | None,
) -> Cell:
    def init(key: jax.Array, in_features: int, features: int, dtype: Any = jnp.float32) -> GRUParams:
        in_features, features, dtype = initializers.check_init(key, in_features, features, dtype)
        k_i, k_h, k_bi, k_bh, k_z = jax.random.split(key, 5)
        b_i = initializers.per_gate("bias_init", bias_init, k_bi, (features,), 3, dtype)
        b_h = initializers.per_gate("bias_init", bias_init, k_bh, (features,), 3, dtype)
        if update_bias != 0.0 or chrono_span is not None:
            if chrono_span is not None:
                keeps = initializers.chrono(k_z, features, chrono_span, dtype)
                value = keeps if options.update_gate == "keep" else -keeps
            else:
                value = update_bias
            b_i = initializers.set_gate(b_i, 1, 3, value)
            b_h = initializers.set_gate(b_h, 1, 3, 0.0)
        return GRUParams(
            w_i=initializers.per_gate("kernel_init", kernel_init, k_i, (in_features, features), 3, dtype),
            w_h=initializers.per_gate("recurrent_init", recurrent_init, k_h, (features, features), 3, dtype),
            b_i=b_i,
            b_h=b_h,
        )

    return Cell(
        name="gru",
        init=init,
        carry=zero_carry,
        project=project,
        step=step_of(options),
        input_shape=_input_shape,
        options=options,
    )


# Cached apart from the cell: cells that differ in how they begin share the compiled programs of their steps.
@functools.cache
def step_of(options: GRUOptions) -> functools.partial[tuple[jax.Array, jax.Array]]:
    """The step that these options stand for, the same function every time."""
    return functools.partial(_step, options)


def zero_carry(params: Any, batch_shape: tuple[int, ...] = ()) -> jax.Array:
    """h = 0, `(*batch_shape, H)`, for any params with a recurrent matrix `w_h (H, ...)`."""
    if not hasattr(params, "w_h"):
        raise TypeError(
            f"params: expected the params of a recurrent layer, got {type(params).__name__}; "
            "pass what this cell's init returned."
        )
    return jnp.zeros((*check_batch_shape(batch_shape), params.w_h.shape[0]), carry_dtype(params.w_h.dtype))


def project(params: Any, x: jax.Array) -> Any:
    """g = x W_i + b_i, `(..., I) -> (..., gates * H)`; of GRUGates a tuple, `(..., H)` for each of r, z, n."""
    if isinstance(params, GRUGates):
        return tuple(matmul(x, w) + b for w, b in zip(params.w_i, params.b_i, strict=True))
    return matmul(x, params.w_i) + params.b_i


def update(update_gate: str, z: jax.Array, h: jax.Array, n: jax.Array) -> jax.Array:
    """h', the old state and the candidate weighed by z."""
    return z * h + (1 - z) * n if update_gate == "keep" else (1 - z) * h + z * n


def _input_shape(params: Any) -> tuple[int]:
    check_params("gru", GRUParams, params, SHAPES)
    return (params.w_i.shape[0],)


def activate(
    options: GRUOptions,
    params: GRUParams | GRUGates,
    h: jax.Array,
    g: Any,
    product: Callable[[jax.Array, jax.Array], jax.Array] = matmul,
) -> GRUActivations:
    """All of a step but the update of the state; h is `(..., H)` and g what `project` returned.

    `product` is what stands between the state and its weights.
    """
    g_r, g_z, g_n = g if isinstance(params, GRUGates) else jnp.split(g, 3, axis=-1)
    w = params if isinstance(params, GRUGates) else gates(options, params)
    q_r, q_z, *q_n = jnp.split(product(h, w.w_h[0]) + w.b_h[0], 3 if options.reset_after else 2, axis=-1)
    r = jax.nn.sigmoid(g_r + q_r)
    z = jax.nn.sigmoid(g_z + q_z)
    (q,) = q_n or [product(r * h, w.w_h[1]) + w.b_h[1]]
    return GRUActivations(r, z, jnp.tanh(g_n + (r * q if options.reset_after else q)), q)


def _step(options: GRUOptions, params: Any, h: jax.Array, g: Any) -> tuple[jax.Array, jax.Array]:
    a = activate(options, params, h, g)
    h = update(options.update_gate, a.z, h, a.n)
    return h, h
