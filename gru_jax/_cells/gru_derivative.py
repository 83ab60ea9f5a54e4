"""The derivative of a GRU's step, linear in dh, the tangent of its state; the coefficients follow from known states.

    dh' = k ∘ dh + a_z ∘ (u_z + dh W_hz) + a_n ∘ dg_n + ...      a_z = ±(h - n) z'      a_n = (1 - k) n'

    reset_after=True:   ... = a_r ∘ (u_r + dh W_hr) + a_q ∘ (h dW_hn + db_hn + dh W_hn)
                        a_r = a_n q r'             a_q = a_n r
    reset_after=False:  ... = a_n ∘ ((r ∘ h) dW_hn + db_hn + (a_r ∘ (u_r + dh W_hr) + a_q ∘ dh) W_hn)
                        a_r = h r'                 a_q = r

u_r = dg_r + h dW_hr + db_hr, and u_z likewise. r', z' and n' are the derivatives of the functions that make r, z and n:
r (1 - r), z (1 - z) and 1 - n² for σ and tanh; `jax.jvp` computes any others at the pre-activations.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from gru_jax._cells.gru import GRUActivations, GRUOptions, GRUPreActivations
from gru_jax._cells.precision import carry_dtype


class Coefficients(NamedTuple):
    """The coefficients of the linear recurrence, `(..., H)` each."""

    k: jax.Array
    a_r: jax.Array
    a_z: jax.Array
    a_n: jax.Array
    a_q: jax.Array


def is_custom(options: GRUOptions) -> bool:
    """Whether an activation differs from tanh and σ, so that its value does not give its derivative."""
    return options.activation is not jnp.tanh or options.gate_activation is not jax.nn.sigmoid


def slopes_of(
    options: GRUOptions, activations: GRUActivations, before: GRUPreActivations | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The derivatives r', z' and n'. `before`, what their functions were given, is needed for other than tanh and σ."""
    r, z, n, _ = activations
    if not is_custom(options):
        return r * (1 - r), z * (1 - z), 1 - n * n
    assert before is not None

    def slope(function: Callable[[jax.Array], jax.Array], p: jax.Array) -> jax.Array:
        return jax.jvp(function, (p,), (jnp.ones_like(p),))[1]

    gate = options.gate_activation
    return slope(gate, before.r), slope(gate, before.z), slope(options.activation, before.n)


def coefficients_of(
    options: GRUOptions, h: jax.Array, activations: GRUActivations, slopes: tuple[jax.Array, jax.Array, jax.Array]
) -> Coefficients:
    r, z, n, q = activations
    d_r, d_z, d_n = slopes
    k = z if options.update_gate == "keep" else 1 - z
    a_z = (h - n if options.update_gate == "keep" else n - h) * d_z
    a_n = (1 - k) * d_n
    if options.reset_after:
        return Coefficients(k, a_n * q * d_r, a_z, a_n, a_n * r)
    return Coefficients(k, h * d_r, a_z, a_n, r)


def recurrence(options: GRUOptions, w_h: Any) -> Callable[[Coefficients, jax.Array], jax.Array]:
    """The function `(coefficients, dh) -> A dh` for these recurrent weights."""
    # Laid out for the transposed loop, which is the one that training runs.
    transposed = [w.T for w in w_h]

    def products(dh: jax.Array, w: jax.Array, number: int) -> list[jax.Array]:
        both = (((1,), (1,)), ((), ()))
        wide = lax.dot_general(jnp.astype(dh, w.dtype), w, both, preferred_element_type=carry_dtype(w.dtype))
        return jnp.split(wide, number, axis=-1)

    def reset_after(a: Coefficients, dh: jax.Array) -> jax.Array:
        to_r, to_z, to_q = products(dh, transposed[0], 3)
        return a.k * dh + a.a_r * to_r + a.a_z * to_z + a.a_q * to_q

    def reset_before(a: Coefficients, dh: jax.Array) -> jax.Array:
        to_r, to_z = products(dh, transposed[0], 2)
        (to_n,) = products(a.a_r * to_r + a.a_q * dh, transposed[1], 1)
        return a.k * dh + a.a_z * to_z + a.a_n * to_n

    return reset_after if options.reset_after else reset_before
