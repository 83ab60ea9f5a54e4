"""One step of a cell, with checks of its result: a cell may be a record of the user's own functions."""

from typing import Any

import jax
import jax.numpy as jnp

from gru_jax._cells.checks import outline


def run_step(cell: Any, params: Any, carry: Any, projected: Any, batch: tuple[int, ...]) -> tuple[Any, jax.Array]:
    """`cell.step(params, carry, projected)`: the new carry, like the old one, and y `(*batch, ...)`.

    Raises:
      TypeError, ValueError: for a step that returns anything else.
    """
    stepped = cell.step(params, carry, projected)
    if type(stepped) not in (tuple, list) or len(stepped) != 2:
        found = f"{len(stepped)} values" if type(stepped) in (tuple, list) else outline(stepped)
        raise TypeError(
            f"step: expected the pair (carry, y) from the cell {cell.name!r}, got {found}; "
            "return the new carry and the output, in this order."
        )
    new, y = stepped
    _check_new_carry(cell, carry, new)
    if not isinstance(y, jax.Array):
        raise TypeError(
            f"step: expected y to be one array from the cell {cell.name!r}, got {outline(y)}; "
            "return (carry, y), and what else is to be kept as a part of the carry."
        )
    if not jnp.issubdtype(y.dtype, jnp.floating) or y.shape[: len(batch)] != batch:
        raise ValueError(
            f"step: expected y to be floats of shape ({', '.join([*map(str, batch), '...'])}) from the cell "
            f"{cell.name!r}, got {y.dtype} of shape {y.shape}; return one output for each row of the batch."
        )
    return new, y


def _check_new_carry(cell: Any, old: Any, new: Any) -> None:
    if jax.tree.structure(old) != jax.tree.structure(new):
        raise TypeError(
            f"step: expected a new carry like the one that it got, {outline(old)}, from the cell {cell.name!r}, "
            f"got {outline(new)}; return (carry, y), the carry nested as cell.carry makes it."
        )
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(old)]
    for path, before, after in zip(paths, jax.tree.leaves(old), jax.tree.leaves(new), strict=True):
        shape, dtype = jnp.shape(after), jnp.result_type(after)
        if (shape, dtype) != (before.shape, before.dtype):
            raise TypeError(
                f"step: expected carry{path} as it was, {before.dtype} of shape {before.shape}, from the cell "
                f"{cell.name!r}, got {dtype} of shape {shape}; a loop over time needs a carry of one type: "
                f"cast it with .astype(jnp.{before.dtype}), or let cell.carry make what step returns."
            )
