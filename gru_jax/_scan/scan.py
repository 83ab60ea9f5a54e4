"""Running a cell over time."""

from typing import Any

import jax
from jax import lax

from gru_jax._cells.cell import Cell
from gru_jax._cells.checks import check_flag
from gru_jax._scan.lanes import scan_lanes


def scan(
    cell: Cell,
    params: Any,
    xs: Any,
    carry: Any = None,
    *,
    seq_lengths: jax.Array | None = None,
    mask: jax.Array | None = None,
    resets: jax.Array | None = None,
    reset_carry: Any = None,
    reverse: bool = False,
    unroll: int | None = None,
    remat: int | None = None,
    precision: str | lax.Precision | None = None,
    backend: str = "auto",
) -> tuple[Any, jax.Array]:
    """Run a cell over the leading axis of xs.

    One row of the batch means:

        steps = [t for t in range(T) if mask[t]]             # or t < seq_lengths
        for t in reversed(steps) if reverse else steps:
            starts = resets[t] if not reverse else resets[s] # s: the step run before t, if there is one
            if starts:
                carry = reset_carry
            carry, ys[t] = cell(params, carry, xs[t])        # all other ys are 0

    No value, gradient, NaN or reset in padding reaches anything. No gradient crosses a reset. A NaN before a reset
    reaches no value after it, but does reach the gradients of params, as it would if the sequences were run apart and
    their gradients added.

    Cutting xs and threading the carry gives the same as the whole. In reverse, a reset at the first step of the later
    piece lies on the cut: there the earlier piece starts from `reset_carry`, not from the later piece's carry.

    Args:
      cell: what `gru_jax.gru()` and its kind return.
      params: what `cell.init` returned.
      xs: inputs `(T, *B, I)`, any float dtype; float64 only with float64 params. Matrix products run in this dtype and
        accumulate in float32 (float64 for float64). `cell.input_shape` may ask for more feature axes (`conv_gru`), or
        for a NamedTuple of arrays that share `(T, *B)` (`gru_d`).
      carry: the initial state, leaves `(*B, H)` in float32 (float64 for float64 params), or anything that broadcasts
        to it over the batch, such as `(H,)`; None: `cell.carry`, zeros. On a mesh of explicit axes, and inside
        `jax.shard_map`, it is sharded as the batch of xs is.
      seq_lengths: int `(*B,)`: row b is `xs[:seq_lengths[b]]` and the rest is padding.
      mask: bool `(T, *B)`, False = padding, anywhere; not together with `seq_lengths`.
      resets: bool `(T, *B)`, True = a new sequence starts at step t: the carry is reset before step t.
      reset_carry: the state that a reset restores, leaves `(*B, H)` or anything that broadcasts to it, such as `(H,)`;
        or one for each step, `(T, *B, H)`: a reset takes the one at its index. None: the cell's zero carry.
      reverse: run from the last step to the first; ys stays in the order of xs.
      unroll: steps in one iteration of the compiled loop; None: as many as suit the platform.
      remat: k: keep the carry only every k steps and recompute the steps between in the backward pass, for
        O(T/k + k) activations in place of O(T).
      precision: of the matrix products, as `jax.default_matmul_precision` takes it, or a `lax.Precision`; None: what
        is set around the call.
      backend: "auto", or a backend's name; see the README for which there are.

    Returns:
      The carry after the last valid step of each row, leaves `(*B, H)` (the initial one for a row without any), and ys
      `(T, *B, H)` in the dtype of xs, 0 in the padding.

    Raises:
      TypeError, ValueError: naming the argument that does not fit, what was expected, what came, and the way out.
          Lengths are checked against 0..T where their values are known; traced ones are clamped.

    Example:
      >>> import gru_jax, jax, jax.numpy as jnp
      >>> cell = gru_jax.gru()
      >>> params = cell.init(jax.random.key(0), in_features=3, features=5)
      >>> carry, ys = gru_jax.scan(cell, params, jnp.ones((7, 2, 3)), seq_lengths=jnp.array([7, 4]))
      >>> ys.shape, bool(jnp.all(ys[4:, 1] == 0)), bool(jnp.allclose(carry[1], ys[3, 1]))
      ((7, 2, 5), True, True)
    """
    carries, (ys,) = scan_lanes(
        cell,
        (params,),
        xs,
        (carry,),
        seq_lengths=seq_lengths,
        mask=mask,
        resets=resets,
        reset_carry=(reset_carry,),
        reverse=(check_flag("reverse", reverse),),
        unroll=unroll,
        remat=remat,
        precision=precision,
        backend=backend,
    )
    return carries[0], ys
