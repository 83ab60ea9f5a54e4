"""Artifacts of `jax.export`: StableHLO with the params inside, free in batch and time, for several platforms."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import export

from gru_jax._backends.backend import Problem
from gru_jax._backends.fused import fused
from gru_jax._cells.cell import Cell
from gru_jax._cells.checks import check_dtype, check_flag
from gru_jax._cells.precision import carry_dtype
from gru_jax._layers.layers import scan_layers
from gru_jax._scan.checks import check_precision, with_precision
from gru_jax.export._known_params import Stack, check_stack, inputs_of, params_dtype

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def stablehlo(
    cell: Any,
    params: Any,
    *,
    seq_lengths: bool = True,
    initial_carry: bool = False,
    time_major: bool = True,
    reverse: bool = False,
    dtype: Any = None,
    precision: Any = None,
    platforms: Sequence[str] = ("cpu", "cuda", "tpu"),
) -> export.Exported:
    """`gru_jax.scan_layers(cell, params, ...)` as an artifact that runs with JAX alone, params inside.

    Call it as `exported.call(xs, seq_lengths=..., initial_carry=...)`, with what was asked for and nothing else. It
    returns the final carry and ys. T and B are free, and at least 1, as all free sizes of `jax.export` are. A carry is
    `carry[layer][direction]` in plain tuples, of arrays `(B, H)`. Where the cell's own carry is a NamedTuple, it is a
    dict here: `{"h": ..., "c": ...}` for an LSTM. xs is `(T, B, I)`, or likewise a dict where the cell reads several
    arrays. Lengths are int32 `(B,)`, and clamped to 0..T. Gradients with respect to inputs need
    `exported.serialize(vjp_order=1)`.

    Args:
      cell: any cell of gru_jax, or one of your own whose `input_shape` says how wide its inputs are.
      params: `params[layer][direction]`, as `init_layers` makes it, of known values.
      seq_lengths: whether lengths are an input; else all steps of all rows count.
      initial_carry: whether the initial carry is an input; else it is zero.
      time_major: False for xs and ys `(B, T, ...)`.
      reverse: run every layer from the last step to the first; not with two directions.
      dtype: of ys and xs, or of the first of several arrays; None: float32, or float64 for float64 params.
      precision: of matrix products, as in `gru_jax.scan`; None: what is set around this call. It stays in the artifact.
      platforms: what the artifact is to run on, of "cpu", "cuda", "rocm" and "tpu".

    Returns:
      A `jax.export.Exported`; `exported.serialize()` are its bytes, which need no gru_jax. JAX reads them for at least
      six months, in newer versions too.

    Raises:
      TypeError, ValueError: naming the argument that does not fit.

    Example:
      >>> import gru_jax, jax, jax.numpy as jnp
      >>> cell = gru_jax.lstm()
      >>> params = gru_jax.init_layers(cell, jax.random.key(0), 8, 16, num_layers=2)
      >>> exported = gru_jax.export.stablehlo(cell, params)
      >>> again = jax.export.deserialize(exported.serialize())
      >>> carry, ys = again.call(jnp.ones((5, 3, 8)), seq_lengths=jnp.array([5, 2, 0]))
      >>> ys.shape, carry[1][0]["c"].shape, again.platforms
      ((5, 3, 16), (3, 16), ('cpu', 'cuda', 'tpu'))
    """
    stack = check_stack(cell, params)
    dtype = _check_inputs_dtype(dtype, stack)
    time_major, reverse = check_flag("time_major", time_major), check_flag("reverse", reverse)
    precision, backend = check_precision(precision), _portable(cell)

    def run(xs: Any, *, seq_lengths: Any = None, initial_carry: Any = None) -> Any:
        xs = _as_inputs(cell, stack[0][0], xs)
        carry = None if initial_carry is None else _as_carry(cell, stack, initial_carry)
        xs = xs if time_major else jax.tree.map(_swap, xs)
        carry, ys = scan_layers(
            cell,
            stack,
            xs,
            carry,
            seq_lengths=seq_lengths,
            reverse=reverse,
            precision=precision,
            backend=backend,
        )
        return _plain_carry(carry), ys if time_major else _swap(ys)

    time, batch = export.symbolic_shape("T, B")
    xs = inputs_of(cell, stack[0][0], (time, batch) if time_major else (batch, time), dtype)
    optional = {}
    if check_flag("seq_lengths", seq_lengths):
        optional["seq_lengths"] = jax.ShapeDtypeStruct((batch,), jnp.int32)
    if check_flag("initial_carry", initial_carry):
        optional["initial_carry"] = _carry_shapes(cell, stack, batch)
    return _export(run, platforms, _plain(xs), **optional)


def stablehlo_step(
    cell: Any,
    params: Any,
    *,
    dtype: Any = None,
    precision: Any = None,
    platforms: Sequence[str] = ("cpu", "cuda", "tpu"),
) -> export.Exported:
    """One step through all layers as an artifact, for streams: `exported.call(carry, x) -> (carry, y)`.

    Args:
      cell: as in `stablehlo`.
      params: as in `stablehlo`, of one direction: a second would have to see the end first.
      dtype: of x and y; None: float32, or float64 for float64 params.
      precision: as in `stablehlo`.
      platforms: as in `stablehlo`.

    Returns:
      A `jax.export.Exported`; x is `(B, I)`, y `(B, H)` and the carry `carry[layer][0]`, as `stablehlo` returns it. So
      that artifact can read what is there, and this one goes on from it. A stream begins with zeros.

    Raises:
      TypeError, ValueError: naming the argument that does not fit; also for two directions.

    Example:
      >>> import gru_jax, jax, jax.numpy as jnp
      >>> cell = gru_jax.gru()
      >>> params = gru_jax.init_layers(cell, jax.random.key(0), 8, (16, 32))
      >>> step = gru_jax.export.stablehlo_step(cell, params)
      >>> carry = ((jnp.zeros((1, 16)),), (jnp.zeros((1, 32)),))
      >>> for x in jnp.ones((3, 1, 8)):
      ...     carry, y = step.call(carry, x)
      >>> y.shape
      (1, 32)
    """
    stack = check_stack(cell, params)
    for i, layer in enumerate(stack):
        if len(layer) > 1:
            raise ValueError(
                f"params[{i}]: expected one direction, got two, of which the second would have to see the end of the "
                "stream first; export whole sequences with gru_jax.export.stablehlo."
            )
    dtype = _check_inputs_dtype(dtype, stack)
    precision = check_precision(precision)

    def step(carry: Any, x: Any) -> Any:
        carry, y = _as_carry(cell, stack, carry), _as_inputs(cell, stack[0][0], x)
        after = []
        with with_precision(precision):
            for i, ((own,), (state,)) in enumerate(zip(stack, carry, strict=True)):
                try:
                    state, y = cell(own, state, y)
                except (TypeError, ValueError) as error:
                    raise type(error)(f"params[{i}][0]: {error}") from None
                after.append((state,))
        return _plain_carry(after), y

    (batch,) = export.symbolic_shape("B")
    x = inputs_of(cell, stack[0][0], (batch,), dtype)
    return _export(step, platforms, _carry_shapes(cell, stack, batch), _plain(x))


@contextlib.contextmanager
def without_locations() -> Iterator[None]:
    """A context in which programs do not say which lines of which files they come from.

    Outside of it, an artifact of `jax.export` holds the paths of this machine, the caller's included, and its bytes
    differ from call to call. `stablehlo` and `stablehlo_step` leave the paths out; use this around an export of your
    own. It turns a switch of all of JAX, so do not use it in two threads at once.
    """
    name = "jax_traceback_in_locations_limit"
    before = getattr(jax.config, name)
    jax.config.update(name, 0)
    try:
        yield
    finally:
        jax.config.update(name, before)


def _export(function: Callable[..., Any], platforms: Any, *shapes: Any, **named: Any) -> export.Exported:
    known = ", ".join(map(repr, PLATFORMS))
    if isinstance(platforms, str) or not isinstance(platforms, Sequence) or not platforms:
        raise TypeError(f"platforms: expected some of {known}, got {platforms!r}; pass a tuple of them.")
    unknown = [name for name in platforms if name not in PLATFORMS]
    if unknown or len(set(platforms)) < len(platforms):
        raise ValueError(f"platforms: expected some of {known}, each once, got {platforms!r}; pass a tuple of them.")
    with without_locations():
        return export.export(jax.jit(function), platforms=tuple(platforms))(*shapes, **named)


def _portable(cell: Cell) -> str:
    """A backend whose program runs on every platform, and holds no kernel's call."""
    return "scan" if fused.refuses(Problem(cell)) else "fused"


def _check_inputs_dtype(dtype: Any, stack: Stack) -> jnp.dtype:
    wide = params_dtype(stack)
    if dtype is None:
        return wide
    dtype = check_dtype("dtype", dtype)
    if carry_dtype(dtype) != wide:
        raise TypeError(
            f"dtype: expected the precision of the params, {wide}, got {dtype}; float64 does not mix with narrower "
            "floats: cast the params, jax.tree.map(lambda p: p.astype(...), params)."
        )
    return dtype


def _swap(array: jax.Array) -> jax.Array:
    return jnp.swapaxes(array, 0, 1)


def _plain(tree: Any) -> Any:
    """A NamedTuple as a dict: an artifact that was read back knows no types of ours."""
    return tree._asdict() if hasattr(tree, "_fields") else tree


def _plain_carry(carry: Any) -> Any:
    return tuple(tuple(_plain(state) for state in layer) for layer in carry)


def _as_inputs(cell: Cell, params: Any, xs: Any) -> Any:
    return type(cell.input_shape(params))(**xs) if isinstance(xs, dict) else xs


def _as_carry(cell: Cell, stack: Stack, carry: Any) -> Any:
    """The carry in the cell's own types, which `cell.carry` tells from the params."""

    def state(own: Any, plain: Any) -> Any:
        return type(cell.carry(own))(**plain) if isinstance(plain, dict) else plain

    return tuple(tuple(map(state, *rows)) for rows in zip(stack, carry, strict=True))


def _carry_shapes(cell: Cell, stack: Stack, batch: Any) -> Any:
    def shapes(own: Any) -> Any:
        return jax.eval_shape(lambda: cell.carry(jax.tree.map(jnp.asarray, own), batch_shape=(batch,)))

    return _plain_carry([[shapes(own) for own in layer] for layer in stack])
