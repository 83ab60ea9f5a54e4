"""The Flax linen cell; it owns parameters and nothing else."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gru_jax._cells.boxes import kept_boxes
from gru_jax._cells.cell import Cell
from gru_jax._cells.checks import check_positive, first_shape
from gru_jax._cells.gru import gru
from gru_jax._flax.linen.params import boxed, declare
from gru_jax._flax.param_names import (
    as_dict,
    check_made,
    check_shapes,
    from_dict,
    input_shape,
    made_params,
    stored_width,
)
from gru_jax._flax.stack import cast_leaves, width_of
from gru_jax._scan.checks import check_cell


class GRUCell(nn.RNNCellBase):
    """One step of one layer, in the form that `flax.linen.RNN` and `flax.linen.Bidirectional` scan.

    Both pass one array. Run a cell that reads several, such as `gru_jax.gru_d()`, with `gru_jax.linen.GRU`.

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
        return self.cell(self._params(inputs), carry, inputs)

    @nn.compact
    def _params(self, inputs: Any) -> Any:
        stored = nn.meta.unbox(self.variables.get("params", {}))
        if stored:
            # For the stored width, so that our own check sees a wrong input.
            wanted = made_params(self.cell, stored_width(self.cell, stored, self.features), self.features)
            params = from_dict(as_dict, jax.tree.structure(wanted), stored)
            check_shapes("params", params, wanted)
            return params
        width = width_of(self.cell, "inputs", inputs, self.features)
        structure = jax.tree.structure(made_params(self.cell, width, self.features))
        if not self.is_mutable_collection("params"):
            # Flax raises, since there are none.
            self.param("w_i", lambda _: None)
        with kept_boxes() as boxes:
            params = self.cell.init(self.make_rng("params"), width, self.features, self.param_dtype)
        return from_dict(as_dict, structure, declare(self, as_dict(boxed(check_made(self.cell, params), boxes))))

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
