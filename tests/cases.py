"""The cells and backends that every law is tested on, with the reference each is compared to."""

import contextlib
import functools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

import gru_jax
from tests import reference
from tests.throwaway_kernel import throwaway

I, H = 2, 3  # noqa: E741 - the letters of DESIGN.md


class Case(NamedTuple):
    """A cell on a backend, and its reference step."""

    name: str
    cell: gru_jax.Cell
    step: object
    backend: str

    def __str__(self):
        return f"{self.name}-{self.backend}"

    def params(self, seed=0, dtype=np.float64, in_features=I, features=H):
        """Random params of spread that drives the gates, biases included."""
        shapes = jax.eval_shape(lambda: self.cell.init(jax.random.key(0), in_features, features))
        rng = np.random.default_rng((seed, 7))
        return type(shapes)(*(rng.normal(scale=0.7, size=leaf.shape).astype(dtype) for leaf in shapes))

    def carry(self, batch, seed=0, dtype=np.float64, features=H):
        """A random carry, leaves (*batch, H)."""
        shapes = jax.eval_shape(lambda: self.cell.carry(self.params(features=features), batch_shape=batch))
        rng = np.random.default_rng((seed, 11))
        leaves, structure = jax.tree.flatten(shapes)
        return structure.unflatten(rng.normal(scale=0.5, size=leaf.shape).astype(dtype) for leaf in leaves)

    def xs(self, shape, seed=0, dtype=np.float64):
        """Random inputs."""
        return np.random.default_rng((seed, 13)).normal(size=(*shape, I)).astype(dtype)

    def scan(self, *args, **options):
        """gru_jax.scan on this case's backend."""
        return gru_jax.scan(self.cell, *args, backend=self.backend, **options)

    def run(self, *args, **options):
        """The reference."""
        return reference.run(self.step, *args, **options)

    def problem(self, steps, rows, dtype=np.float64):
        """Params, xs, a carry and a reset carry, and weights that make one number of ys and the final carry."""
        carry = self.carry((rows,), dtype=dtype)
        rng = np.random.default_rng((steps, rows, 17))
        weights = (
            rng.normal(size=(steps, rows, H)).astype(dtype),
            tuple(rng.normal(size=leaf.shape).astype(dtype) for leaf in jax.tree.leaves(carry)),
        )
        return (
            self.params(dtype=dtype),
            self.xs((steps, rows), dtype=dtype),
            carry,
            self.carry((rows,), 1, dtype),
        ), weights

    def differentiated(self, padding=None, *, with_resets=False, **options):
        """Compiled `(arguments, weights, valid or lengths, resets) -> (final carry, ys), gradients`; compiled once."""
        return _differentiated(self, padding, with_resets, tuple(options.items()))

    def expected(self, arguments, weights, valid=None, resets=None, reverse=False):
        """The same from the reference: values by running it, gradients by complex step."""
        params, xs, carry, restored = arguments
        flat, structure = jax.tree.flatten(arguments)
        leaves = jax.tree.leaves

        def loss(*flat):
            params, xs, carry, restored = structure.unflatten(flat)
            final, ys = self.run(tuple(params), xs, loose(carry), valid, resets, loose(restored), reverse)
            return np.sum(weights[0] * ys) + sum(np.sum(w * c) for w, c in zip(weights[1], leaves(final), strict=True))

        values = self.run(tuple(params), xs, loose(carry), valid, resets, loose(restored), reverse)
        gradients = [reference.complex_step(loss, flat, which) for which in range(len(flat))]
        return values, structure.unflatten(gradients)


@functools.cache
def _differentiated(case, padding, with_resets, options):
    def loss(arguments, weights, valid, resets):
        params, xs, carry, restored = arguments
        masks = ({} if padding is None else {padding: valid}) | ({"resets": resets} if with_resets else {})
        final, ys = case.scan(params, xs, carry, reset_carry=restored, **masks, **dict(options))
        seen = [jnp.sum(w * c) for w, c in zip(weights[1], jax.tree.leaves(final), strict=True)]
        return jnp.sum(weights[0] * ys) + sum(seen), (final, ys)

    def run(arguments, weights, valid=None, resets=None):
        (_, values), gradients = jax.value_and_grad(loss, has_aux=True)(arguments, weights, valid, resets)
        return values, gradients

    return jax.jit(run)


EQUATIONS = [
    *(
        (
            f"gru-{'after' if reset_after else 'before'}-{update_gate}",
            gru_jax.gru(reset_after=reset_after, update_gate=update_gate),
            functools.partial(reference.gru_step, reset_after=reset_after, update_gate=update_gate),
        )
        for reset_after in (True, False)
        for update_gate in ("keep", "write")
    ),
    ("lstm", gru_jax.lstm(), reference.lstm_step),
    ("rnn", gru_jax.rnn(), reference.rnn_step),
    ("min_gru-write", gru_jax.min_gru(), reference.min_gru_step),
    (
        "min_gru-keep",
        gru_jax.min_gru(update_gate="keep"),
        functools.partial(reference.min_gru_step, update_gate="keep"),
    ),
]

CASES = [
    *(Case(name, cell, step, "scan") for name, cell, step in EQUATIONS),
    *(Case(name, cell, step, "fused") for name, cell, step in EQUATIONS if cell.name == "gru"),
]

# One of each kind on each backend, for laws of running over time; "fused" once for each place of the reset gate.
KINDS = [
    case
    for case in CASES
    if case.name in ("gru-after-keep", "lstm", "rnn", "min_gru-write") or str(case) == "gru-before-write-fused"
]
# The same laws through a kernel, to show that a kernel is a lowering and nothing else.
KINDS += [case._replace(backend=throwaway.name) for case in KINDS if case.backend == "fused"]

# A plain state and a state of two parts, for what does not depend on the equation.
FEW = [case for case in CASES if case.name in ("gru-after-keep", "lstm")]


@contextlib.contextmanager
def in_64_bits():
    """64-bit JAX in all threads: callbacks run in others, which `jax.enable_x64` leaves as they are."""
    jax.config.update("jax_enable_x64", True)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", False)


def loose(carry):
    """A carry as the reference takes it: one array, or a plain tuple of them."""
    return tuple(carry) if isinstance(carry, tuple) else carry


def plain(tree):
    """The same, as NumPy arrays."""
    return jax.tree.map(np.asarray, loose(tree))


def assert_close(actual, expected, *, rtol=0.0, atol=0.0):
    """Leaf by leaf, whatever holds the leaves; tolerances are stated by the caller."""
    chex.assert_trees_all_close(jax.tree.leaves(actual), jax.tree.leaves(expected), rtol=rtol, atol=atol)


def relative_error(actual, expected):
    """The largest difference over the largest magnitude, over all leaves of a tree."""
    pairs = list(zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True))
    largest = max(np.max(np.abs(e), initial=0.0) for _, e in pairs)
    return max(np.max(np.abs(np.asarray(a) - np.asarray(e)), initial=0.0) for a, e in pairs) / max(largest, 1e-30)
