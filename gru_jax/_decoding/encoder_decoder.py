"""Encoder and decoder with attention between them: from one sequence to another of another length.

The decoder reads the true target in training, shifted by one step. So `gru_jax.scan_layers` runs its layers over all
steps, and attention and read-out follow for all steps at once. This is possible since nothing that attention finds is
fed back into the layers (Luong et al. 2015 call the contrary input feeding).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gru_jax._attention.attention import AttentionMemory, DotProductAttentionParams, attend, remember
from gru_jax._attention.weights import TIME_MAJOR, valid_keys
from gru_jax._cells.cell import Cell
from gru_jax._cells.checks import check_float_array
from gru_jax._cells.precision import add_bias, carry_dtype, compute_params, matmul
from gru_jax._decoding.params import EncoderDecoderParams, check_encoder_decoder_params, check_written, source_width
from gru_jax._layers.layers import check_dropout, check_states, scan_layers
from gru_jax._scan.checks import with_precision


class Encoded(NamedTuple):
    """What the decoder knows of the source.

    Attributes:
      memory: what the decoder's attention looks at, leaves `(S, *B, ...)`.
      carry: where the decoder's layers start, `carry[layer][0]`, leaves `(*B, H)`.
    """

    memory: AttentionMemory
    carry: tuple[tuple[Any, ...], ...]


def encode(
    cell: Cell,
    params: EncoderDecoderParams,
    xs: jax.Array,
    carry: Any = None,
    *,
    seq_lengths: jax.Array | None = None,
    mask: jax.Array | None = None,
    precision: Any = None,
    **options: Any,
) -> Encoded:
    """Read the source.

        carry, ys = scan_layers(cell, params.encoder, xs)
        decoder's first carry = tanh(carry w + b), each leaf of each layer by itself, the directions side by side

    Args:
      cell: the cell of every layer.
      params: what `init_encoder_decoder` returned.
      xs: the source `(S, *B, I)`.
      carry: initial states of the encoder's layers, `carry[layer][direction]`; None: zeros.
      seq_lengths: int `(*B,)`: row b is `xs[:seq_lengths[b]]` and the rest is padding, which reaches nothing.
      mask: bool `(S, *B)`, False = padding; not together with `seq_lengths`.
      precision: of all matrix products, as in `gru_jax.scan`.
      **options: dropout_rate, dropout_key, unroll, remat and backend, as in `gru_jax.scan_layers`.

    Returns:
      `Encoded`, for `decode` and `decode_step`.

    Raises:
      TypeError, ValueError: naming the argument that does not fit.

    Source: Bahdanau, Cho & Bengio 2015, section 3.2 (annotations of both directions) and appendix A.2.2 (the bridge,
    which there sees the final state of the backward direction only).
    """
    check_encoder_decoder_params(cell, params)
    _check_options("encode", options, ("dropout_rate", "dropout_key", "unroll", "remat", "backend"))
    final, ys = scan_layers(
        cell, params.encoder, xs, carry, seq_lengths=seq_lengths, mask=mask, precision=precision, **options
    )
    check_written("params.encoder", ys, source_width(params))
    valid = valid_keys(seq_lengths, mask, ys.shape[0], ys.shape[1:-1], names=("seq_lengths", "mask"), layout=TIME_MAJOR)
    with with_precision(precision):
        return Encoded(remember(params.attention, ys, ys, valid), _bridge(params, final, ys.dtype))


def _bridge(params: EncoderDecoderParams, final: Any, dtype: Any) -> tuple[tuple[Any, ...], ...]:
    """The decoder's first carry, from the final states of the encoder."""
    carry = []
    for dense, directions in zip(compute_params(params.bridge, dtype), final, strict=True):
        leaves = zip(*(jax.tree.leaves(state) for state in directions), strict=True)
        joined = [jnp.concatenate(parts, axis=-1) for parts in leaves]
        start = [jnp.tanh(add_bias(matmul(leaf, d.w), d.b)) for leaf, d in zip(joined, dense, strict=True)]
        carry.append((jax.tree.unflatten(jax.tree.structure(directions[0]), start),))
    return tuple(carry)


def decode(
    cell: Cell,
    params: EncoderDecoderParams,
    encoded: Encoded,
    xs: jax.Array,
    carry: Any = None,
    *,
    dropout_rate: float = 0.0,
    dropout_key: jax.Array | None = None,
    precision: Any = None,
    **options: Any,
) -> tuple[Any, jax.Array, jax.Array]:
    """Read the target, all steps at once, and predict what comes after each (teacher forcing).

        carry, h = scan_layers(cell, params.decoder, xs, carry)
        c_t      = attention of h_t over the encoder's outputs
        logits_t = tanh([c_t; h_t] W_c + b_c) W_o + b_o

    Args:
      cell: the cell of every layer.
      params: what `init_encoder_decoder` returned.
      encoded: what `encode` returned.
      xs: the target `(L, *B, I)`, shifted by one: each step stands before the one to predict, the start first.
      carry: `carry[layer][0]`, leaves `(*B, H)`; None: `encoded.carry`.
      dropout_rate: in [0, 1): between layers, and before the read-out.
      dropout_key: a random key, needed when the rate is not 0.
      precision: of all matrix products, as in `gru_jax.scan`.
      **options: seq_lengths, mask, unroll, remat and backend, as in `gru_jax.scan_layers`. Logits before padding at
        the end of xs need neither of the first two, since no step sees a later one. The final carry needs one of them,
        and so do gradients if the padding holds NaN.

    Additive attention compares all L steps with all S at once, in L S *B A numbers; dot products need L S *B.

    Returns:
      The final carry; logits `(L, *B, V)`, float32 (float64 for float64); attention weights `(L, S, *B)`.

    Raises:
      TypeError, ValueError: naming the argument that does not fit.

    Source: Luong, Pham & Manning 2015, equations 5 and 6, global attention.

    Example:
      >>> import gru_jax, jax, jax.numpy as jnp
      >>> cell = gru_jax.gru()
      >>> params = gru_jax.init_encoder_decoder(cell, jax.random.key(0), 3, 4, 16, 10, bidirectional=True)
      >>> encoded = gru_jax.encode(cell, params, jnp.ones((7, 2, 3)), seq_lengths=jnp.array([7, 5]))
      >>> carry, logits, weights = gru_jax.decode(cell, params, encoded, jnp.ones((6, 2, 4)))
      >>> logits.shape, weights.shape
      ((6, 2, 10), (6, 7, 2))
    """
    check_encoder_decoder_params(cell, params)
    _check_options("decode", options, ("seq_lengths", "mask", "unroll", "remat", "backend"))
    xs = check_float_array("xs", xs)
    _check_encoded(params, encoded, "xs", xs)
    start = encoded.carry if carry is None else carry
    rate = check_dropout(dropout_rate)
    between = dropout_rate if len(params.decoder) > 1 else 0.0
    dropout: dict[str, Any] = {"dropout_rate": between, "dropout_key": dropout_key}
    carry, ys = scan_layers(cell, params.decoder, xs, start, precision=precision, **dropout, **options)
    key = jax.random.fold_in(dropout_key, len(params.decoder)) if rate and dropout_key is not None else None
    with with_precision(precision):
        return carry, *_read_out(params, encoded, ys, rate, key)


def decode_step(
    cell: Cell, params: EncoderDecoderParams, encoded: Encoded, carry: Any, x: jax.Array, *, precision: Any = None
) -> tuple[Any, jax.Array, jax.Array]:
    """One step of `decode`, for a search.

    Args:
      cell: the cell of every layer.
      params: what `init_encoder_decoder` returned.
      encoded: what `encode` returned.
      carry: `carry[layer][0]`, leaves `(*B, H)`; None: `encoded.carry`, the start. A beam stands before the batch:
        leaves `(K, *B, H)`, x `(K, *B, I)`, and the results likewise.
      x: the last element of the target, `(*B, I)`.
      precision: of all matrix products, as in `gru_jax.scan`.

    Returns:
      The new carry, logits `(*B, V)` and attention weights `(S, *B)`, with a beam `(K, S, *B)`.

    Raises:
      TypeError, ValueError: naming the argument that does not fit.

    Example:
      >>> import gru_jax, jax, jax.numpy as jnp
      >>> cell, end = gru_jax.gru(), 9
      >>> params = gru_jax.init_encoder_decoder(cell, jax.random.key(0), 3, 4, 16, 10)
      >>> table = jax.random.normal(jax.random.key(1), (10, 4))
      >>> encoded = gru_jax.encode(cell, params, jnp.ones((7, 2, 3)))
      >>> def step(tokens, carry):
      ...     carry, logits, weights = gru_jax.decode_step(cell, params, encoded, carry, table[tokens])
      ...     return jax.nn.log_softmax(logits), carry
      >>> found = gru_jax.beam_search(
      ...     step, encoded.carry, start_token=jnp.array([0, 0]), end_token=9, beam_size=3, max_steps=5)
      >>> found.tokens.shape
      (5, 3, 2)
    """
    check_encoder_decoder_params(cell, params)
    x = check_float_array("x", x)
    _check_encoded(params, encoded, "x", x)
    carry = encoded.carry if carry is None else carry
    check_states(cell, params.decoder, "carry", carry, x.shape[:-1])
    with with_precision(precision):
        after = []
        for directions, (state,) in zip(params.decoder, carry, strict=True):
            state, x = cell(directions[0], state, x)
            after.append((state,))
        return tuple(after), *_read_out(params, encoded, x, 0.0, None)


def _read_out(
    params: EncoderDecoderParams, encoded: Encoded, h: jax.Array, rate: float, key: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    check_written("params.decoder", h, params.w_o.shape[0])
    context, weights = attend(params.attention, h, encoded.memory)
    dense = compute_params((params.w_c, params.b_c, params.w_o, params.b_o), h.dtype)
    w_c, b_c, w_o, b_o = dense
    attentional = jnp.tanh(add_bias(matmul(jnp.concatenate([jnp.astype(context, h.dtype), h], axis=-1), w_c), b_c))
    if key is not None:
        kept = jax.random.bernoulli(key, 1 - rate, attentional.shape)
        attentional = jnp.where(kept, attentional / (1 - rate), 0)
    return add_bias(matmul(attentional, w_o), b_o), weights


def _check_options(function: str, options: dict[str, Any], allowed: tuple[str, ...]) -> None:
    """Refuse options that mean nothing here: a decoder run backwards, for one, would see what it is to predict."""
    for name in options:
        if name not in allowed:
            raise TypeError(
                f"{name}: expected one of the options that gru_jax.{function} hands on, {', '.join(allowed)}, "
                f"got {name!r}; leave it out, or run gru_jax.scan_layers yourself."
            )


def _check_encoded(params: EncoderDecoderParams, encoded: Any, name: str, xs: jax.Array) -> None:
    """Check that `encode` returned this for such params and the batch of xs `(..., *B, I)`, `name` in messages."""
    if not isinstance(encoded, Encoded):
        raise TypeError(f"encoded: expected Encoded, got {type(encoded).__name__}; pass what encode returned.")
    keys, values, _ = encoded.memory
    attention = params.attention
    width = attention.w.shape[1] if isinstance(attention, DotProductAttentionParams) else attention.b.shape[0]
    source = source_width(params)
    if (keys.shape[-1], values.shape[-1]) != (width, source):
        raise ValueError(
            f"encoded: expected keys and values of {width} and {source} features, for which params were made, got "
            f"{keys.shape[-1]} and {values.shape[-1]}; pass what encode returned for the same params."
        )
    batch = keys.shape[1:-1]
    if len(xs.shape) <= len(batch) or xs.shape[len(xs.shape) - 1 - len(batch) : -1] != batch:
        raise ValueError(
            f"{name}: expected shape (..., *B, I) with *B = {batch}, the batch of the encoded source, got {xs.shape}; "
            "encode these rows, or repeat what is shared."
        )
    if carry_dtype(xs.dtype) != carry_dtype(values.dtype):
        raise TypeError(
            f"{name}: expected the precision of the encoded source ({values.dtype}), got {xs.dtype}; "
            "float64 does not mix with narrower floats: cast with .astype."
        )
