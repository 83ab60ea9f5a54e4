"""The gated recurrent unit."""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from gru_jax._cells import initializers
from gru_jax._cells.activations import Activation, check_activation, named, restored
from gru_jax._cells.cell import Bound, Cell, options_words
from gru_jax._cells.checks import check_batch_shape, check_flag, check_params
from gru_jax._cells.initializers import Initializer
from gru_jax._cells.precision import add_bias, carry_dtype, matmul


class GRUParams(NamedTuple):
    """One GRU layer in one direction; gates side by side in the order r, z, n.

    Attributes:
      w_i: `(I, 3H)`, applied to the input.
      w_h: `(H, 3H)`, applied to the state.
      b_i: `(3H,)`, the bias beside the input, or None for none.
      b_h: `(3H,)`, the bias beside the state, or None for none.
    """

    w_i: jax.Array
    w_h: jax.Array
    b_i: jax.Array | None
    b_h: jax.Array | None


class GRUGates(NamedTuple):
    """GRUParams cut for a loop over time; `project` and `preactivations` take either.

    XLA:CPU does not vectorise elementwise code that picks its step and its gate from one array of all projections. With
    an array for each gate, the loop runs about twice as fast. Products with the state are as wide as the equations
    allow, for fewer kernels a step. The weights are cut before the loop: XLA would leave their slicing inside.

    Attributes:
      w_i: `(I, H)` for each of r, z, n, or one `(I, 3H)`.
      b_i: `(H,)` for each of r, z, n, or one `(3H,)`; None for none.
      w_h: `(H, 3H)` of all three, or `(H, 2H)` of r, z and `(H, H)` of n where the reset gate acts before the product.
      b_h: likewise, or None for none.
    """

    w_i: tuple[jax.Array, ...]
    w_h: tuple[jax.Array, ...]
    b_i: tuple[jax.Array | None, ...]
    b_h: tuple[jax.Array | None, ...]


class GRUPreActivations(NamedTuple):
    """p: all that a step needs of its products, `(..., H)` each.

    Attributes:
      r: g_r + q_r, what the reset gate is made of.
      z: g_z + q_z, what the update gate is made of.
      n: g_n, the input's part of the candidate.
      q: the state's part of the candidate.
    """

    r: Any
    z: Any
    n: Any
    q: Any


class GRUActivations(NamedTuple):
    """The gates and the candidate, `(..., H)` each."""

    r: jax.Array
    z: jax.Array
    n: jax.Array


class GRUOptions(NamedTuple):
    """Which GRU equations a cell computes, and which biases its `init` makes."""

    reset_after: bool
    update_gate: Literal["keep", "write"]
    use_bias: bool | Literal["input"] = True
    activation: Activation = jnp.tanh
    gate_activation: Activation = jax.nn.sigmoid

    def __repr__(self) -> str:
        """The options as `gru` takes them, without the addresses of functions."""
        return f"GRUOptions{options_words(self)}"

    def __reduce__(self) -> Any:
        """For pickle, which does not find the functions of JAX by itself."""
        return _options, (*self[:3], named(self.activation), named(self.gate_activation))


def _options(reset_after: bool, update_gate: Any, use_bias: Any, activation: Any, gate_activation: Any) -> GRUOptions:
    return GRUOptions(reset_after, update_gate, use_bias, restored(activation), restored(gate_activation))


class GRUStart(NamedTuple):
    """How the params of a GRU begin; see `gru`."""

    options: GRUOptions
    kernel_init: Initializer
    recurrent_init: Initializer
    bias_init: Initializer
    update_bias: float
    chrono_span: float | None


def gates(options: GRUOptions, params: GRUParams, *, wide: bool = False) -> GRUGates:
    """The params cut for a loop; those beside the input stay side by side where `wide` is set."""
    r_and_z = 2 * params.w_h.shape[-1] // 3

    def cut(leaf: Any) -> tuple[Any, ...]:
        if options.reset_after:
            return (leaf,)
        return (None, None) if leaf is None else (leaf[..., :r_and_z], leaf[..., r_and_z:])

    return GRUGates(
        w_i=(params.w_i,) if wide else tuple(jnp.split(params.w_i, 3, axis=-1)),
        w_h=cut(params.w_h),
        b_i=(params.b_i,) if wide else (None,) * 3 if params.b_i is None else tuple(jnp.split(params.b_i, 3, axis=-1)),
        b_h=cut(params.b_h),
    )


SHAPES: dict[str, tuple[str, ...]] = {"w_i": ("I", "3H"), "w_h": ("H", "3H"), "b_i": ("3H",), "b_h": ("3H",)}


def check_update_gate(value: Any) -> None:
    """Raise for all but the two conventions."""
    if not isinstance(value, str) or value not in ("keep", "write"):
        raise ValueError(
            f'update_gate: expected "keep" (z near 1 keeps the old state) or "write" (z near 1 writes the candidate), '
            f"got {value!r}; pass one of the two."
        )


def check_use_bias(value: Any) -> Any:
    """`value`; raises where it is not True, False or "input"."""
    if isinstance(value, str) and value == "input":
        return value
    if not isinstance(value, bool):
        raise ValueError(
            'use_bias: expected True (beside the input and beside the state), "input" (beside the input alone) or '
            f"False (none), got {value!r}; pass one of the three."
        )
    return value


def gru(
    *,
    reset_after: bool = True,
    update_gate: Literal["keep", "write"] = "keep",
    kernel_init: Initializer = initializers.lecun_normal,
    recurrent_init: Initializer = initializers.orthogonal,
    bias_init: Initializer = initializers.zeros,
    update_bias: float = 0.0,
    chrono_span: float | None = None,
    use_bias: bool | Literal["input"] = True,
    activation: Activation = jnp.tanh,
    gate_activation: Activation = jax.nn.sigmoid,
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
      chrono_span: the longest time span to remember at the start, in steps. The update gate's bias is drawn so that
        memories reach from 2 to that many steps (Tallec & Ollivier 2018).
      use_bias: True for both biases, "input" for b_i alone, False for none. A bias that is left out is None.
      activation: used in place of tanh: a function of JAX that treats each number alone and keeps shape and dtype.
        Define it at a module's level: a lambda written twice makes two cells, which compile apart and do not pickle.
      gate_activation: used in place of σ for both gates: such a function.

    Returns:
      A `Cell` whose params are `GRUParams` and whose carry is h, `(*B, H)`; y is h' in the input's dtype.

    Raises:
      TypeError, ValueError: for options that do not exist or contradict each other.

    Source: Cho et al. 2014, "Learning phrase representations using RNN encoder-decoder".
    """
    check_update_gate(update_gate)
    initializers.check_initializers(kernel_init=kernel_init, recurrent_init=recurrent_init, bias_init=bias_init)
    initializers.check_bias_options("update_bias", update_bias, chrono_span)
    check_use_bias(use_bias)
    if not use_bias and (update_bias != 0.0 or chrono_span is not None):
        name, value = ("update_bias", update_bias) if chrono_span is None else ("chrono_span", chrono_span)
        raise ValueError(
            f"{name}: expected none with use_bias=False, got {value}; it sets a bias, which is not there: leave it "
            'out, or pass use_bias="input".'
        )
    check_activation("activation", activation)
    check_activation("gate_activation", gate_activation)
    options = GRUOptions(check_flag("reset_after", reset_after), update_gate, use_bias, activation, gate_activation)
    return _gru(GRUStart(options, kernel_init, recurrent_init, bias_init, float(update_bias), chrono_span))


# Cached, so that equal options give the same object: it compares faster than an equal cell does.
@functools.cache
def _gru(start: GRUStart) -> Cell:
    return Cell(
        name="gru",
        init=Bound(_init, start),
        carry=zero_carry,
        project=project,
        step=step_of(start.options),
        input_shape=_input_shape,
        options=start.options,
    )


def _init(start: GRUStart, key: jax.Array, in_features: int, features: int, dtype: Any = jnp.float32) -> GRUParams:
    options, kernel_init, recurrent_init, bias_init, update_bias, chrono_span = start
    in_features, features, dtype = initializers.check_init(key, in_features, features, dtype)
    k_i, k_h, k_bi, k_bh, k_z = jax.random.split(key, 5)
    b_i = b_h = None
    if options.use_bias:
        b_i = initializers.per_gate("bias_init", bias_init, k_bi, (features,), 3, dtype)
    if options.use_bias is True:
        b_h = initializers.per_gate("bias_init", bias_init, k_bh, (features,), 3, dtype)
    if b_i is not None and (update_bias != 0.0 or chrono_span is not None):
        if chrono_span is not None:
            keeps = initializers.chrono(k_z, features, chrono_span, dtype)
            value = keeps if options.update_gate == "keep" else -keeps
        else:
            value = update_bias
        b_i = initializers.set_gate(b_i, 1, 3, value)
        b_h = None if b_h is None else initializers.set_gate(b_h, 1, 3, 0.0)
    return GRUParams(
        w_i=initializers.per_gate("kernel_init", kernel_init, k_i, (in_features, features), 3, dtype),
        w_h=initializers.per_gate("recurrent_init", recurrent_init, k_h, (features, features), 3, dtype),
        b_i=b_i,
        b_h=b_h,
    )


def step_of(options: GRUOptions) -> Bound:
    """The step that these options stand for."""
    return Bound(_step, options)


def zero_carry(params: Any, batch_shape: tuple[int, ...] = ()) -> jax.Array:
    """h = 0, `(*batch_shape, H)`, for any params with a recurrent matrix `w_h (H, ...)`."""
    if not hasattr(params, "w_h"):
        raise TypeError(
            f"params: expected the params of a recurrent layer, got {type(params).__name__}; "
            "pass what this cell's init returned."
        )
    return jnp.zeros((*check_batch_shape(batch_shape), params.w_h.shape[0]), carry_dtype(params.w_h.dtype))


def project(params: Any, x: jax.Array) -> Any:
    """g = x W_i + b_i, `(..., I) -> (..., gates * H)`; with GRUGates a tuple of what each part gives."""
    if isinstance(params, GRUGates):
        return tuple(add_bias(matmul(x, w), b) for w, b in zip(params.w_i, params.b_i, strict=True))
    return add_bias(matmul(x, params.w_i), params.b_i)


def update(update_gate: str, z: jax.Array, h: jax.Array, n: jax.Array) -> jax.Array:
    """h', the old state and the candidate weighed by z."""
    return z * h + (1 - z) * n if update_gate == "keep" else (1 - z) * h + z * n


def _input_shape(params: Any) -> tuple[int]:
    check_params("gru", GRUParams, params, SHAPES, optional=("b_i", "b_h"))
    return (params.w_i.shape[0],)


def preactivations(
    options: GRUOptions,
    params: GRUParams | GRUGates,
    h: jax.Array,
    g: Any,
    product: Callable[[jax.Array, jax.Array], jax.Array] = matmul,
) -> GRUPreActivations:
    """p, from the state h `(..., H)` and g, which `project` returned.

    `product` multiplies the state with its weights.
    """
    parts = g if isinstance(g, tuple) else (g,)
    g_r, g_z, g_n = parts if len(parts) == 3 else jnp.split(parts[0], 3, axis=-1)
    w = params if isinstance(params, GRUGates) else gates(options, params)
    q_r, q_z, *q_n = jnp.split(add_bias(product(h, w.w_h[0]), w.b_h[0]), 3 if options.reset_after else 2, axis=-1)
    p_r = g_r + q_r
    (q,) = q_n or [add_bias(product(options.gate_activation(p_r) * h, w.w_h[1]), w.b_h[1])]
    return GRUPreActivations(p_r, g_z + q_z, g_n, q)


def activations(options: GRUOptions, p: GRUPreActivations) -> GRUActivations:
    """r, z and n, made of p."""
    r = options.gate_activation(p.r)
    return GRUActivations(r, options.gate_activation(p.z), options.activation(candidate_argument(options, p, r)))


def candidate_argument(options: GRUOptions, p: GRUPreActivations, r: jax.Array) -> jax.Array:
    """What n is made of: the sum of both parts of the candidate, the state's under the reset gate."""
    return p.n + (r * p.q if options.reset_after else p.q)


def next_state(options: GRUOptions, p: GRUPreActivations, h: jax.Array) -> jax.Array:
    """h', from p and the state."""
    a = activations(options, p)
    return update(options.update_gate, a.z, h, a.n)


def _step(options: GRUOptions, params: Any, h: jax.Array, g: Any) -> tuple[jax.Array, jax.Array]:
    h = next_state(options, preactivations(options, params, h, g), h)
    return h, h
