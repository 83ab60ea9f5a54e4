"""The derivative of a GRU's step, linear in dh, the tangent of its state; the coefficients follow from known values.

With p = (g_r + q_r, g_z + q_z, g_n, q), the pre-activations of `gru`, and v, the tangent of p with h and r held:

    dh' = k ∘ dh + a_z ∘ (v_z + dh W_hz) + a_n ∘ v_n + ...       a_z = ±(h - n) z'      a_n = (1 - k) n'

    reset_after=True:   ... = a_r ∘ (v_r + dh W_hr) + a_q ∘ (v_q + dh W_hn)
                        a_r = a_n q r'             a_q = a_n r
    reset_after=False:  ... = a_n ∘ (v_q + (a_r ∘ (v_r + dh W_hr) + a_q ∘ dh) W_hn)
                        a_r = h r'                 a_q = r

k is z ("keep") or 1 - z ("write"). r', z' and n' are the derivatives of the functions that make r, z and n: r (1 - r),
z (1 - z) and 1 - n² for σ and tanh; `jax.jvp` computes any others at what these functions are given.

`recur` is the part in dh and `drive` the part in v; `recur_back` and `drive_back` are their transposes. All treat
`(..., H)`: one step inside a loop, or all steps at once.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from gru_jax._cells.gru import GRUOptions, GRUPreActivations, activations, candidate_argument
from gru_jax._cells.precision import carry_dtype


class Coefficients(NamedTuple):
    """The coefficients of the linear recurrence, `(..., H)` each; `recur_back` needs no a_n with reset_after=True."""

    k: Any
    a_r: Any
    a_z: Any
    a_n: Any
    a_q: Any


def is_custom(options: GRUOptions) -> bool:
    """Whether an activation differs from tanh and σ, so that its value does not give its derivative."""
    return options.activation is not jnp.tanh or options.gate_activation is not jax.nn.sigmoid


def coefficients_of(
    options: GRUOptions, p: GRUPreActivations, h: jax.Array, valid: jax.Array | None = None
) -> Coefficients:
    """The coefficients at known p and h; where `valid (...)` is False, k = 1 and all others 0."""
    r, z, n = activations(options, p)
    d_r, d_z, d_n = _slopes(options, p, r, z, n)
    k = z if options.update_gate == "keep" else 1 - z
    a_z = (h - n if options.update_gate == "keep" else n - h) * d_z
    a_n = (1 - k) * d_n
    a_r, a_q = (a_n * p.q * d_r, a_n * r) if options.reset_after else (h * d_r, r)
    if valid is None:
        return Coefficients(k, a_r, a_z, a_n, a_q)
    there = valid[..., None]
    return Coefficients(jnp.where(there, k, 1), *(jnp.where(there, a, 0) for a in (a_r, a_z, a_n, a_q)))


def _slopes(
    options: GRUOptions, p: GRUPreActivations, r: jax.Array, z: jax.Array, n: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """r', z' and n'."""
    if not is_custom(options):
        return r * (1 - r), z * (1 - z), 1 - n * n

    def slope(function: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
        return jax.jvp(function, (x,), (jnp.ones_like(x),))[1]

    gate = options.gate_activation
    return slope(gate, p.r), slope(gate, p.z), slope(options.activation, candidate_argument(options, p, r))


def transposed_parts(options: GRUOptions, w_h: jax.Array) -> tuple[jax.Array, ...]:
    """The recurrent weights `(H, 3H)` as the functions below take them.

    Transposed, as that is how the loop of the backward pass, the one that training runs, reads them best. Cut where the
    reset gate acts before the product.
    """
    r_and_z = 2 * w_h.shape[0]
    return (w_h.T,) if options.reset_after else (w_h[:, :r_and_z].T, w_h[:, r_and_z:].T)


def recur(options: GRUOptions, w_h: tuple[jax.Array, ...], a: Coefficients, dh: jax.Array) -> jax.Array:
    """A dh."""
    if options.reset_after:
        to_r, to_z, to_q = jnp.split(_times(dh, w_h[0]), 3, axis=-1)
        return a.k * dh + a.a_r * to_r + a.a_z * to_z + a.a_q * to_q
    to_r, to_z = jnp.split(_times(dh, w_h[0]), 2, axis=-1)
    return a.k * dh + a.a_z * to_z + a.a_n * _times(a.a_r * to_r + a.a_q * dh, w_h[1])


def recur_back(
    options: GRUOptions, w_h: tuple[jax.Array, ...], a: Coefficients, ct: jax.Array
) -> tuple[jax.Array, jax.Array | None]:
    """The transpose of `recur`: Aᵀ ct; and s = (a_n ∘ ct) W_hnᵀ where the reset gate acts before the product."""
    if options.reset_after:
        return a.k * ct + _times_back(jnp.concatenate([a.a_r * ct, a.a_z * ct, a.a_q * ct], -1), w_h[0]), None
    s = _times_back(a.a_n * ct, w_h[1])
    return a.k * ct + a.a_q * s + _times_back(jnp.concatenate([a.a_r * s, a.a_z * ct], -1), w_h[0]), s


def drive(
    options: GRUOptions, w_h: tuple[jax.Array, ...], a: Coefficients, v: GRUPreActivations | None
) -> jax.Array | None:
    """The part of dh' in v, whose parts may be None for zero; None where all are."""
    if v is None:
        return None
    if options.reset_after:
        return total(_scaled(a.a_r, v.r), _scaled(a.a_z, v.z), _scaled(a.a_n, v.n), _scaled(a.a_q, v.q))
    through_r = None if v.r is None else _times(a.a_r * v.r, w_h[1])
    return total(_scaled(a.a_z, v.z), _scaled(a.a_n, total(v.n, v.q, through_r)))


def drive_back(
    options: GRUOptions, w_h: tuple[jax.Array, ...], a: Coefficients, ct: jax.Array, s: jax.Array | None
) -> GRUPreActivations:
    """The transpose of `drive`; s is what `recur_back` returned, or None to compute it here."""
    if options.reset_after:
        q, n, z, r = a.a_q * ct, a.a_n * ct, a.a_z * ct, a.a_r * ct
        return GRUPreActivations(r, z, n, q)
    c_n = a.a_n * ct
    return GRUPreActivations(a.a_r * (_times_back(c_n, w_h[1]) if s is None else s), a.a_z * ct, c_n, c_n)


def total(*terms: jax.Array | None) -> jax.Array | None:
    """The sum, where None is zero; None if all are."""
    return functools.reduce(lambda a, b: b if a is None else a if b is None else a + b, terms)


def _scaled(a: jax.Array, b: jax.Array | None) -> jax.Array | None:
    return None if b is None else a * b


def _times(x: jax.Array, transposed: jax.Array) -> jax.Array:
    """x W, of W transposed."""
    return _contract(x, transposed, 1)


def _times_back(x: jax.Array, transposed: jax.Array) -> jax.Array:
    """x Wᵀ, of W transposed."""
    return _contract(x, transposed, 0)


def _contract(x: jax.Array, w: jax.Array, axis: int) -> jax.Array:
    both: Any = (((x.ndim - 1,), (axis,)), ((), ()))
    return lax.dot_general(jnp.astype(x, w.dtype), w, both, preferred_element_type=carry_dtype(w.dtype))
