"""What a recurrent cell is: a hashable record of pure functions."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp

from gru_jax._cells.carry_checks import broadcast_carry, check_call
from gru_jax._cells.checks import leading_shape
from gru_jax._cells.placement import gathered
from gru_jax._cells.precision import compute_params, input_dtype
from gru_jax._cells.select import select
from gru_jax._cells.steps import run_step


def _any_width(params: Any) -> tuple[int | None, ...]:
    """One feature axis of any width: the `input_shape` of a cell that gives none."""
    return (None,)


@dataclasses.dataclass(frozen=True, repr=False)
class Bound:
    """`function` with its first argument given.

    Two with the same function and options are equal; two `functools.partial` are not. So equal cells share their
    compiled programs, also after pickling.
    """

    function: Callable[..., Any]
    options: Any

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Call the function."""
        return self.function(self.options, *arguments, **named)

    def __repr__(self) -> str:
        return f"{getattr(self.function, '__name__', self.function)} with {self.options!r}"


# Not a NamedTuple: jax.jit and jax.checkpoint keep weak references to what they are given, and a tuple takes none.
@dataclasses.dataclass(frozen=True, repr=False)
class Cell:
    """A recurrent cell: pure functions over params, and nothing else.

    `gru`, `lstm`, `rnn`, `min_gru`, `conv_gru` and `gru_d` make cells; a record of your own functions is a cell too.
    Cells made with the same options and initialisers are equal, so a cell can be a static argument of `jax.jit`. A cell
    pickles if the functions that it was made with do. A lambda does not pickle, nor does a function defined inside
    another, such as the one that `jax.nn.initializers.he_normal()` returns.

    Attributes:
      name: what the cell is called in tables and messages.
      init: `init(key, in_features, features, dtype=float32) -> params`.
      carry: `carry(params, batch_shape=()) -> carry`, the zero state, leaves `(*batch_shape, H)` or with any other
        feature axes, float64 for float64 params and float32 for all others.
      project: `project(params, x) -> projected`, the part of a step that does not see the carry. x is `(..., I)`,
        `projected` an array or a tree. `scan` calls it once for all steps.
      step: `step(params, carry, projected) -> (carry, y)`, the rest of one step.
      input_shape: `input_shape(params) -> (I,)`, the feature axes of one input, `None` for a free size. A cell that
        reads several arrays returns a NamedTuple of such tuples, and its x is that NamedTuple of arrays. The first
        array sets the dtype; the others may be bool. Raises for params that are not this cell's.
      options: which of its equations this cell computes, for backends and converters; hashable.

    `project` and `step` multiply in the dtype of the weights they get and add in the carry's. A call of the cell, and
    `gru_jax.scan`, cast the weights to the dtype of x first, and y back to it. Padded steps run too, on x = 0 and a
    zero carry, and their results are thrown away; values and derivatives must be finite there.

    Example:
      >>> import gru_jax, jax, jax.numpy as jnp
      >>> cell = gru_jax.gru()
      >>> params = cell.init(jax.random.key(0), in_features=8, features=32)
      >>> carry = cell.carry(params, batch_shape=(4,))
      >>> carry, y = cell(params, carry, jnp.ones((4, 8)))
      >>> y.shape
      (4, 32)
    """

    name: str
    init: Callable[..., Any]
    carry: Callable[..., Any]
    project: Callable[[Any, Any], Any]
    step: Callable[[Any, Any, Any], tuple[Any, jax.Array]]
    input_shape: Callable[[Any], Any] = _any_width
    options: Any = None

    def __call__(
        self, params: Any, carry: Any, x: Any, *, reset: jax.Array | None = None, reset_carry: Any = None
    ) -> tuple[Any, jax.Array]:
        """Take one step.

        Args:
          params: what `init` returned.
          carry: the state, leaves `(*B, H)` or what broadcasts to it over the batch, float32 (float64 for float64
            params).
          x: one input, `(*B, I)` or what else the cell reads, any float dtype; float64 only with float64 params.
          reset: bool `(*B,)`, True = a new sequence starts with this x: the state is replaced before the step.
          reset_carry: what a reset restores, like the carry; None: the zero carry.

        Returns:
          The new carry, and y `(*B, H)` in x's dtype.

        Raises:
          TypeError, ValueError: naming the argument that does not fit.
        """
        # Without `init`: cells that differ in it alone share one compiled program.
        return _call(self.replace(init=None), *check_call(self, params, carry, x, reset, reset_carry))

    def __repr__(self) -> str:
        """The name and the options, without the addresses of functions."""
        if self.options is None:
            return f"{self.name}()"
        named = hasattr(self.options, "_asdict")
        return self.name + (options_words(self.options) if named else f"({self.options!r})")

    def replace(self, **fields: Any) -> Self:
        """The same cell with some of its fields replaced."""
        return dataclasses.replace(self, **fields)

    # Such records are NamedTuples elsewhere, in optax for example. Code written for those works here too.
    _replace = replace
    _fields: ClassVar[tuple[str, ...]] = ("name", "init", "carry", "project", "step", "input_shape", "options")

    def __copy__(self) -> Self:
        """Itself: nothing in it can change, and equal cells share compiled programs."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Itself."""
        return self


# One program, so that a loop in Python makes one call a step.
@functools.partial(jax.jit, static_argnums=0, inline=True)
def _call(cell: Cell, params: Any, carry: Any, x: Any, reset: Any, reset_carry: Any) -> tuple[Any, jax.Array]:
    batch = leading_shape(cell, params, x)
    params = gathered(params)
    zero = cell.carry(params, batch_shape=batch)
    carry = broadcast_carry(carry, zero)
    if reset is not None:
        carry = select(reset, zero if reset_carry is None else broadcast_carry(reset_carry, zero), carry)
    params = compute_params(params, input_dtype(x))
    carry, y = run_step(cell, params, carry, cell.project(params, x), batch)
    return carry, jnp.astype(y, input_dtype(x))


def options_words(value: Any) -> str:
    """The options in words, as their maker takes them: `(name=value, ...)`."""
    if hasattr(value, "_asdict"):
        return f"({', '.join(f'{name}={options_words(own)}' for name, own in value._asdict().items())})"
    return getattr(value, "__name__", None) or repr(value)
