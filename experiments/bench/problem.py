"""What every contender computes: one set of weights, inputs and masks for a shape, and the work in it by formula."""

import dataclasses
import functools
from typing import NamedTuple

import numpy as np

from experiments.bench.schema import Option, Shape

RESET_EVERY = 64
"""A step starts a new sequence with probability 1 / RESET_EVERY."""


class Weights(NamedTuple):
    """A GRU's weights in float32, gates stacked in the order r, z, n."""

    w_i: np.ndarray
    """(I, 3H)"""
    w_h: np.ndarray
    """(H, 3H)"""
    b_i: np.ndarray
    """(3H,)"""
    b_h: np.ndarray
    """(3H,)"""

    def with_gates_on_input_bias(self, *, candidate: bool = False) -> "Weights":
        """The same function with b_h of r and z added to b_i instead, for libraries that lack b_h there.

        ``candidate``: move all of b_h, which keeps the function only if the reset gate comes before the product.
        """
        moved = self.b_h.copy()
        if not candidate:
            moved[2 * len(moved) // 3 :] = 0
        return self._replace(b_i=self.b_i + moved, b_h=self.b_h - moved)

    def without_hidden_bias(self) -> "Weights":
        """These weights with b_h zero: a GRU without a bias beside h."""
        return self._replace(b_h=np.zeros_like(self.b_h))

    def gates(self) -> "list[Weights]":
        """The weights of r, z and n apart, each as wide as one gate."""
        columns = zip(*(np.split(array, 3, axis=-1) for array in self), strict=True)
        return [Weights(*gate) for gate in columns]


def join(gates: "list[Weights]") -> Weights:
    """The opposite of `Weights.gates`, in any order of gates."""
    return Weights(*(np.concatenate(arrays, axis=-1) for arrays in zip(*gates, strict=True)))


@dataclasses.dataclass(frozen=True)
class Problem:
    """A shape with its masks. The arrays are functions of these fields, in float32 whatever ``dtype`` says."""

    shape: Shape
    lengths_on: bool = False
    resets_on: bool = False
    dtype: str = "float32"
    seed: int = 0

    @property
    def steps(self) -> int:
        """T."""
        return self.shape[0]

    @property
    def batch(self) -> int:
        """B."""
        return self.shape[1]

    @property
    def in_features(self) -> int:
        """I."""
        return self.shape[2]

    @property
    def features(self) -> int:
        """H."""
        return self.shape[3]

    @property
    def option(self) -> Option:
        """The masks that are on, by name."""
        if self.lengths_on and self.resets_on:
            return "both"
        return "lengths" if self.lengths_on else "resets" if self.resets_on else "plain"

    def with_option(self, option: Option) -> "Problem":
        """The same data with other masks."""
        return dataclasses.replace(
            self, lengths_on=option in ("lengths", "both"), resets_on=option in ("resets", "both")
        )

    def _random(self, what: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, what, *self.shape))

    @functools.cached_property
    def weights(self) -> Weights:
        """Kernels at the scale at which training starts; no bias is zero, so that a misplaced one is noticed."""
        random, width = self._random(0), 3 * self.features
        w_i = random.standard_normal((self.in_features, width), np.float32) / np.float32(self.in_features**0.5)
        w_h = random.standard_normal((self.features, width), np.float32) / np.float32(self.features**0.5)
        b_i, b_h = random.uniform(-0.5, 0.5, (2, width)).astype(np.float32)
        return Weights(w_i, w_h, b_i, b_h)

    @functools.cached_property
    def xs(self) -> np.ndarray:
        """(T, B, I)"""
        return self._random(1).standard_normal((self.steps, self.batch, self.in_features), np.float32)

    @functools.cached_property
    def lengths(self) -> np.ndarray | None:
        """(B,) int32, uniform in T/2 to T; None if off."""
        if not self.lengths_on:
            return None
        return self._random(2).integers((self.steps + 1) // 2, self.steps + 1, self.batch, np.int32)

    @functools.cached_property
    def resets(self) -> np.ndarray | None:
        """(T, B) bool, True where a new sequence starts; None if off."""
        return self._random(3).random((self.steps, self.batch)) < 1 / RESET_EVERY if self.resets_on else None

    @functools.cached_property
    def valid(self) -> np.ndarray:
        """(T, B) bool, False in the padding."""
        if self.lengths is None:
            return np.ones((self.steps, self.batch), bool)
        return np.arange(self.steps)[:, None] < self.lengths

    @property
    def outputs(self) -> int:
        """How many numbers of ys are not padding; the loss is the mean over these."""
        return int(self.valid.sum()) * self.features


def flops(problem: Problem, mode: str) -> int:
    """Floating-point operations of the matrix products: those that any GRU must do, however it is written.

        forward   2 T B 3H (I + H)      a product with (I, 3H) and one with (H, 3H) at every step of every row
        training  3 times that          the gradient of a product is two products of the same size

    Padding is not counted (T B is then the sum of the lengths), nor is any elementwise work: gates, biases, masks. The
    share of the machine's matmul rate that follows is thus a lower bound of what the hardware does.
    """
    forward = 2 * int(problem.valid.sum()) * 3 * problem.features * (problem.in_features + problem.features)
    return 3 * forward if mode == "training" else forward
