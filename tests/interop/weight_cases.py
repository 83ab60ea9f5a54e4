"""What the frameworks themselves computed, case by case, and the same computed by gru_jax from converted weights."""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

import gru_jax
from tests.places import RECORDED


class Recording(Mapping):
    """One case of a file: its arrays by name, and those whose names begin alike as a dict."""

    def __init__(self, arrays, case):
        self.arrays = {key.removeprefix(f"{case}/"): arrays[key] for key in arrays if key.startswith(f"{case}/")}

    def __getitem__(self, key):
        return self.arrays[key]

    def __iter__(self):
        return iter(self.arrays)

    def __len__(self):
        return len(self.arrays)

    def under(self, start):
        return {key.removeprefix(f"{start}/"): a for key, a in self.arrays.items() if key.startswith(f"{start}/")}


def load(family):
    """Every case of a framework by its name."""
    with np.load(RECORDED / f"interop_{family}.npz") as file:
        arrays = dict(file)
    names = sorted({key.split("/")[0] for key in arrays if "/" in key})
    return {name: Recording(arrays, name) for name in names}


def nested(flat, params):
    """carry[layer][direction] from (layers * directions, B, H)."""
    leaves = iter(flat)
    return tuple(tuple(next(leaves) for _ in layer) for layer in params)


def run(cell, params, xs, carry, *, weights=None, seq_lengths=None, **options):
    """(final, ys) of the stack, and with weights=(w_final, w_ys) the gradients of their weighted sum."""
    static = (cell, tuple(options.items()))
    if weights is None:
        return _forward(static, params, xs, carry, seq_lengths)
    (_, results), gradients = _backward(static, params, xs, carry, seq_lengths, weights)
    return results, gradients


# Compiled here once for all cases of the same shapes: compiling is what these tests take time for.
@functools.partial(jax.jit, static_argnums=0)
def _forward(static, params, xs, carry, seq_lengths):
    cell, options = static
    return gru_jax.scan_layers(cell, params, xs, carry, seq_lengths=seq_lengths, **dict(options))


def _loss(static, params, xs, carry, seq_lengths, weights):
    final, ys = _forward(static, params, xs, carry, seq_lengths)
    seen = jax.tree.map(lambda w, x: jnp.sum(w * x), weights, (final, ys))
    return sum(jax.tree.leaves(seen)), (final, ys)


_backward = jax.jit(jax.value_and_grad(_loss, argnums=(1, 2, 3), has_aux=True), static_argnums=0)


def worst(found, expected):
    """The largest absolute difference."""
    leaves = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    return max(float(np.max(np.abs(np.asarray(a) - np.asarray(b)), initial=0)) for a, b in leaves)


def same_bits(found, expected):
    """Whether two dicts of arrays have the same keys, shapes, dtypes and bits."""
    return list(found) == list(expected) and all(
        found[key].dtype == expected[key].dtype
        and found[key].shape == expected[key].shape
        and found[key].tobytes() == expected[key].tobytes()
        for key in expected
    )
