"""The long short-term memory."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gru_jax._cells import initializers
from gru_jax._cells.cell import Bound, Cell
from gru_jax._cells.checks import check_params
from gru_jax._cells.gru import project, zero_carry
from gru_jax._cells.initializers import Initializer
from gru_jax._cells.precision import add_bias, matmul


class LSTMParams(NamedTuple):
    """One LSTM layer in one direction; gates side by side in the order i, f, g, o.

    Attributes:
      w_i: `(I, 4H)`, applied to the input.
      w_h: `(H, 4H)`, applied to the state.
      b_i: `(4H,)`, the bias beside the input.
      b_h: `(4H,)`, the bias beside the state.
    """

    w_i: jax.Array
    w_h: jax.Array
    b_i: jax.Array
    b_h: jax.Array


class LSTMCarry(NamedTuple):
    """The state of an LSTM: the output h and the memory c, each `(*B, H)`."""

    h: jax.Array
    c: jax.Array


class LSTMStart(NamedTuple):
    """How the params of an LSTM begin; see `lstm`."""

    kernel_init: Initializer
    recurrent_init: Initializer
    bias_init: Initializer
    forget_bias: float
    chrono_span: float | None


def lstm(
    *,
    kernel_init: Initializer = initializers.lecun_normal,
    recurrent_init: Initializer = initializers.orthogonal,
    bias_init: Initializer = initializers.zeros,
    forget_bias: float = 0.0,
    chrono_span: float | None = None,
) -> Cell:
    """The long short-term memory.

        i  = σ(x W_ii + b_ii + h W_hi + b_hi)                    input gate
        f  = σ(x W_if + b_if + h W_hf + b_hf)                    forget gate
        g  = tanh(x W_ig + b_ig + h W_hg + b_hg)                 candidate
        o  = σ(x W_io + b_io + h W_ho + b_ho)                    output gate
        c' = f ∘ c + i ∘ g
        h' = o ∘ tanh(c')

    Args:
      kernel_init: `init(key, (I, H), dtype)`, called once per gate, for w_i.
      recurrent_init: `init(key, (H, H), dtype)`, called once per gate, for w_h.
      bias_init: `init(key, (H,), dtype)`, called once per gate and bias.
      forget_bias: the initial bias of the forget gate, when not 0; 1 is common (Jozefowicz et al. 2015).
      chrono_span: the longest time span to remember at the start, in steps. The forget gate's bias is drawn
        from it, and the input gate's is the negative (Tallec & Ollivier 2018).

    Returns:
      A `Cell` whose params are `LSTMParams` and whose carry is `LSTMCarry(h, c)`, each `(*B, H)`; y is h' in the
      input's dtype.

    Raises:
      TypeError, ValueError: for options that contradict each other.

    Source: Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000.
    """
    initializers.check_initializers(kernel_init=kernel_init, recurrent_init=recurrent_init, bias_init=bias_init)
    initializers.check_bias_options("forget_bias", forget_bias, chrono_span)
    return _lstm(LSTMStart(kernel_init, recurrent_init, bias_init, float(forget_bias), chrono_span))


@functools.cache
def _lstm(start: LSTMStart) -> Cell:
    return Cell("lstm", Bound(_init, start), _zero_carry, project, _step, _input_shape)


def _init(start: LSTMStart, key: jax.Array, in_features: int, features: int, dtype: Any = jnp.float32) -> LSTMParams:
    kernel_init, recurrent_init, bias_init, forget_bias, chrono_span = start
    in_features, features, dtype = initializers.check_init(key, in_features, features, dtype)
    k_i, k_h, k_bi, k_bh, k_f = jax.random.split(key, 5)
    b_i = initializers.per_gate("bias_init", bias_init, k_bi, (features,), 4, dtype)
    b_h = initializers.per_gate("bias_init", bias_init, k_bh, (features,), 4, dtype)
    if forget_bias != 0.0:
        b_i = initializers.set_gate(b_i, 1, 4, forget_bias)
        b_h = initializers.set_gate(b_h, 1, 4, 0.0)
    if chrono_span is not None:
        keeps = initializers.chrono(k_f, features, chrono_span, dtype)
        for gate, value in ((0, -keeps), (1, keeps)):
            b_i = initializers.set_gate(b_i, gate, 4, value)
            b_h = initializers.set_gate(b_h, gate, 4, 0.0)
    return LSTMParams(
        w_i=initializers.per_gate("kernel_init", kernel_init, k_i, (in_features, features), 4, dtype),
        w_h=initializers.per_gate("recurrent_init", recurrent_init, k_h, (features, features), 4, dtype),
        b_i=b_i,
        b_h=b_h,
    )


def _zero_carry(params: Any, batch_shape: tuple[int, ...] = ()) -> LSTMCarry:
    return LSTMCarry(h=zero_carry(params, batch_shape), c=zero_carry(params, batch_shape))


def _input_shape(params: Any) -> tuple[int]:
    check_params("lstm", LSTMParams, params, {"w_i": ("I", "4H"), "w_h": ("H", "4H"), "b_i": ("4H",), "b_h": ("4H",)})
    return (params.w_i.shape[0],)


def _step(params: LSTMParams, carry: LSTMCarry, projected: jax.Array) -> tuple[LSTMCarry, jax.Array]:
    i, f, g, o = jnp.split(add_bias(projected + matmul(carry.h, params.w_h), params.b_h), 4, axis=-1)
    c = jax.nn.sigmoid(f) * carry.c + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return LSTMCarry(h, c), h
