"""The Flax NNX cell; it owns parameters and nothing else."""

from typing import Any, Self

import jax
import jax.numpy as jnp
from flax import nnx

from gru_jax._cells.boxes import kept_boxes, unboxed
from gru_jax._cells.cell import Cell
from gru_jax._cells.checks import first_shape
from gru_jax._cells.gru import gru
from gru_jax._flax.nnx.params import OwnsParams
from gru_jax._flax.nnx.rngs import stream
from gru_jax._flax.param_names import check_made
from gru_jax._flax.stack import cast_leaves, stack_widths
from gru_jax._scan.checks import check_cell


class GRUCell(OwnsParams, nnx.RNNCellBase):
    """One step of one layer, in the form that `flax.nnx.RNN` and `flax.nnx.Bidirectional` scan.

    Both pass one array. Run a cell that reads several, such as `gru_jax.gru_d()`, with `gru_jax.nnx.GRU`.

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
        _params: Any = None,
    ):
        self.in_features = in_features
        self.hidden_features = hidden_features
        self.cell = cell
        self.dtype = dtype
        self.param_dtype = param_dtype
        check_cell(cell)
        if _params is not None:
            self._own(_params)
        else:
            with kept_boxes() as boxes:
                params = cell.init(stream(rngs, "params")(), in_features, hidden_features, param_dtype)
            self._own(check_made(cell, params), boxes)

    @classmethod
    def from_params(cls, cell: Cell, params: Any, *, dtype: Any = None) -> Self:
        """A module that begins with these weights; a bias that is None has no parameter.

        Args:
          cell: what the weights were made for.
          params: of one layer and direction, as `gru_jax.scan` takes them.
          dtype: as for the module.

        Raises:
          TypeError, ValueError: naming the argument that does not fit.
        """
        widths = stack_widths(cell, ((unboxed(params),),))
        streams: Any = None
        return cls(
            widths.in_features,
            widths.features[0],
            cell=cell,
            dtype=dtype,
            param_dtype=widths.dtype,
            rngs=streams,
            _params=params,
        )

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
