"""A stack of layers one step at a time, as a stream or an acting policy runs it."""

import functools
from collections.abc import Sequence
from typing import Any

import jax

from gru_jax._cells.carry_checks import check_reset
from gru_jax._cells.cell import Cell
from gru_jax._cells.checks import check_inputs, leading_shape
from gru_jax._layers.layers import check_nesting, check_reads, check_stacks, check_states
from gru_jax._scan.checks import check_cell, check_precision, with_precision


def carry_layers(cell: Cell, params: Sequence[Sequence[Any]], batch_shape: tuple[int, ...] = ()) -> Any:
    """The zero carry of a stack of layers.

    Args:
      cell: the cell of every layer.
      params: `params[layer][direction]`, as `init_layers` makes it.
      batch_shape: *B.

    Returns:
      `carry[layer][direction]`, zeros, leaves `(*B, H)`, float32 (float64 for float64 params). A loop on a mesh of
      explicit axes, or inside `jax.shard_map`, needs a carry that is sharded as its inputs are. Params do not tell how:
      place it with `jax.device_put`, `jax.sharding.reshard` or `jax.lax.pcast`. `scan_layers` does so by itself.

    Raises:
      TypeError, ValueError: naming the argument that does not fit.

    Example:
      >>> import gru_jax, jax
      >>> cell = gru_jax.gru()
      >>> params = gru_jax.init_layers(cell, jax.random.key(0), 8, (16, 32))
      >>> carry = gru_jax.carry_layers(cell, params, batch_shape=(4,))
      >>> carry[1][0].shape
      (4, 32)
    """
    check_cell(cell)
    check_nesting("params", params)
    return tuple(tuple(cell.carry(p, batch_shape=batch_shape) for p in layer) for layer in params)


def step_layers(
    cell: Cell,
    params: Sequence[Sequence[Any]],
    carry: Sequence[Sequence[Any]],
    x: Any,
    *,
    reset: jax.Array | None = None,
    reset_carry: Sequence[Sequence[Any]] | None = None,
    precision: Any = None,
) -> tuple[Any, jax.Array]:
    """Take one step of a stack of layers: what `scan_layers` does with each step of xs, without dropout.

    Args:
      cell: the cell of every layer.
      params: `params[layer][0]`, one direction a layer, as `init_layers` makes it.
      carry: `carry[layer][0]`, leaves `(*B, H)` or what broadcasts to it over the batch; start with `carry_layers`.
      x: one input, `(*B, I)` or what else the cell reads.
      reset: bool `(*B,)`, True = a new sequence starts with this x: the state is replaced before the step.
      reset_carry: what a reset restores, nested like the carry; None: zeros.
      precision: of the matrix products, as in `gru_jax.scan`.

    Returns:
      The new carry, `carry[layer][0]`, and y of the last layer, `(*B, H)` in the dtype of x.

    Raises:
      TypeError, ValueError: naming the argument that does not fit; also for two directions, since the second one
        sees steps that have not come yet.

    Example, a policy over many episodes:
      >>> import gru_jax, jax, jax.numpy as jnp
      >>> cell = gru_jax.gru()
      >>> params = gru_jax.init_layers(cell, jax.random.key(0), 8, 16, num_layers=3)
      >>> step = jax.jit(lambda carry, x, done: gru_jax.step_layers(cell, params, carry, x, reset=done))
      >>> carry = gru_jax.carry_layers(cell, params, batch_shape=(4,))
      >>> carry, y = step(carry, jnp.ones((4, 8)), jnp.array([False, True, False, False]))
      >>> y.shape
      (4, 16)
    """
    check_cell(cell)
    check_nesting("params", params)
    if any(len(layer) > 1 for layer in params):
        raise ValueError(
            "params: expected one direction a layer, got two; the second one starts from the last step, which a "
            "single step does not know: make the stack with bidirectional=False, or run scan_layers on whole sequences."
        )
    if len(params) > 1:
        check_stacks(cell, params[0][0])
    _, x = check_inputs(cell, "x", x, params[0][0], axes=("*B",))
    batch = leading_shape(cell, params[0][0], x)
    check_nesting("carry", carry, like=params)
    check_states(cell, params, "carry", carry, batch)
    check_states(cell, params, "reset_carry", reset_carry, batch)
    if reset is not None:
        reset = check_reset("reset", reset, batch)
    # Without `init`: cells that differ in it alone share one compiled program.
    return _run(cell.replace(init=None), check_precision(precision), params, carry, x, reset, reset_carry)


# One program, so that a loop in Python makes one call a step.
@functools.partial(jax.jit, static_argnums=(0, 1), inline=True)
def _run(
    cell: Cell, precision: str | None, params: Any, carry: Any, x: Any, reset: jax.Array | None, reset_carry: Any
) -> tuple[Any, jax.Array]:
    after = []
    with with_precision(precision):
        for layer, ((p,), (state,)) in enumerate(zip(params, carry, strict=True)):
            check_reads(cell, p, x, layer, 0)
            restored = None if reset_carry is None else reset_carry[layer][0]
            state, x = cell(p, state, x, reset=reset, reset_carry=restored)
            after.append((state,))
    return tuple(after), x
