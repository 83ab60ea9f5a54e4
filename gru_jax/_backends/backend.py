"""What a backend is."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax

from gru_jax._cells.cell import Cell


class Run(Protocol):
    """How a backend is called: on one normalised problem, T steps of one flat batch."""

    def __call__(
        self,
        cell: Cell,
        params: Any,
        carry: Any,
        xs: Any,
        valid: jax.Array | None,
        restart: jax.Array | None,
        reset_carry: Any,
        *,
        reverse: bool,
        unroll: int,
    ) -> tuple[Any, jax.Array]:
        """Run the cell over all steps.

        Args:
          cell: the cell.
          params: its params, as `cell.init` made them.
          carry: the state before the first step run, leaves `(B, H)`.
          xs: the inputs `(T, B, ...)`, zero in the padding, in the dtype that matrix products run in.
          valid: bool `(T, B)` or None for all: where False, the carry passes through and y is 0.
          restart: bool `(T, B)` or None for nowhere: where True, the carry is replaced by `reset_carry` before the
            step, in the order the steps are run; on steps that are not valid too.
          reset_carry: leaves `(B, H)`, or all `(T, B, H)` where it differs by step; None where `restart` is.
          reverse: run the steps from the last to the first.
          unroll: how many steps one iteration of the compiled loop holds.

        Returns:
          The carry after the last step run, and ys `(T, B, H)` in the carry's dtype.
        """
        ...


class Backend(NamedTuple):
    """A way to run a cell over time.

    Attributes:
      name: what `backend=` calls it.
      run: the function.
      refuses: `refuses(cell) -> reason`, why it cannot serve this cell, or "" when it can.
    """

    name: str
    run: Run
    refuses: Callable[[Cell], str]
