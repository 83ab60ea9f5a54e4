"""The params of an encoder and a decoder with attention between them."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from gru_jax._attention.attention import (
    ATTENTION_SHAPES,
    AttentionParams,
    init_additive_attention,
    init_dot_product_attention,
)
from gru_jax._cells.carry_checks import carry_shapes
from gru_jax._cells.cell import Cell
from gru_jax._cells.checks import check_dtype, check_key, check_letters, check_positive, outline
from gru_jax._cells.initializers import lecun_normal
from gru_jax._layers.layers import check_nesting, init_layers, layer_widths
from gru_jax._scan.checks import check_cell


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
      attention: params of the attention of the decoder's outputs, the queries, over the encoder's, keys and values.
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
      attention: how a step of the source is scored: as in `gru_jax.additive_attention`, with A the width of the
        decoder's last layer, or as in `gru_jax.dot_product_attention`.
      dtype: of the params.

    Returns:
      `EncoderDecoderParams`; outside the layers, which `cell.init` makes, matrices are lecun_normal and biases zero.

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


_REMEDY = "pass what init_encoder_decoder returned for this cell"


def check_encoder_decoder_params(cell: Any, params: Any) -> None:
    """Check that all parts of the params fit together; whoever runs a stack checks its layers."""
    check_cell(cell)
    if not isinstance(params, EncoderDecoderParams):
        raise TypeError(f"params: expected EncoderDecoderParams, got {type(params).__name__}; {_REMEDY}.")
    check_nesting("params.encoder", params.encoder)
    check_nesting("params.decoder", params.decoder)
    if [len(layer) for layer in params.decoder] != [1] * len(params.encoder):
        raise ValueError(
            f"params.decoder: expected one direction in each of {len(params.encoder)} layers, as many as in "
            f"params.encoder, got {[len(layer) for layer in params.decoder]} directions; {_REMEDY}."
        )
    _check_bridge(cell, params)
    shapes = ATTENTION_SHAPES.get(type(params.attention))
    if shapes is None:
        kinds = " or ".join(kind.__name__ for kind in ATTENTION_SHAPES)
        raise TypeError(f"params.attention: expected {kinds}, got {type(params.attention).__name__}; {_REMEDY}.")
    sizes = check_letters("params.attention", params.attention, shapes, _REMEDY)
    h, dh = sizes["Q"], sizes["K"]
    read_out = {"w_c": ("DH+H", "H"), "b_c": ("H",), "w_o": ("H", "V"), "b_o": ("V",)}
    check_letters("params", params, read_out, _REMEDY, **{"H": h, "DH+H": dh + h})


def _check_bridge(cell: Cell, params: EncoderDecoderParams) -> None:
    """Check for a dense layer for each leaf of each layer's carry, as wide as encoder and decoder need it."""
    ends, starts = (
        [[jax.tree.leaves(_carry_shapes(cell, p)) for p in directions] for directions in side]
        for side in (params.encoder, params.decoder)
    )
    rows = params.bridge if isinstance(params.bridge, tuple | list) else ()
    found = [[type(part) for part in row] if isinstance(row, tuple | list) else None for row in rows]
    if found != [[BridgeParams] * len(start) for (start,) in starts]:
        raise TypeError(
            "params.bridge: expected params.bridge[layer][leaf], BridgeParams for each of "
            f"{[len(start) for (start,) in starts]} leaves of the layers' carries, got {outline(params.bridge)}; "
            f"{_REMEDY}."
        )
    for layer, (row, (start,), end) in enumerate(zip(params.bridge, starts, ends, strict=True)):
        for leaf, (dense, to, *of) in enumerate(zip(row, start, *end, strict=True)):
            sizes = {"DH": sum(part.shape[0] for part in of), "H": to.shape[0]}
            check_letters(f"params.bridge[{layer}][{leaf}]", dense, {"w": ("DH", "H"), "b": ("H",)}, _REMEDY, **sizes)


def source_width(params: EncoderDecoderParams) -> int:
    """D H, the width that checked params expect of the encoder's outputs."""
    return params.w_c.shape[0] - params.w_c.shape[1]


def check_written(name: str, ys: jax.Array, width: int) -> None:
    """Check that the outputs of a stack are as wide as attention and read-out expect."""
    if ys.shape[-1] != width:
        raise ValueError(
            f"{name}: expected a last layer that writes {width} features, for which params.attention and params.w_c "
            f"were made, got one that writes {ys.shape[-1]}; {_REMEDY}."
        )


def _carry_shapes(cell: Cell, params: Any) -> Any:
    """The shapes of a carry without batch axes, each leaf one vector."""
    # First, since it says what is wrong with params that are not this cell's.
    cell.input_shape(params)
    shapes = carry_shapes(cell, (), params)
    for leaf in jax.tree.leaves(shapes):
        if leaf.ndim != 1 or not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise ValueError(
                f"cell: expected one whose carry is vectors, (*B, H) each, got {leaf.shape} of {leaf.dtype} for "
                f"{cell.name!r}; the bridge from encoder to decoder is a dense layer."
            )
    return shapes
