"""What a backend is, and which there are."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax

from gru_jax._cells.cell import Cell


class Problem(NamedTuple):
    """What is asked of a backend; None for what is not known yet.

    Attributes:
      cell: the cell.
      platform: "cpu", "gpu" (CUDA), "rocm" or "tpu".
      steps: T.
      batch: B, all axes of the batch multiplied.
      in_features: I.
      features: H.
      dtype: of the inputs, in which products run.
      precision: of the products, as `jax.default_matmul_precision` takes it; None for the default.
      options: what the call uses of "mask", "resets" and "reset_carry by step".
    """

    cell: Cell
    platform: str | None = None
    steps: Any = None
    batch: Any = None
    in_features: Any = None
    features: Any = None
    dtype: Any = None
    precision: str | None = None
    options: frozenset[str] | None = None


class Run(Protocol):
    """How a backend is called: on one normalised problem, T steps of one flat batch, in one or more lanes.

    A lane is a run of its own, with its params, its initial state and its direction; all read the same inputs.
    """

    def __call__(
        self,
        cell: Cell,
        params: tuple[Any, ...],
        carry: tuple[Any, ...],
        xs: Any,
        valid: jax.Array | None,
        restart: tuple[jax.Array, ...] | None,
        reset_carry: tuple[Any, ...] | None,
        *,
        reverse: tuple[bool, ...],
        unroll: int | None,
        backend: str,
    ) -> tuple[tuple[Any, ...], tuple[jax.Array, ...]]:
        """Run the cell over all steps.

        Args:
          cell: the cell.
          params: of each lane, as `cell.init` made them, alike in structure and shapes.
          carry: of each lane, the state before the first step run, leaves `(B, H)`.
          xs: the inputs `(T, B, ...)`, zero in the padding, in the dtype that matrix products run in.
          valid: bool `(T, B)` or None for all: where False, the carry passes through and y is 0.
          restart: of each lane, bool `(T, B)`, or None for nowhere: where True, the carry is replaced by `reset_carry`
            before the step, in the order the steps are run; on steps that are not valid too.
          reset_carry: of each lane, leaves `(B, H)`, or all `(T, B, H)` where it differs by step; None where `restart`
            is.
          reverse: of each lane, whether it runs the steps from the last to the first.
          unroll: how many steps one iteration of the compiled loop holds; None: as the platform likes it.
          backend: the name that was asked for, "auto" included.

        Returns:
          Of each lane, the carry after the last step run, and ys `(T, B, H)` in the carry's dtype.
        """
        ...


class Backend(NamedTuple):
    """A way to run a cell over time.

    A kernel is a backend that shares the `run` of "fused" and brings lowerings of the two primitives which that calls.
    It has no derivative, check or option of its own.

    Attributes:
      name: what `backend=` calls it.
      run: the function.
      refuses: `refuses(problem) -> reason`, why it cannot serve this problem, or "" when it can. What is None in the
        problem is no reason.
      states: a kernel's lowering of `gru_states`: `(static, operands) -> outputs`, traceable by JAX; see `states`.
      tangents: a kernel's lowering of `gru_tangents`, likewise; see `tangents`.
      opaque: whether its programs hold primitives of this library. Tools that read the programs of JAX know only those
        of JAX.
    """

    name: str
    run: Run
    refuses: Callable[[Problem], str]
    states: Callable[[Any, Any], Any] | None = None
    tangents: Callable[[Any, Any], Any] | None = None
    opaque: bool = True

    @property
    def is_kernel(self) -> bool:
        """Whether this is one more lowering of "fused"."""
        return self.states is not None and self.tangents is not None


BACKENDS: dict[str, Backend] = {}


def register(backend: Backend) -> Backend:
    """Make a backend known by its name."""
    BACKENDS[backend.name] = backend
    return backend
