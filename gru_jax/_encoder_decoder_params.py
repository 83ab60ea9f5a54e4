"""The params of an encoder and a decoder with attention between them."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from gru_jax._attention import AttentionParams, init_additive_attention, init_dot_product_attention
from gru_jax._cells.cell import Cell
from gru_jax._cells.checks import check_dtype, check_key, check_positive, outline
from gru_jax._cells.initializers import lecun_normal
from gru_jax._layers import init_layers, layer_widths
from gru_jax._scan_checks import check_cell


class BridgeParams(NamedTuple):
    """From one leaf of the encoder's final carry to one of the decoder's first: tanh(c w + b).

    Attributes:
      w: `(D H, H)`; D directions of the encoder, side by side.
      b: `(H,)`.
    """

    w: jax.Array
    b: jax.Array


class EncoderDecoderParams(NamedTuple):
    """An encoder, a decoder, and what lies between and after them.

    Attributes:
      encoder: `params[layer][direction]`, as `gru_jax.init_layers` makes it.
      bridge: `BridgeParams` for each layer and each leaf of its carry, `bridge[layer][leaf]`.
      decoder: `params[layer][0]`, one direction.
      attention: of the decoder's outputs, the queries, over the encoder's, keys and values.
      w_c: `(D H + H, H)`, applied to the context and the decoder's output, in this order.
      b_c: `(H,)`.
      w_o: `(H, V)`, the read-out.
      b_o: `(V,)`.
    """

    encoder: tuple[tuple[Any, ...], ...]
    bridge: tuple[tuple[BridgeParams, ...], ...]
    decoder: tuple[tuple[Any, ...], ...]
    attention: AttentionParams
    w_c: jax.Array
    b_c: jax.Array
    w_o: jax.Array
    b_o: jax.Array


def init_encoder_decoder(
    cell: Cell,
    key: jax.Array,
    source_features: int,
    target_features: int,
    features: int | Sequence[int],
    outputs: int,
    *,
    num_layers: int = 1,
    bidirectional: bool = False,
    attention: Literal["additive", "dot_product"] = "additive",
    dtype: Any = jnp.float32,
) -> EncoderDecoderParams:
    """Params for `encode`, `decode` and `decode_step`.

    Args:
      cell: the cell of every layer, on both sides.
      key: a random key.
      source_features: the width of one input of the encoder.
      target_features: the width of one input of the decoder.
      features: H, the width of every layer, or a tuple with one width a layer; the same on both sides.
      outputs: V, the width of the read-out: the size of the target's vocabulary.
      num_layers: how many layers on each side, when `features` is one number.
      bidirectional: two directions in every layer of the encoder.
      attention: how a step of the source is scored, as in `gru_jax.additive_attention`, in a space as wide as the
        decoder's last layer, or `gru_jax.dot_product_attention`.
      dtype: of the params.

    Returns:
      `EncoderDecoderParams`, new matrices lecun_normal and biases zero.

    Raises:
      TypeError, ValueError: naming the argument that does not fit; also for a cell that reads several arrays, or whose
        carry is not vectors.
    """
    check_cell(cell)
    check_key("key", key)
    if attention not in ("additive", "dot_product"):
        raise ValueError(f'attention: expected "additive" or "dot_product", got {attention!r}; pass one of the two.')
    check_positive("target_features", target_features, remedy="pass the width of one input of the decoder")
    check_positive("source_features", source_features, remedy="pass the width of one input of the encoder")
    check_positive("outputs", outputs, remedy="pass the size of the target's vocabulary")
    dtype = check_dtype("dtype", dtype)
    widths = layer_widths(features, num_layers)
    k_e, k_d, k_b, k_a, k_c, k_o = jax.random.split(key, 6)
    encoder = init_layers(cell, k_e, source_features, widths, bidirectional=bidirectional, dtype=dtype)
    reads = cell.input_shape(encoder[0][0])
    if hasattr(reads, "_fields"):
        raise ValueError(
            f"cell: expected one that reads one array at a step, got {cell.name!r}, which reads {outline(reads)}; "
            "run it first and translate its outputs, or choose another cell."
        )
    bridge = []
    for layer, directions in enumerate(encoder):
        sizes = [leaf.shape[0] for leaf in jax.tree.leaves(_carry_shapes(cell, directions[0]))]
        keys = jax.random.split(jax.random.fold_in(k_b, layer), len(sizes))
        bridge.append(
            tuple(
                BridgeParams(lecun_normal(k, (len(directions) * size, size), dtype), jnp.zeros((size,), dtype))
                for k, size in zip(keys, sizes, strict=True)
            )
        )
    query, source = widths[-1], len(encoder[-1]) * widths[-1]
    return EncoderDecoderParams(
        encoder=encoder,
        bridge=tuple(bridge),
        decoder=init_layers(cell, k_d, target_features, widths, dtype=dtype),
        attention=(
            init_additive_attention(k_a, query, source, query, dtype=dtype)
            if attention == "additive"
            else init_dot_product_attention(k_a, query, source, dtype=dtype)
        ),
        w_c=lecun_normal(k_c, (source + query, query), dtype),
        b_c=jnp.zeros((query,), dtype),
        w_o=lecun_normal(k_o, (query, outputs), dtype),
        b_o=jnp.zeros((outputs,), dtype),
    )


def _carry_shapes(cell: Cell, params: Any) -> Any:
    """The shapes of a carry without batch axes, each leaf one vector."""
    shapes = jax.eval_shape(cell.carry, params)
    for leaf in jax.tree.leaves(shapes):
        if leaf.ndim != 1 or not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise ValueError(
                f"cell: expected one whose carry is vectors, (*B, H) each, got {leaf.shape} of {leaf.dtype} for "
                f"{cell.name!r}; the bridge from encoder to decoder is a dense layer."
            )
    return shapes
