"""Flax linen modules over the pure functions; they own parameters and nothing else."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gru_jax._cells.cell import Cell
from gru_jax._cells.checks import check_flag, check_positive, first_shape
from gru_jax._cells.gru import gru
from gru_jax._layers import check_dropout, layer_widths
from gru_jax._linen_attention import AdditiveAttention, AttentionPooling, DotProductAttention
from gru_jax._linen_encoder_decoder import EncoderDecoder
from gru_jax._scan_checks import check_cell
from gru_jax._stack import (
    as_dict,
    as_params,
    cast_leaves,
    check_names,
    direction_names,
    input_shape,
    params_type,
    run_stack,
    stored_width,
    width_of,
)

__all__ = ["GRU", "AdditiveAttention", "AttentionPooling", "DotProductAttention", "EncoderDecoder", "GRUCell"]


class GRU(nn.Module):
    """A stack of recurrent layers, one or two directions each, with dropout between layers.

    Its parameters are named `layer_0/forward/w_i` and so on, as in `gru_jax.nnx.GRU`.

    Attributes:
      features: H, the width of every layer, or a tuple with one width a layer.
      num_layers: how many layers, when `features` is one number.
      bidirectional: two directions a layer, concatenated, forward first.
      dropout_rate: in [0, 1), between layers; drawn from the rng stream "dropout".
      cell: the cell of every layer: `gru_jax.gru()`, or any other.
      dtype: the float dtype to compute in; None: the dtype of xs.
      param_dtype: the dtype of the parameters.
      deterministic: True turns dropout off; can be given at the call in its place.
      unroll, remat, precision, backend: as in `gru_jax.scan`.

    Example:
      >>> import gru_jax, jax, jax.numpy as jnp
      >>> model = gru_jax.linen.GRU(16, num_layers=2, bidirectional=True)
      >>> xs = jnp.ones((4, 10, 3))
      >>> variables = model.init(jax.random.key(0), xs)
      >>> carry, ys = model.apply(variables, xs, seq_lengths=jnp.array([10, 7, 3, 0]))
      >>> ys.shape
      (4, 10, 32)
    """

    features: int | Sequence[int]
    num_layers: int = 1
    bidirectional: bool = False
    dropout_rate: float = 0.0
    cell: Cell = gru()
    dtype: Any = None
    param_dtype: Any = jnp.float32
    deterministic: bool | None = None
    unroll: int = 1
    remat: int | None = None
    precision: Any = None
    backend: str = "auto"

    @nn.compact
    def __call__(
        self,
        xs: Any,
        *,
        initial_carry: Any = None,
        seq_lengths: jax.Array | None = None,
        mask: jax.Array | None = None,
        resets: jax.Array | None = None,
        reset_carry: Any = None,
        time_major: bool = False,
        deterministic: bool | None = None,
    ) -> tuple[Any, jax.Array]:
        """Run the stack.

        Args:
          xs: inputs `(*B, T, I)`, or `(T, *B, I)` with `time_major`; or what else the cell reads, of that layout.
          initial_carry: `carry[layer][direction]`, leaves `(*B, H)`; None: zeros.
          seq_lengths: int `(*B,)`, the number of valid steps of each row.
          mask: bool `(*B, T)`, False = padding; not together with `seq_lengths`. Time-major like xs.
          resets: bool `(*B, T)`, True = a new sequence starts at this step. Time-major like xs.
          reset_carry: what a reset restores, nested like the carry; None: zeros.
          time_major: whether time is the first axis of xs, mask, resets and ys.
          deterministic: True turns dropout off; None: what the attribute says, and False when it says nothing.

        Returns:
          The final carry, `carry[layer][direction]`, and ys `(*B, T, D H)`, 0 in the padding.

        Raises:
          TypeError, ValueError: naming the argument that does not fit; see `gru_jax.scan`.
        """
        check_cell(self.cell)
        params = self._params(self._in_features(xs))
        if deterministic is None:
            deterministic = self.deterministic
        deterministic = deterministic is not None and check_flag("deterministic", deterministic)
        dropout = check_dropout(self.dropout_rate) > 0 and not deterministic and len(params) > 1
        return run_stack(
            self.cell,
            params,
            xs,
            initial_carry=initial_carry,
            seq_lengths=seq_lengths,
            mask=mask,
            resets=resets,
            reset_carry=reset_carry,
            time_major=time_major,
            dtype=self.dtype,
            dropout_rate=self.dropout_rate if dropout else 0.0,
            dropout_key=self.make_rng("dropout") if dropout else None,
            unroll=self.unroll,
            remat=self.remat,
            precision=self.precision,
            backend=self.backend,
        )

    def _in_features(self, xs: Any) -> int:
        # Stored params tell it too; taken from them, a wrong xs meets our own message and not Flax's on its params.
        if self.has_variable("params", "layer_0"):
            stored = nn.meta.unbox(self.get_variable("params", "layer_0"))
            check_names("params['layer_0']", stored, direction_names(self.bidirectional))
            return stored_width(self.cell, stored["forward"], layer_widths(self.features, self.num_layers)[0])
        return width_of(self.cell, "xs", xs, layer_widths(self.features, self.num_layers)[0])

    def _params(self, in_features: int) -> tuple[tuple[Any, ...], ...]:
        directions = direction_names(self.bidirectional)
        layers = []
        for layer, width in enumerate(layer_widths(self.features, self.num_layers)):

            def init(key: jax.Array, in_features: int = in_features, width: int = width) -> dict[str, Any]:
                keys = jax.random.split(key, len(directions))
                return {
                    name: as_dict(self.cell.init(k, in_features, width, self.param_dtype))
                    for name, k in zip(directions, keys, strict=True)
                }

            leaves = self.param(f"layer_{layer}", init)
            check_names(f"params['layer_{layer}']", leaves, directions)
            kind = params_type(self.cell, in_features, width)
            layers.append(tuple(as_params(kind, leaves[name]) for name in directions))
            in_features = len(directions) * width
        return tuple(layers)


class GRUCell(nn.RNNCellBase):
    """One step of one layer, in the form that `flax.linen.RNN` and `flax.linen.Bidirectional` scan.

    These two take one array: over a cell that reads several, such as `gru_jax.gru_d()`, run `gru_jax.linen.GRU`.

    Attributes:
      features: H, the width of the state.
      cell: `gru_jax.gru()`, or any other; initialisers and the like are options of the cell.
      dtype: the float dtype to compute in; None: the dtype of the inputs.
      param_dtype: the dtype of the parameters.

    Example:
      >>> import flax.linen, gru_jax, jax, jax.numpy as jnp
      >>> layer = flax.linen.RNN(gru_jax.linen.GRUCell(features=4))
      >>> xs = jnp.ones((2, 5, 3))
      >>> layer.apply(layer.init(jax.random.key(0), xs), xs).shape
      (2, 5, 4)
    """

    features: int
    cell: Cell = gru()
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, carry: Any, inputs: Any) -> tuple[Any, jax.Array]:
        """Take one step.

        Args:
          carry: the state, leaves `(*B, H)`.
          inputs: `(*B, I)`, or what else the cell reads; Flax's RNN passes one array only.

        Returns:
          The new carry, and the output `(*B, H)`.

        Raises:
          TypeError, ValueError: naming the argument that does not fit.
        """
        check_cell(self.cell)
        inputs = cast_leaves(self.cell, "inputs", inputs, input_shape(self.cell, self.features), self.dtype)
        width = width_of(self.cell, "inputs", inputs, self.features)
        stored = nn.meta.unbox(self.variables.get("params", {}))
        if not stored and self.is_mutable_collection("params"):
            made = self.cell.init(self.make_rng("params"), width, self.features, self.param_dtype)
        else:
            # Flax wants to see the shapes once more; the stored width lets a wrong input meet our own message.
            width = stored_width(self.cell, stored, self.features) if stored else width
            shapes = jax.eval_shape(lambda: self.cell.init(jax.random.key(0), width, self.features, self.param_dtype))
            made = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        leaves = {name: self.param(name, lambda _, value=value: value) for name, value in as_dict(made).items()}
        return self.cell(as_params(type(made), leaves), carry, inputs)

    @nn.nowrap
    def initialize_carry(self, rng: jax.Array, input_shape: tuple[int, ...]) -> Any:
        """The zero carry for inputs of `input_shape`, `(*B, I)`; `rng` is not used, Flax passes it."""
        check_cell(self.cell)
        features = check_positive("features", self.features, remedy="pass the width of the state")
        params = jax.eval_shape(lambda: self.cell.init(jax.random.key(0), input_shape[-1], features, self.param_dtype))
        return self.cell.carry(params, batch_shape=tuple(input_shape[: -self.num_feature_axes]))

    @property
    def num_feature_axes(self) -> int:
        """How many trailing axes of the inputs are features."""
        check_cell(self.cell)
        return len(first_shape(input_shape(self.cell, self.features)))
