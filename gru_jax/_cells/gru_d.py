"""GRU-D, for series with missing values: inputs and state decay while nothing is observed."""

import functools
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from gru_jax._cells import initializers
from gru_jax._cells.cell import Bound, Cell
from gru_jax._cells.checks import check_batch_shape, check_flag, check_params
from gru_jax._cells.gru import GRUOptions, GRUParams, check_update_gate, next_state, preactivations
from gru_jax._cells.initializers import Initializer
from gru_jax._cells.precision import add_bias, beside, carry_dtype, matmul


class GRUDParams(NamedTuple):
    """One GRU-D layer in one direction; gates side by side in the order r, z, n.

    Attributes:
      w_i: `(I, 3H)`, applied to the input, imputed where it was not observed.
      w_h: `(H, 3H)`, applied to the decayed state.
      w_m: `(I, 3H)`, applied to the mask of what was observed.
      b_i: `(3H,)`, the bias beside the input.
      b_h: `(3H,)`, the bias beside the state.
      w_decay_x: `(I,)`, how fast each variable decays to its mean, per unit of its gap.
      b_decay_x: `(I,)`, its bias.
      w_decay_h: `(I, H)`, how fast the state decays, per unit of each variable's gap.
      b_decay_h: `(H,)`, its bias.
    """

    w_i: jax.Array
    w_h: jax.Array
    w_m: jax.Array
    b_i: jax.Array
    b_h: jax.Array
    w_decay_x: jax.Array
    b_decay_x: jax.Array
    w_decay_h: jax.Array
    b_decay_h: jax.Array


class GRUDInputs(NamedTuple):
    """What a GRU-D reads at one step, or at all steps with a leading T.

    Attributes:
      x: `(*B, I)`, float, standardised so that each variable's mean is 0; anything, NaN included, where not observed.
      observed: `(*B, I)`, bool, or float of 0 and 1: which variables have a value at this step.
      gap: `(*B, I)`, float and finite: the time since each variable was last observed, as `time_gaps` computes it.
        Choose a unit in which most gaps are near 1, so that weights begin at a useful size. float32 is better even
        where x is narrower.
    """

    x: jax.Array
    observed: jax.Array
    gap: jax.Array


class GRUDCarry(NamedTuple):
    """The state of a GRU-D.

    Attributes:
      h: `(*B, H)`, the output.
      last: `(*B, I)`, the last observed value of each variable; 0, its mean, before any.
    """

    h: jax.Array
    last: jax.Array


class GRUDSeen(NamedTuple):
    """The part of a step that does not see the carry.

    Attributes:
      x: `(..., I)`, anything where not observed: selected from, never multiplied, as 0 * NaN would be NaN.
      observed: bool `(..., I)`.
      decay_x: γ_x, `(..., I)`.
      decay_h: γ_h, `(..., H)`.
      g: m W_m + b_i, `(..., 3H)`.
    """

    x: jax.Array
    observed: jax.Array
    decay_x: jax.Array
    decay_h: jax.Array
    g: jax.Array


class GRUDOptions(NamedTuple):
    """Which of the four GRU equations a GRU-D computes on the decayed state."""

    reset_after: bool
    update_gate: Literal["keep", "write"]


class GRUDStart(NamedTuple):
    """How the params of a GRU-D begin; see `gru_d`."""

    options: GRUDOptions
    kernel_init: Initializer
    recurrent_init: Initializer
    bias_init: Initializer
    decay_init: Initializer
    update_bias: float


def gru_d(
    *,
    reset_after: bool = False,
    update_gate: Literal["keep", "write"] = "write",
    kernel_init: Initializer = initializers.lecun_normal,
    recurrent_init: Initializer = initializers.orthogonal,
    bias_init: Initializer = initializers.zeros,
    decay_init: Initializer = initializers.rates,
    update_bias: float = 0.0,
) -> Cell:
    """The gated recurrent unit with decay, for series with missing values, measured at any times.

        γ_x = exp(-max(0, w_x ∘ gap + b_x))       γ_h = exp(-max(0, gap W_h + b_h))      decays
        last' = x where observed, else last
        x̂  = x where observed, else γ_x ∘ last                       a value that was seen fades to the mean, 0
        ĥ  = γ_h ∘ h
        r  = σ(x̂ W_ir + m W_mr + b_ir + ĥ W_hr + b_hr)               m = 1 where observed, else 0
        z  = σ(x̂ W_iz + m W_mz + b_iz + ĥ W_hz + b_hz)
        n  = tanh(x̂ W_in + m W_mn + b_in + (r ∘ ĥ) W_hn + b_hn)      reset_after=False (the paper's)
        n  = tanh(x̂ W_in + m W_mn + b_in + r ∘ (ĥ W_hn + b_hn))      reset_after=True
        h' = (1 - z) ∘ ĥ + z ∘ n                                     update_gate="write" (the paper's)
        h' = z ∘ ĥ + (1 - z) ∘ n                                     update_gate="keep"

    The x of a variable that is not observed reaches no value and no gradient, even if it is NaN. A run in reverse needs
    gaps measured in that direction; two directions that are given the same xs share one direction's gaps.

    Args:
      reset_after: whether the reset gate acts after the state's matrix product, or before it.
      update_gate: whether z near 1 writes the candidate or keeps the old state.
      kernel_init: `init(key, (I, H), dtype)`, called once per gate, for w_i and for w_m.
      recurrent_init: `init(key, (H, H), dtype)`, called once per gate, for w_h.
      bias_init: `init(key, (H,), dtype)`, called once per gate and bias. The biases of the decays begin at 0.
      decay_init: `init(key, (variables, outputs), dtype)` for the weights of the decays: `(I, H)` for the state,
        and `(1, I)` for the inputs, since each sees its own gap alone. A decay whose weights are all below 0 is 1 and
        has no gradient, so the default draws from 0 to 1 / variables.
      update_bias: the initial bias of the update gate, when not 0.

    Returns:
      A `Cell` whose params are `GRUDParams`, whose input is `GRUDInputs(x, observed, gap)`, each `(*B, I)`, and whose
      carry is `GRUDCarry(h, last)`, `(*B, H)` and `(*B, I)`; y is h' in the dtype of x.

    Raises:
      TypeError, ValueError: for options that do not exist or contradict each other.

    Source: Che et al. 2018, "Recurrent neural networks for multivariate time series with missing values",
    section "GRU-D: model with trainable decays".

    Example:
      >>> import gru_jax, jax, jax.numpy as jnp
      >>> cell = gru_jax.gru_d()
      >>> params = cell.init(jax.random.key(0), in_features=2, features=4)
      >>> x = jnp.array([[0.5, jnp.nan], [jnp.nan, 1.0], [jnp.nan, jnp.nan]])[:, None]  # (T, B, I)
      >>> observed = ~jnp.isnan(x)
      >>> gap = gru_jax.time_gaps(jnp.array([[0.0], [0.5], [2.0]]), observed)
      >>> carry, ys = gru_jax.scan(cell, params, gru_jax.GRUDInputs(x, observed, gap))
      >>> ys.shape, carry.last.tolist(), bool(jnp.all(jnp.isfinite(ys)))
      ((3, 1, 4), [[0.5, 1.0]], True)
    """
    check_update_gate(update_gate)
    initializers.check_initializers(
        kernel_init=kernel_init, recurrent_init=recurrent_init, bias_init=bias_init, decay_init=decay_init
    )
    initializers.check_bias_options("update_bias", update_bias, None)
    options = GRUDOptions(check_flag("reset_after", reset_after), update_gate)
    return _gru_d(GRUDStart(options, kernel_init, recurrent_init, bias_init, decay_init, float(update_bias)))


@functools.cache
def _gru_d(start: GRUDStart) -> Cell:
    options = start.options
    return Cell("gru_d", Bound(_init, start), _zero_carry, _project, Bound(_step, options), _input_shape, options)


def _init(start: GRUDStart, key: jax.Array, in_features: int, features: int, dtype: Any = jnp.float32) -> GRUDParams:
    _, kernel_init, recurrent_init, bias_init, decay_init, update_bias = start
    in_features, features, dtype = initializers.check_init(key, in_features, features, dtype)
    k_i, k_h, k_m, k_bi, k_bh, k_dx, k_dh = jax.random.split(key, 7)
    b_i = initializers.per_gate("bias_init", bias_init, k_bi, (features,), 3, dtype)
    b_h = initializers.per_gate("bias_init", bias_init, k_bh, (features,), 3, dtype)
    if update_bias != 0.0:
        b_i = initializers.set_gate(b_i, 1, 3, update_bias)
        b_h = initializers.set_gate(b_h, 1, 3, 0.0)
    return GRUDParams(
        w_i=initializers.per_gate("kernel_init", kernel_init, k_i, (in_features, features), 3, dtype),
        w_h=initializers.per_gate("recurrent_init", recurrent_init, k_h, (features, features), 3, dtype),
        w_m=initializers.per_gate("kernel_init", kernel_init, k_m, (in_features, features), 3, dtype),
        b_i=b_i,
        b_h=b_h,
        w_decay_x=initializers.per_gate("decay_init", decay_init, k_dx, (1, in_features), 1, dtype)[0],
        b_decay_x=jnp.zeros((in_features,), dtype),
        w_decay_h=initializers.per_gate("decay_init", decay_init, k_dh, (in_features, features), 1, dtype),
        b_decay_h=jnp.zeros((features,), dtype),
    )


_SHAPES: dict[str, tuple[str, ...]] = {
    "w_i": ("I", "3H"),
    "w_h": ("H", "3H"),
    "w_m": ("I", "3H"),
    "b_i": ("3H",),
    "b_h": ("3H",),
    "w_decay_x": ("I",),
    "b_decay_x": ("I",),
    "w_decay_h": ("I", "H"),
    "b_decay_h": ("H",),
}


def _input_shape(params: Any) -> Any:
    check_params("gru_d", GRUDParams, params, _SHAPES)
    # Sizes in place of arrays, as `Cell.input_shape` returns them for several inputs.
    features: Any = (params.w_i.shape[0],)
    return GRUDInputs(features, features, features)


def _zero_carry(params: Any, batch_shape: tuple[int, ...] = ()) -> GRUDCarry:
    if not isinstance(params, GRUDParams):
        raise TypeError(
            f"params: expected GRUDParams, got {type(params).__name__}; pass what this cell's init returned."
        )
    batch, dtype = check_batch_shape(batch_shape), carry_dtype(params.w_h.dtype)
    in_features, features = params.w_decay_h.shape
    return GRUDCarry(h=jnp.zeros((*batch, features), dtype), last=jnp.zeros((*batch, in_features), dtype))


def _project(params: GRUDParams, inputs: GRUDInputs) -> GRUDSeen:
    dtype = carry_dtype(inputs.x.dtype)
    # Bools, so that floats of 0 and 1 choose as bools do, and get no gradient.
    observed = inputs.observed != 0 if inputs.observed.dtype != jnp.bool_ else inputs.observed
    gap = jnp.astype(inputs.gap, dtype)
    # relu has the derivative 0 at 0: where the gap is 0 nothing has decayed, and no weight is to blame.
    return GRUDSeen(
        x=jnp.astype(inputs.x, dtype),
        observed=observed,
        decay_x=jnp.exp(-jax.nn.relu(add_bias(gap * beside(params.w_decay_x, gap), params.b_decay_x))),
        # In the carry's dtype: a gap of days in seconds is infinite in float16, and the gradients would be NaN.
        decay_h=jnp.exp(-jax.nn.relu(add_bias(matmul(gap, jnp.astype(params.w_decay_h, dtype)), params.b_decay_h))),
        g=add_bias(matmul(jnp.astype(observed, dtype), params.w_m), params.b_i),
    )


def _step(options: GRUDOptions, params: GRUDParams, carry: GRUDCarry, seen: GRUDSeen) -> tuple[GRUDCarry, jax.Array]:
    x = jnp.where(seen.observed, seen.x, seen.decay_x * carry.last)
    h = seen.decay_h * carry.h
    plain = GRUParams(params.w_i, params.w_h, params.b_i, params.b_h)
    plain_options = GRUOptions(*options)
    h = next_state(plain_options, preactivations(plain_options, plain, h, matmul(x, params.w_i) + seen.g), h)
    return GRUDCarry(h, jnp.where(seen.observed, seen.x, carry.last)), h
