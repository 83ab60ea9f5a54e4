"""Which dtype each part of a step computes in.

Matrices multiply in the input's dtype and accumulate in the carry's. Everything else, biases included, stays in the
carry's dtype: float64 for float64, float32 for all others (Micikevicius et al. 2018, "Mixed precision training").
"""

from typing import Any

import jax
import jax.numpy as jnp

# The name of the setting that `jax.default_matmul_precision` changes.
_PRECISION = "jax_default_matmul_precision"


def current_precision() -> str | None:
    """The precision of matrix products that `jax.default_matmul_precision` is set to; None for JAX's own."""
    return getattr(jax.config, _PRECISION)


def carry_dtype(dtype: Any) -> jnp.dtype:
    """float64 for float64; float32 for every narrower float, and for NumPy's float64 while JAX runs in 32 bits."""
    wide = jnp.dtype("float64")
    return wide if jax.dtypes.canonicalize_dtype(dtype) == wide else jnp.dtype("float32")


def input_dtype(x: Any) -> jnp.dtype:
    """The dtype of an input, or of its first array if it holds several. Products run in it, and y has it."""
    return jax.tree.leaves(x)[0].dtype


def compute_params(params: Any, dtype: Any) -> Any:
    """Params as a step on inputs of `dtype` uses them: matrices in `dtype`, vectors in the carry's dtype.

    What is not a float, such as a table of indices, stays as it is.
    """
    vectors = carry_dtype(dtype)

    def cast(leaf: jax.Array) -> jax.Array:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
        return jnp.astype(leaf, dtype if leaf.ndim > 1 else vectors)

    return jax.tree.map(cast, params)


def matmul(x: jax.Array, w: jax.Array) -> jax.Array:
    """x @ w, `(..., I) @ (I, J) -> (..., J)`, in the dtype of w, accumulated in the carry's dtype."""
    return jnp.matmul(jnp.astype(x, w.dtype), w, preferred_element_type=carry_dtype(w.dtype))


def beside(b: jax.Array, x: jax.Array) -> jax.Array:
    """b `(J,)` with the rank of x `(..., J)`, so that the two broadcast even where JAX must not promote ranks."""
    return jnp.expand_dims(b, tuple(range(x.ndim - 1)))


def add_bias(x: jax.Array, b: jax.Array | None) -> jax.Array:
    """x + b, `(..., J)` and `(J,)`; a bias of None counts as 0."""
    return x if b is None else x + beside(b, x)
