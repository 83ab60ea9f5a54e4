"""The Flax NNX stack of recurrent layers; it owns parameters and nothing else."""

from collections.abc import Sequence
from typing import Any, Self

import jax
import jax.numpy as jnp
from flax import nnx

from gru_jax._cells.boxes import kept_boxes, unboxed
from gru_jax._cells.cell import Cell
from gru_jax._cells.checks import check_flag
from gru_jax._cells.gru import gru
from gru_jax._flax.nnx.params import OwnsParams
from gru_jax._flax.nnx.rngs import check_rngs, dropout_keys, dropout_stream, stream
from gru_jax._flax.param_names import check_made, layers_as_dict
from gru_jax._flax.stack import run_stack, stack_widths, step_stack
from gru_jax._layers.layers import check_dropout, init_layers, layer_widths, warn_of_idle_dropout
from gru_jax._layers.steps import carry_layers


class GRU(OwnsParams):
    """A stack of recurrent layers, one or two directions each, with dropout between layers.

    Its parameters are named `layer_0/forward/w_i` and so on, as in `gru_jax.linen.GRU`.

    Args:
      in_features: I, the width of one input; for frames, their channels.
      features: H, the width of every layer, or a tuple with one width a layer.
      num_layers: how many layers, when `features` is one number.
      bidirectional: two directions a layer, concatenated, forward first.
      dropout_rate: in [0, 1), between layers; drawn from the rng stream "dropout". `eval()` turns it off. With one
        layer it does nothing, and a UserWarning says so.
      cell: the cell of every layer: `gru_jax.gru()`, or any other.
      dtype: the float dtype to compute in; None: the dtype of xs.
      param_dtype: the dtype of the parameters.
      deterministic: True turns dropout off; `train()`, `eval()` and `nnx.view` set it.
      unroll: as in `gru_jax.scan`.
      remat: as in `gru_jax.scan`.
      precision: as in `gru_jax.scan`.
      backend: as in `gru_jax.scan`.
      rngs: the random streams "params" and, with dropout, "dropout", which may also come with the call.

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

    _naming = staticmethod(layers_as_dict)

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
        unroll: int | None = None,
        remat: int | None = None,
        precision: Any = None,
        backend: str = "auto",
        rngs: nnx.Rngs,
        _params: Any = None,
    ):
        self.in_features = in_features
        self.features = layer_widths(features, num_layers)
        self.bidirectional = bidirectional
        self.dropout_rate = check_dropout(dropout_rate)
        self.cell = cell
        self.dtype = dtype
        self.param_dtype = param_dtype
        self.deterministic = deterministic
        self.unroll = unroll
        self.remat = remat
        self.precision = precision
        self.backend = backend
        warn_of_idle_dropout(dropout_rate, len(self.features))
        if _params is not None:
            self._own(_params)
        else:
            options: dict[str, Any] = {"bidirectional": bidirectional, "dtype": param_dtype}
            with kept_boxes() as boxes:
                params = init_layers(cell, stream(rngs, "params")(), in_features, self.features, **options)
            self._own(check_made(cell, params), boxes)
        self.rngs = dropout_stream(rngs) if self._drops() else nnx.data(None)

    @classmethod
    def from_params(
        cls,
        cell: Cell,
        params: Any,
        *,
        dropout_rate: float = 0.0,
        dtype: Any = None,
        deterministic: bool = False,
        unroll: int | None = None,
        remat: int | None = None,
        precision: Any = None,
        backend: str = "auto",
        rngs: nnx.Rngs | None = None,
    ) -> Self:
        """A module that begins with these weights, such as those of `gru_jax.init_layers` or `gru_jax.interop`.

        Args:
          cell: what the weights were made for.
          params: `params[layer][direction]`; widths, layers and directions are read from them. A bias that is None has
            no parameter.
          dropout_rate: as for the module.
          dtype: as for the module.
          deterministic: as for the module.
          unroll: as in `gru_jax.scan`.
          remat: as in `gru_jax.scan`.
          precision: as in `gru_jax.scan`.
          backend: as in `gru_jax.scan`.
          rngs: the random stream "dropout"; without dropout none is needed.

        Raises:
          TypeError, ValueError: naming the argument that does not fit.

        Example:
          >>> import gru_jax, jax
          >>> cell = gru_jax.gru()
          >>> params = gru_jax.init_layers(cell, jax.random.key(0), 3, (8, 16))
          >>> gru_jax.nnx.GRU.from_params(cell, params).features
          (8, 16)
        """
        widths = stack_widths(cell, unboxed(params))
        streams: Any = rngs
        return cls(
            widths.in_features,
            widths.features,
            bidirectional=widths.bidirectional,
            dropout_rate=dropout_rate,
            cell=cell,
            dtype=dtype,
            param_dtype=widths.dtype,
            deterministic=deterministic,
            unroll=unroll,
            remat=remat,
            precision=precision,
            backend=backend,
            rngs=streams,
            _params=params,
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
        rngs: nnx.Rngs | nnx.RngStream | jax.Array | None = None,
    ) -> tuple[Any, jax.Array]:
        """Run the stack.

        Args:
          xs: inputs `(*B, T, I)`, or `(T, *B, I)` with `time_major`; or what else the cell reads, of that layout.
          initial_carry: `carry[layer][direction]`, leaves `(*B, H)` or what broadcasts to it over the
            batch; None: zeros.
          seq_lengths: int `(*B,)`, the number of valid steps of each row.
          mask: bool `(*B, T)`, False = padding; not together with `seq_lengths`. Time-major like xs.
          resets: bool `(*B, T)`, True = a new sequence starts at this step. Time-major like xs.
          reset_carry: the state that a reset restores, nested like the carry, or one for each step, leaves
            `(*B, T, H)`, time-major like xs; None: zeros.
          time_major: whether time is the first axis of xs, mask, resets and ys.
          deterministic: True turns dropout off; None: what the attribute says.
          rngs: for dropout, an `nnx.Rngs` with a stream "dropout", a stream, or a key; None: the module's own.

        Returns:
          The final carry, `carry[layer][direction]`, and ys `(*B, T, D H)`, 0 in the padding.

        Raises:
          TypeError, ValueError: naming the argument that does not fit; see `gru_jax.scan`.
        """
        check_rngs(rngs)
        deterministic = self.deterministic if deterministic is None else deterministic
        drops = not check_flag("deterministic", deterministic) and self._drops()
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
            dropout_rate=self.dropout_rate if drops else 0.0,
            dropout_key=dropout_keys(self.rngs, rngs)[0] if drops else None,
            unroll=self.unroll,
            remat=self.remat,
            precision=self.precision,
            backend=self.backend,
        )

    def initial_carry(self, batch_shape: tuple[int, ...] = ()) -> Any:
        """The zero carry of a batch, `carry[layer][direction]`, leaves `(*batch_shape, H)`."""
        return carry_layers(self.cell, self.params, batch_shape)

    def step(self, x: Any, carry: Any, *, reset: jax.Array | None = None) -> tuple[Any, jax.Array]:
        """Take one step, without dropout, in a loop that acts or that reads a stream.

        Compile the loop's body with `jax.jit`, which takes the module as an argument; `nnx.jit` adds much more to each
        call than the step itself takes.

        Args:
          x: one input, `(*B, I)`, or what else the cell reads.
          carry: `carry[layer][direction]`, leaves `(*B, H)`: `initial_carry`, or what the last step returned.
          reset: bool `(*B,)`, True = a new sequence starts here, from zeros.

        Returns:
          The new carry, and y `(*B, H)` of the last layer.

        Raises:
          TypeError, ValueError: naming the argument that does not fit; also for two directions, since the
            second needs the whole sequence.

        Example:
          >>> import gru_jax, jax, jax.numpy as jnp
          >>> from flax import nnx
          >>> model = gru_jax.nnx.GRU(3, 16, num_layers=2, rngs=nnx.Rngs(0))
          >>> step = jax.jit(lambda model, x, carry, reset: model.step(x, carry, reset=reset))
          >>> carry, y = step(model, jnp.ones((4, 3)), model.initial_carry((4,)), jnp.array([True, False, True, False]))
          >>> y.shape
          (4, 16)
        """
        return step_stack(self.cell, self.params, x, carry, reset=reset, dtype=self.dtype, precision=self.precision)

    def set_view(self, deterministic: bool | None = None) -> None:
        """Class method used by `nnx.view`.

        Args:
          deterministic: if True, disables dropout between layers.
        """
        if deterministic is not None:
            self.deterministic = deterministic

    def _drops(self) -> bool:
        return self.dropout_rate > 0 and len(self.features) > 1
