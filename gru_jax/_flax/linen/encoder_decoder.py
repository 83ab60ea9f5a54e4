"""The Flax linen module of the encoder-decoder; it owns parameters and nothing else."""

import functools
from collections.abc import Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from gru_jax._cells.boxes import kept_boxes
from gru_jax._cells.cell import Cell
from gru_jax._cells.checks import check_flag
from gru_jax._cells.gru import gru
from gru_jax._decoding.encoder_decoder import Encoded, decode_step
from gru_jax._decoding.params import EncoderDecoderParams, init_encoder_decoder
from gru_jax._flax.attention_layout import Dropped, as_told, from_names, read_source, tell_target, to_names
from gru_jax._flax.linen.attention import width_of
from gru_jax._flax.linen.params import boxed, declare, params_key
from gru_jax._flax.param_names import from_dict
from gru_jax._layers.layers import check_dropout


class EncoderDecoder(nn.Module):
    """An encoder and a decoder with attention between them: `gru_jax.encode`, `decode`, `decode_step`, batch-major.

    Attributes:
      features: H, the width of every layer on both sides, or a tuple with one width a layer.
      outputs: V, the width of the read-out.
      num_layers: how many layers on each side, when `features` is one number.
      bidirectional: two directions in every layer of the encoder.
      attention: "additive" or "dot_product".
      dropout_rate: in [0, 1), between layers and before the read-out; drawn from the rng stream "dropout".
      cell: the cell of every layer: `gru_jax.gru()`, or any other.
      dtype: the float dtype to compute in; None: the dtype of the inputs.
      param_dtype: the dtype of the parameters.
      deterministic: True turns dropout off; can be given at the call instead.
      backend: as in `gru_jax.scan`.

    Example:
      >>> import gru_jax, jax, jax.numpy as jnp
      >>> model = gru_jax.linen.EncoderDecoder(16, 10, bidirectional=True)
      >>> source, target = jnp.ones((2, 7, 3)), jnp.ones((2, 6, 4))
      >>> variables = model.init(jax.random.key(0), source, target)
      >>> logits, weights = model.apply(variables, source, target, seq_lengths=jnp.array([7, 5]))
      >>> logits.shape, weights.shape
      ((2, 6, 10), (2, 6, 7))
    """

    features: int | Sequence[int]
    outputs: int
    num_layers: int = 1
    bidirectional: bool = False
    attention: Literal["additive", "dot_product"] = "additive"
    dropout_rate: float = 0.0
    cell: Cell = gru()
    dtype: Any = None
    param_dtype: Any = jnp.float32
    deterministic: bool | None = None
    backend: str = "auto"

    def __call__(
        self,
        source: jax.Array,
        target: jax.Array,
        *,
        seq_lengths: jax.Array | None = None,
        mask: jax.Array | None = None,
        deterministic: bool | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Predict what comes after each step of the target (teacher forcing).

        Args:
          source: `(*B, S, I)`.
          target: `(*B, L, I')`, shifted by one: each step stands before the one to predict, the start first.
          seq_lengths: int `(*B,)`, the number of valid steps of each source.
          mask: bool `(*B, S)`, False = padding of the source; not together with `seq_lengths`.
          deterministic: True turns dropout off; None: what the attribute says, and False when it says nothing.

        Returns:
          logits `(*B, L, V)`, and attention weights `(*B, L, S)`.

        Raises:
          TypeError, ValueError: naming the argument that does not fit; see `gru_jax.decode`.
        """
        params = self._params(width_of("source", source, axes=2), width_of("target", target, axes=2))
        return tell_target(
            self.cell,
            params,
            source,
            target,
            seq_lengths=seq_lengths,
            mask=mask,
            dtype=self.dtype,
            backend=self.backend,
            dropped=self._dropped(deterministic),
        )

    def encode(
        self, source: jax.Array, *, seq_lengths: jax.Array | None = None, mask: jax.Array | None = None
    ) -> Encoded:
        """Read the source `(*B, S, I)` without dropout; the result is time-major, for `step`."""
        options: dict[str, Any] = {"dtype": self.dtype, "backend": self.backend}
        return read_source(self.cell, self.params, source, seq_lengths=seq_lengths, mask=mask, **options)

    def step(self, encoded: Encoded, carry: Any, x: jax.Array) -> tuple[Any, jax.Array, jax.Array]:
        """One step, x `(*B, I')`, or `(K, *B, I')` with a beam; see `gru_jax.decode_step`.

        Returns the new carry, logits `(*B, V)` and attention weights `(*B, S)`, with the beam before them.
        """
        x = as_told(x, self.dtype)
        carry, logits, weights = decode_step(self.cell, self.params, encoded, carry, x)
        return carry, logits, jnp.moveaxis(weights, weights.ndim - encoded.memory.keys.ndim + 1, -1)

    @property
    def params(self) -> EncoderDecoderParams:
        """The parameters as the functions take them, of a bound module that has been initialised."""
        if not self.has_variable("params", "w_o"):
            raise ValueError("params: expected parameters, got none; initialise the module by a call, init(key, ...).")
        stored = nn.meta.unbox(self.variables["params"])
        return from_names(self.cell, stored, functools.partial(self._init, jax.random.key(0)))

    @nn.compact
    def _params(self, source_features: int, target_features: int) -> EncoderDecoderParams:
        if self.has_variable("params", "w_o"):
            return self.params
        with kept_boxes() as boxes:
            made = self._init(params_key(self), source_features, target_features)
        return from_dict(to_names, jax.tree.structure(made), declare(self, to_names(boxed(made, boxes))))

    @nn.nowrap
    def _init(self, key: jax.Array, source_features: int, target_features: int) -> EncoderDecoderParams:
        return init_encoder_decoder(
            self.cell,
            key,
            source_features,
            target_features,
            self.features,
            self.outputs,
            num_layers=self.num_layers,
            bidirectional=check_flag("bidirectional", self.bidirectional),
            attention=self.attention,
            dtype=self.param_dtype,
        )

    def _dropped(self, deterministic: bool | None) -> Dropped:
        if deterministic is None:
            deterministic = self.deterministic
        off = deterministic is not None and check_flag("deterministic", deterministic)
        if off or not check_dropout(self.dropout_rate):
            return Dropped()
        return Dropped(self.dropout_rate, self.make_rng("dropout"), self.make_rng("dropout"))
