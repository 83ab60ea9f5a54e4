"""Flax NNX modules over the pure functions; they own parameters and nothing else."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from gru_jax._cells.cell import Cell
from gru_jax._cells.checks import check_flag, first_shape
from gru_jax._cells.gru import gru
from gru_jax._layers import check_dropout, init_layers, layer_widths
from gru_jax._nnx_attention import AdditiveAttention, AttentionPooling, DotProductAttention
from gru_jax._nnx_encoder_decoder import EncoderDecoder
from gru_jax._nnx_rngs import check_rngs, stream
from gru_jax._scan_checks import check_cell
from gru_jax._stack import as_dict, as_params, cast_leaves, direction_names, run_stack

__all__ = ["GRU", "AdditiveAttention", "AttentionPooling", "DotProductAttention", "EncoderDecoder", "GRUCell"]


class GRU(nnx.Module):
    """A stack of recurrent layers, one or two directions each, with dropout between layers.

    Its parameters are named `layer_0/forward/w_i` and so on, as in `gru_jax.linen.GRU`.

    Args:
      in_features: I, the width of one input; of frames, their channels.
      features: H, the width of every layer, or a tuple with one width a layer.
      num_layers: how many layers, when `features` is one number.
      bidirectional: two directions a layer, concatenated, forward first.
      dropout_rate: in [0, 1), between layers; drawn from the rng stream "dropout". `eval()` turns it off.
      cell: the cell of every layer: `gru_jax.gru()`, or any other.
      dtype: the float dtype to compute in; None: the dtype of xs.
      param_dtype: the dtype of the parameters.
      deterministic: True turns dropout off; `train()` and `eval()` set it.
      unroll: as in `gru_jax.scan`.
      remat: as in `gru_jax.scan`.
      precision: as in `gru_jax.scan`.
      backend: as in `gru_jax.scan`.
      rngs: the random streams "params" and, with dropout, "dropout".

    Raises:
      TypeError, ValueError: naming the argument that does not fit.

    Example:
      >>> import gru_jax, jax.numpy as jnp
      >>> from flax import nnx
      >>> model = gru_jax.nnx.GRU(3, 16, num_layers=2, bidirectional=True, rngs=nnx.Rngs(0))
      >>> carry, ys = model(jnp.ones((4, 10, 3)), seq_lengths=jnp.array([10, 7, 3, 0]))
      >>> ys.shape
      (4, 10, 32)
    """

    def __init__(
        self,
        in_features: int,
        features: int | Sequence[int],
        *,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout_rate: float = 0.0,
        cell: Cell = gru(),  # noqa: B008 - a cell is an immutable record
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        deterministic: bool = False,
        unroll: int = 1,
        remat: int | None = None,
        precision: Any = None,
        backend: str = "auto",
        rngs: nnx.Rngs,
    ):
        self.in_features = in_features
        self.features = layer_widths(features, num_layers)
        self.bidirectional = bidirectional
        self.dropout_rate = dropout_rate
        self.cell = cell
        self.dtype = dtype
        self.param_dtype = param_dtype
        self.deterministic = deterministic
        self.unroll = unroll
        self.remat = remat
        self.precision = precision
        self.backend = backend
        params = init_layers(
            cell, stream(rngs, "params")(), in_features, self.features, bidirectional=bidirectional, dtype=param_dtype
        )
        for layer, directions in enumerate(params):
            leaves = {
                name: nnx.Dict({leaf: nnx.Param(value) for leaf, value in as_dict(p).items()})
                for name, p in zip(direction_names(bidirectional), directions, strict=True)
            }
            setattr(self, f"layer_{layer}", nnx.Dict(leaves))
        self.params_type = type(params[0][0])
        dropout = check_dropout(dropout_rate) > 0 and len(params) > 1
        self.rngs = stream(rngs, "dropout").fork() if dropout else nnx.data(None)

    @property
    def params(self) -> tuple[tuple[Any, ...], ...]:
        """`params[layer][direction]`, as `gru_jax.scan_layers` takes it."""
        return tuple(
            tuple(
                as_params(self.params_type, {leaf: value[...] for leaf, value in direction.items()})
                for direction in (getattr(self, f"layer_{layer}")[name] for name in direction_names(self.bidirectional))
            )
            for layer in range(len(self.features))
        )

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
        rngs: nnx.Rngs | None = None,
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
          deterministic: True turns dropout off; None: what the attribute says.
          rngs: the random stream "dropout" to draw from; None: the module's own.

        Returns:
          The final carry, `carry[layer][direction]`, and ys `(*B, T, D H)`, 0 in the padding.

        Raises:
          TypeError, ValueError: naming the argument that does not fit; see `gru_jax.scan`.
        """
        if deterministic is None:
            deterministic = self.deterministic
        deterministic = check_flag("deterministic", deterministic)
        dropout = self.dropout_rate > 0 and not deterministic and len(self.features) > 1
        if rngs is not None:
            check_rngs(rngs)
        drawn: Any = stream(rngs, "dropout") if rngs is not None and dropout else self.rngs
        return run_stack(
            self.cell,
            self.params,
            xs,
            initial_carry=initial_carry,
            seq_lengths=seq_lengths,
            mask=mask,
            resets=resets,
            reset_carry=reset_carry,
            time_major=time_major,
            dtype=self.dtype,
            dropout_rate=self.dropout_rate if dropout else 0.0,
            dropout_key=drawn() if dropout else None,
            unroll=self.unroll,
            remat=self.remat,
            precision=self.precision,
            backend=self.backend,
        )


class GRUCell(nnx.RNNCellBase):
    """One step of one layer, in the form that `flax.nnx.RNN` and `flax.nnx.Bidirectional` scan.

    These two take one array: over a cell that reads several, such as `gru_jax.gru_d()`, run `gru_jax.nnx.GRU`.

    Args:
      in_features: I, the width of one input.
      hidden_features: H, the width of the state.
      cell: `gru_jax.gru()`, or any other; initialisers and the like are options of the cell.
      dtype: the float dtype to compute in; None: the dtype of the inputs.
      param_dtype: the dtype of the parameters.
      rngs: the random stream "params".

    Raises:
      TypeError, ValueError: naming the argument that does not fit.

    Example:
      >>> import gru_jax, jax.numpy as jnp
      >>> from flax import nnx
      >>> layer = nnx.RNN(gru_jax.nnx.GRUCell(3, 4, rngs=nnx.Rngs(0)))
      >>> layer(jnp.ones((2, 5, 3))).shape
      (2, 5, 4)
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        cell: Cell = gru(),  # noqa: B008 - a cell is an immutable record
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.in_features = in_features
        self.hidden_features = hidden_features
        self.cell = cell
        self.dtype = dtype
        self.param_dtype = param_dtype
        check_cell(cell)
        params = cell.init(stream(rngs, "params")(), in_features, hidden_features, param_dtype)
        for name, value in as_dict(params).items():
            setattr(self, name, nnx.Param(value))
        self.params_type: Any = type(params)

    @property
    def params(self) -> Any:
        """The cell's params, as `gru_jax.scan` takes them."""
        return as_params(self.params_type, {name: getattr(self, name)[...] for name in self.params_type._fields})

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
        params = self.params
        inputs = cast_leaves(self.cell, "inputs", inputs, self.cell.input_shape(params), self.dtype)
        return self.cell(params, carry, inputs)

    def initialize_carry(self, input_shape: tuple[int, ...], rngs: Any = None, carry_init: Any = None) -> Any:
        """The zero carry for inputs of `input_shape`, `(*B, I)`.

        Flax passes `rngs`, which is not used. `carry_init` must be None: give another start as the initial carry.
        """
        if carry_init is not None:
            raise ValueError(
                f"carry_init: expected None, got {carry_init!r}; "
                "pass the state itself as initial_carry to flax.nnx.RNN."
            )
        return self.cell.carry(self.params, batch_shape=tuple(input_shape[: -self.num_feature_axes]))

    @property
    def num_feature_axes(self) -> int:
        """How many trailing axes of the inputs are features."""
        return len(first_shape(self.cell.input_shape(self.params)))
