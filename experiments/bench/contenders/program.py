"""The interface of a contender, and the implementation that all contenders on JAX share."""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from experiments.bench.problem import Problem, Weights
from experiments.bench.schema import Mode

Apply = Callable[[Any, jax.Array, jax.Array | None, jax.Array | None], tuple[Any, jax.Array]]
"""(params, xs, lengths (B,), resets (T, B)) -> (final carry or (), ys)"""


class Program(Protocol):
    """One contender, built for one problem."""

    @property
    def problem(self) -> Problem:
        """The problem it computes: without the masks that its library does not have."""
        ...

    @property
    def weights(self) -> Weights:
        """The weights of its GRU, with fewer biases than the problem's where its library lacks them."""
        ...

    @property
    def reset_after(self) -> bool:
        """Whether its reset gate comes after the product."""
        ...

    @property
    def note(self) -> str:
        """How it is called, where that needs saying; may be empty."""
        ...

    def ys(self, returned: Any) -> np.ndarray:
        """The outputs, (T, B, H), in what a call in "forward" returned; the padding may hold anything."""
        ...

    def compile(self, mode: Mode) -> "Call":
        """The call of this program in ``mode``, ready to be made."""
        ...


@dataclasses.dataclass(frozen=True)
class Call:
    """What is timed."""

    run: Callable[[], Any]
    """Makes one call, which is over when this returns."""
    temporary_bytes: int | None
    """What the compiled program needs beyond its arguments and results; None if unknown."""
    compiled: bool = True


@dataclasses.dataclass(frozen=True)
class JaxProgram:
    """A contender that is one pure function of (params, inputs); see `Program`.

    "forward" is ys and the final carry in one program. "training" is the loss, mean(ys²) outside of the padding, and
    its gradients with respect to all parameters and to the inputs. All of these are results, so that XLA drops none.
    """

    problem: Problem
    apply: Apply
    params: Any
    weights: Weights
    reset_after: bool = True
    note: str = ""
    batch_major: bool = False
    """Whether xs and ys are (B, T, ·); the inputs are laid out before anything is timed."""
    zeroes_padding: bool = False
    """Whether ys is zero in the padding; if not, the loss leaves the padding out by hand, as a library's users must."""

    def _inputs(self) -> tuple[jax.Array, jax.Array | None, jax.Array | None]:
        xs = np.swapaxes(self.problem.xs, 0, 1) if self.batch_major else self.problem.xs
        lengths, resets = self.problem.lengths, self.problem.resets
        return (
            jnp.asarray(xs, self.problem.dtype),
            None if lengths is None else jnp.asarray(lengths),
            None if resets is None else jnp.asarray(resets),
        )

    def _loss(self, params: Any, xs: jax.Array, lengths: jax.Array | None, resets: jax.Array | None) -> jax.Array:
        _, ys = self.apply(params, xs, lengths, resets)
        if lengths is not None and not self.zeroes_padding:
            steps = jnp.arange(self.problem.steps)
            valid = steps < lengths[:, None] if self.batch_major else steps[:, None] < lengths
            ys = jnp.where(valid[:, :, None], ys, 0)
        return jnp.sum(jnp.square(ys.astype(jnp.float32))) / self.problem.outputs

    def ys(self, returned: Any) -> np.ndarray:
        """The outputs in what a forward call returned, (T, B, H)."""
        ys = np.asarray(returned[1].astype(jnp.float32))
        return np.swapaxes(ys, 0, 1) if self.batch_major else ys

    def compile(self, mode: Mode) -> Call:
        """Compile for ``mode``, ahead of time; a call of the result costs no more than one through `jax.jit`."""
        function = self.apply if mode == "forward" else jax.value_and_grad(self._loss, argnums=(0, 1))
        arguments = (self.params, *self._inputs())
        compiled = jax.jit(function).lower(*arguments).compile()
        memory = compiled.memory_analysis()
        return Call(
            run=lambda: jax.block_until_ready(compiled(*arguments)),
            temporary_bytes=None if memory is None else int(memory.temp_size_in_bytes),
        )


def valid_steps(xs: jax.Array, lengths: jax.Array | None) -> jax.Array | None:
    """(T, B), False in the padding; None without lengths. For libraries whose users hold the state by hand."""
    return None if lengths is None else jnp.arange(xs.shape[0])[:, None] < lengths[None]


def scan_by_hand(
    cell: Callable[[jax.Array, jax.Array], jax.Array],
    h: jax.Array,
    xs: jax.Array,
    lengths: jax.Array | None,
    resets: jax.Array | None,
) -> tuple[jax.Array, jax.Array]:
    """`lax.scan` over ``cell(h, x) -> h`` with masks, as users of a library without masks write it."""

    def step(h: jax.Array, now: Any) -> tuple[jax.Array, jax.Array]:
        x, valid, reset = now
        if reset is not None:
            h = jnp.where(reset[:, None], 0, h)
        new = cell(h, x)
        if valid is None:
            return new, new
        return jnp.where(valid[:, None], new, h), jnp.where(valid[:, None], new, 0)

    return jax.lax.scan(step, h, (xs, valid_steps(xs, lengths), resets))
