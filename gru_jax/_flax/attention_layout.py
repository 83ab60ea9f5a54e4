"""What the Flax encoder-decoders share: batch-major arrays in and out, and params by name."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gru_jax._attention.weights import BATCH_MAJOR, check_width
from gru_jax._cells.cell import Cell
from gru_jax._cells.checks import check_array, check_dtype, check_float_array
from gru_jax._decoding.encoder_decoder import Encoded, decode, encode
from gru_jax._decoding.params import EncoderDecoderParams
from gru_jax._flax.param_names import as_dict, check_names, from_dict, layers_as_dict, stored_width
from gru_jax._scan.checks import check_lengths, check_step_mask


class _Plan(NamedTuple):
    """All of a call that is fixed when it is traced."""

    cell: Cell
    dtype: Any
    backend: str
    dropout_rate: float


class Dropped(NamedTuple):
    """Dropout of one call: rate 0, or a rate and a key for each side."""

    rate: float = 0.0
    encoder: Any = None
    decoder: Any = None


def read_source(
    cell: Cell, params: EncoderDecoderParams, source: Any, *, seq_lengths: Any, mask: Any, dtype: Any, backend: str
) -> Encoded:
    """`encode` on a source `(*B, S, I)`, in `dtype` if any, and its mask `(*B, S)`."""
    source, seq_lengths = _checked_source(source, seq_lengths, mask)
    return _read(_plan(cell, dtype, backend), params, source, seq_lengths, mask, None)


def tell_target(
    cell: Cell,
    params: EncoderDecoderParams,
    source: Any,
    target: Any,
    *,
    seq_lengths: Any,
    mask: Any,
    dtype: Any,
    backend: str,
    dropped: Dropped,
) -> tuple[jax.Array, jax.Array]:
    """`encode` a source `(*B, S, I)` and `decode` a target `(*B, L, I')`: logits `(*B, L, V)`, weights `(*B, L, S)`."""
    source, seq_lengths = _checked_source(source, seq_lengths, mask)
    target = check_array("target", target)
    plan = _plan(cell, dtype, backend, dropped.rate)
    return _tell(plan, params, source, target, seq_lengths, mask, dropped.encoder, dropped.decoder)


def _plan(cell: Cell, dtype: Any, backend: str, rate: float = 0.0) -> _Plan:
    return _Plan(cell, None if dtype is None else check_dtype("dtype", dtype), backend, rate)


def _checked_source(source: Any, seq_lengths: Any, mask: Any) -> tuple[Any, Any]:
    """Source and lengths, checked for what tracing would not show: what is no array, and the values of lengths."""
    source = check_array("source", source)
    if mask is not None:
        check_array("mask", mask)
    if source.ndim > 1:
        seq_lengths = check_lengths(seq_lengths, source.shape[-2], source.shape[:-2], padded="source")
    return source, seq_lengths


# One program: outside of one, jax_debug_nans looks at the result of each operation, and padding may hold NaN.
@functools.partial(jax.jit, static_argnums=0, inline=True)
def _read(
    plan: _Plan, params: EncoderDecoderParams, source: Any, seq_lengths: Any, mask: Any, dropout_key: Any
) -> Encoded:
    source = _sequence(plan.cell, "source", source, "(*B, S, I)", params.encoder[0][0], plan.dtype)
    like, place = f"{BATCH_MAJOR.letters('S')} as in source", BATCH_MAJOR.place
    mask = check_step_mask("mask", mask, source.shape[:-1], like=like, place=place)
    return encode(
        plan.cell,
        params,
        BATCH_MAJOR.time_first(source),
        seq_lengths=seq_lengths,
        mask=None if mask is None else BATCH_MAJOR.time_first(mask, features=0),
        # One layer has no dropout between layers, and that before the read-out is the decoder's.
        dropout_rate=plan.dropout_rate if len(params.encoder) > 1 else 0.0,
        dropout_key=dropout_key,
        backend=plan.backend,
    )


@functools.partial(jax.jit, static_argnums=0, inline=True)
def _tell(
    plan: _Plan,
    params: EncoderDecoderParams,
    source: Any,
    target: Any,
    seq_lengths: Any,
    mask: Any,
    encoder_key: Any,
    decoder_key: Any,
) -> tuple[jax.Array, jax.Array]:
    encoded = _read(plan, params, source, seq_lengths, mask, encoder_key)
    target = _sequence(plan.cell, "target", target, "(*B, L, I')", params.decoder[0][0], plan.dtype)
    batch = encoded.memory.keys.shape[1:-1]
    if target.shape[:-2] != batch:
        raise ValueError(
            f"target: expected shape (*B, L, I') with *B = {batch}, the batch of the source, got {target.shape}; "
            "pass one target for each source."
        )
    options: dict[str, Any] = {"dropout_rate": plan.dropout_rate, "dropout_key": decoder_key, "backend": plan.backend}
    _, logits, weights = decode(plan.cell, params, encoded, BATCH_MAJOR.time_first(target), **options)
    return jnp.moveaxis(logits, 0, -2), jnp.moveaxis(weights, (0, 1), (-2, -1))


def _sequence(cell: Cell, name: str, xs: Any, letters: str, params: Any, dtype: Any) -> jax.Array:
    xs = as_told(check_float_array(name, xs), dtype)
    width = cell.input_shape(params)[-1]
    return check_width(name, xs, letters, xs.shape[-1] if width is None and xs.ndim else width, 2)


def as_told(xs: Any, dtype: Any) -> jax.Array:
    """xs as a JAX array; floats are cast to the dtype that the module was told to compute in, if any."""
    xs = check_array("x", xs)
    if dtype is None or not jnp.issubdtype(xs.dtype, jnp.floating):
        return xs
    return jnp.astype(xs, check_dtype("dtype", dtype))


def to_names(params: EncoderDecoderParams) -> dict[str, Any]:
    """Params as nested dicts, by the names that both Flax modules give them."""
    return {
        "encoder": layers_as_dict(params.encoder),
        "bridge": {
            f"layer_{layer}": {f"leaf_{leaf}": as_dict(dense) for leaf, dense in enumerate(leaves)}
            for layer, leaves in enumerate(params.bridge)
        },
        "decoder": layers_as_dict(params.decoder),
        "attention": as_dict(params.attention),
        **{name: getattr(params, name) for name in ("w_c", "b_c", "w_o", "b_o")},
    }


def from_names(cell: Cell, tree: Mapping[str, Any], init: Callable[[int, int], EncoderDecoderParams]) -> Any:
    """Params from stored parameters, checked against those that `init(source_features, target_features)` would make.

    The widths of source and target are not among a module's attributes; they are read from the stored parameters.
    """
    check_names("params", tree, EncoderDecoderParams._fields)
    width = tree["b_c"].shape[0]
    widths = [
        stored_width(cell, tree[side].get("layer_0", {}).get("forward", {}), width, f"params['{side}/layer_0/forward']")
        for side in ("encoder", "decoder")
    ]
    wanted = jax.eval_shape(lambda: init(*widths))
    shapes = [
        {jax.tree_util.keystr(path, simple=True, separator="/"): leaf.shape for path, leaf in leaves}
        for leaves in map(jax.tree_util.tree_leaves_with_path, (to_names(wanted), tree))
    ]
    for path in dict.fromkeys([*shapes[0], *shapes[1]]):
        made, stored = (f"one of shape {part[path]}" if path in part else "none" for part in shapes)
        if made != stored:
            raise ValueError(
                f"params['{path}']: expected {made}, got {stored}; load parameters of a module with the same cell, "
                "features, outputs, num_layers, bidirectional and attention."
            )
    return from_dict(to_names, jax.tree.structure(wanted), tree)
