"""The Flax NNX module of the encoder-decoder; it owns parameters and nothing else."""

from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from gru_jax._cells.boxes import kept_boxes
from gru_jax._cells.cell import Cell
from gru_jax._cells.checks import check_flag
from gru_jax._cells.gru import gru
from gru_jax._decoding.encoder_decoder import Encoded, decode_step
from gru_jax._decoding.params import init_encoder_decoder
from gru_jax._flax.attention_layout import Dropped, as_told, read_source, tell_target, to_names
from gru_jax._flax.nnx.params import OwnsParams
from gru_jax._flax.nnx.rngs import check_rngs, dropout_keys, dropout_stream, stream
from gru_jax._layers.layers import check_dropout


class EncoderDecoder(OwnsParams):
    """An encoder and a decoder with attention between them: `gru_jax.encode`, `decode`, `decode_step`, batch-major.

    Its parameters are named as in `gru_jax.linen.EncoderDecoder`.

    Args:
      source_features: the width of one input of the encoder.
      target_features: the width of one input of the decoder.
      features: H, the width of every layer on both sides, or a tuple with one width a layer.
      outputs: V, the width of the read-out.
      num_layers: how many layers on each side, when `features` is one number.
      bidirectional: two directions in every layer of the encoder.
      attention: "additive" or "dot_product".
      dropout_rate: in [0, 1), between layers and before the read-out; drawn from the rng stream "dropout". `eval()`
        turns it off.
      cell: the cell of every layer: `gru_jax.gru()`, or any other.
      dtype: the float dtype to compute in; None: the dtype of the inputs.
      param_dtype: the dtype of the parameters.
      deterministic: True turns dropout off; `train()`, `eval()` and `nnx.view` set it.
      backend: as in `gru_jax.scan`.
      rngs: the random streams "params" and, with dropout, "dropout", which may also come with the call.

    Raises:
      TypeError, ValueError: naming the argument that does not fit.

    Example:
      >>> import gru_jax, jax.numpy as jnp
      >>> from flax import nnx
      >>> model = gru_jax.nnx.EncoderDecoder(3, 4, 16, 10, bidirectional=True, rngs=nnx.Rngs(0))
      >>> logits, weights = model(jnp.ones((2, 7, 3)), jnp.ones((2, 6, 4)), seq_lengths=jnp.array([7, 5]))
      >>> logits.shape, weights.shape
      ((2, 6, 10), (2, 6, 7))
    """

    _naming = staticmethod(to_names)

    def __init__(
        self,
        source_features: int,
        target_features: int,
        features: int | Sequence[int],
        outputs: int,
        *,
        num_layers: int = 1,
        bidirectional: bool = False,
        attention: Literal["additive", "dot_product"] = "additive",
        dropout_rate: float = 0.0,
        cell: Cell = gru(),  # noqa: B008 - a cell is an immutable record
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        deterministic: bool = False,
        backend: str = "auto",
        rngs: nnx.Rngs,
    ):
        self.cell = cell
        self.dtype = dtype
        self.dropout_rate = check_dropout(dropout_rate)
        self.deterministic = deterministic
        self.backend = backend
        with kept_boxes() as boxes:
            params = init_encoder_decoder(
                cell,
                stream(rngs, "params")(),
                source_features,
                target_features,
                features,
                outputs,
                num_layers=num_layers,
                bidirectional=bidirectional,
                attention=attention,
                dtype=param_dtype,
            )
        self._own(params, boxes)
        self.rngs = dropout_stream(rngs) if self.dropout_rate else nnx.data(None)

    def __call__(
        self,
        source: jax.Array,
        target: jax.Array,
        *,
        seq_lengths: jax.Array | None = None,
        mask: jax.Array | None = None,
        deterministic: bool | None = None,
        rngs: nnx.Rngs | nnx.RngStream | jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Predict what comes after each step of the target (teacher forcing).

        Args:
          source: `(*B, S, I)`.
          target: `(*B, L, I')`, shifted by one: each step stands before the one to predict, the start first.
          seq_lengths: int `(*B,)`, the number of valid steps of each source.
          mask: bool `(*B, S)`, False = padding of the source; not together with `seq_lengths`.
          deterministic: True turns dropout off; None: what the attribute says.
          rngs: for dropout, an `nnx.Rngs` with a stream "dropout", a stream, or a key; None: the module's own.

        Returns:
          logits `(*B, L, V)`, and attention weights `(*B, L, S)`.

        Raises:
          TypeError, ValueError: naming the argument that does not fit; see `gru_jax.decode`.
        """
        check_rngs(rngs)
        return tell_target(
            self.cell,
            self.params,
            source,
            target,
            seq_lengths=seq_lengths,
            mask=mask,
            dtype=self.dtype,
            backend=self.backend,
            dropped=self._dropped(deterministic, rngs),
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

    def set_view(self, deterministic: bool | None = None) -> None:
        """Class method used by `nnx.view`.

        Args:
          deterministic: if True, disables dropout between layers and before the read-out.
        """
        if deterministic is not None:
            self.deterministic = deterministic

    def _dropped(self, deterministic: bool | None, rngs: Any) -> Dropped:
        if deterministic is None:
            deterministic = self.deterministic
        if check_flag("deterministic", deterministic) or not self.dropout_rate:
            return Dropped()
        return Dropped(self.dropout_rate, *dropout_keys(self.rngs, rngs, 2))
