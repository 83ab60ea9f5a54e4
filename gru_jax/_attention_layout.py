"""What the Flax modules of attention share: batch-major arrays in and out, and params by name."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from gru_jax._attention import AdditiveAttentionParams, DotProductAttentionParams
from gru_jax._cells.cell import Cell
from gru_jax._cells.checks import check_array, check_dtype
from gru_jax._encoder_decoder_params import BridgeParams, EncoderDecoderParams
from gru_jax._layers import DIRECTIONS
from gru_jax._stack import as_dict, as_params, params_type


def attend_batch_major(
    attention: Callable[..., tuple[jax.Array, jax.Array]],
    params: Any,
    query: Any,
    keys: Any,
    values: Any,
    key_lengths: Any,
    key_mask: Any,
) -> tuple[jax.Array, jax.Array]:
    """`attention` with query `(*B, Q)` or `(*B, L, Q)`, keys `(*B, S, K)`; weights `(*B, S)` or `(*B, L, S)`."""
    query, keys = check_array("query", query), check_array("keys", keys)
    if keys.ndim < 2 or query.ndim not in (keys.ndim - 1, keys.ndim):
        raise ValueError(
            f"query and keys: expected shapes (*B, Q) or (*B, L, Q), and (*B, S, K), got {query.shape} and "
            f"{keys.shape}; put the time axis just before the features."
        )
    many = query.ndim == keys.ndim
    context, weights = attention(
        params,
        jnp.moveaxis(query, -2, 0) if many else query,
        jnp.moveaxis(keys, -2, 0),
        None if values is None else jnp.moveaxis(check_array("values", values), -2, 0),
        key_lengths=key_lengths,
        key_mask=mask_time_first("key_mask", key_mask),
    )
    if many:
        return jnp.moveaxis(context, 0, -2), jnp.moveaxis(weights, (0, 1), (-2, -1))
    return context, jnp.moveaxis(weights, 0, -1)


def time_first(name: str, xs: Any, dtype: Any = None) -> jax.Array:
    """`(*B, T, features)` as `(T, *B, features)`, in the dtype that a module was told to compute in, if any."""
    xs = check_array(name, xs)
    if xs.ndim < 2:
        raise ValueError(f"{name}: expected shape (*B, T, features), got {xs.shape}; add the missing axes.")
    return jnp.moveaxis(as_told(xs, dtype), -2, 0)


def as_told(xs: Any, dtype: Any) -> jax.Array:
    """Floats in the dtype that a module was told to compute in; as they are, when it was told none."""
    xs = check_array("x", xs)
    if dtype is None or not jnp.issubdtype(xs.dtype, jnp.floating):
        return xs
    return jnp.astype(xs, check_dtype("dtype", dtype))


def mask_time_first(name: str, mask: Any) -> jax.Array | None:
    """`(*B, T)` as `(T, *B)`."""
    return None if mask is None else jnp.moveaxis(check_array(name, mask), -1, 0)


def to_names(params: EncoderDecoderParams) -> dict[str, Any]:
    """Params as nested dicts, the names that both Flax modules give them."""
    return {
        "encoder": _layers_to_names(params.encoder),
        "bridge": {
            f"layer_{layer}": {f"leaf_{leaf}": as_dict(dense) for leaf, dense in enumerate(leaves)}
            for layer, leaves in enumerate(params.bridge)
        },
        "decoder": _layers_to_names(params.decoder),
        "attention": as_dict(params.attention),
        **{name: getattr(params, name) for name in ("w_c", "b_c", "w_o", "b_o")},
    }


def from_names(cell: Cell, tree: Mapping[str, Any]) -> EncoderDecoderParams:
    """The params that `to_names` named."""
    attention = AdditiveAttentionParams if "w_q" in tree["attention"] else DotProductAttentionParams
    # The NamedTuple of a cell's params does not depend on its width.
    width = tree["b_c"].shape[0]
    kind = params_type(cell, width, width)
    return EncoderDecoderParams(
        encoder=_layers_from_names(kind, tree["encoder"]),
        bridge=tuple(
            tuple(BridgeParams(**layer[f"leaf_{leaf}"]) for leaf in range(len(layer)))
            for layer in _in_order(tree["bridge"])
        ),
        decoder=_layers_from_names(kind, tree["decoder"]),
        attention=as_params(attention, tree["attention"]),
        **{name: tree[name] for name in ("w_c", "b_c", "w_o", "b_o")},
    )


def _layers_to_names(layers: Any) -> dict[str, Any]:
    return {
        f"layer_{layer}": {name: as_dict(p) for name, p in zip(DIRECTIONS, directions, strict=False)}
        for layer, directions in enumerate(layers)
    }


def _layers_from_names(kind: Any, tree: Mapping[str, Any]) -> tuple[tuple[Any, ...], ...]:
    return tuple(
        tuple(as_params(kind, layer[name]) for name in DIRECTIONS if name in layer) for layer in _in_order(tree)
    )


def _in_order(tree: Mapping[str, Any]) -> list[Any]:
    return [tree[f"layer_{layer}"] for layer in range(len(tree))]
