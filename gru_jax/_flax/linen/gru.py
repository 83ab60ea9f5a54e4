"""The Flax linen stack of recurrent layers; it owns parameters and nothing else."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gru_jax._cells.boxes import kept_boxes
from gru_jax._cells.cell import Cell
from gru_jax._cells.checks import check_batch_shape, check_flag
from gru_jax._cells.gru import gru
from gru_jax._flax.linen.params import boxed
from gru_jax._flax.param_names import (
    as_dict,
    check_made,
    check_names,
    check_shapes,
    direction_names,
    from_dict,
    made_params,
    stored_width,
)
from gru_jax._flax.stack import run_stack, step_stack, width_of
from gru_jax._layers.layers import check_dropout, layer_widths, warn_of_idle_dropout
from gru_jax._scan.checks import check_cell


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
      deterministic: True turns dropout off; can be given at the call instead.
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
    unroll: int | None = None
    remat: int | None = None
    precision: Any = None
    backend: str = "auto"

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
          reset_carry: the state that a reset restores, nested like the carry, or one for each step, leaves
            `(*B, T, H)`, time-major like xs; None: zeros.
          time_major: whether time is the first axis of xs, mask, resets and ys.
          deterministic: True turns dropout off; None: what the attribute says, and False when it says nothing.

        Returns:
          The final carry, `carry[layer][direction]`, and ys `(*B, T, D H)`, 0 in the padding.

        Raises:
          TypeError, ValueError: naming the argument that does not fit; see `gru_jax.scan`.
        """
        params = self._params("xs", xs)
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

    @nn.nowrap
    def initial_carry(self, batch_shape: tuple[int, ...] = ()) -> Any:
        """The zero carry of a batch, `carry[layer][direction]`, leaves `(*batch_shape, H)`; needs no variables."""
        check_cell(self.cell)
        widths, directions = layer_widths(self.features, self.num_layers), direction_names(self.bidirectional)
        batch = check_batch_shape(batch_shape)
        layers = [made_params(self.cell, width, width, self.param_dtype) for width in widths]
        return tuple(tuple(self.cell.carry(p, batch_shape=batch) for _ in directions) for p in layers)

    def step(self, x: Any, carry: Any, *, reset: jax.Array | None = None) -> tuple[Any, jax.Array]:
        """Take one step, without dropout, by `apply(variables, x, carry, method="step")`.

        It is for a loop that acts, or that reads a stream.

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
          >>> model = gru_jax.linen.GRU(16, num_layers=2)
          >>> x, carry = jnp.ones((4, 3)), model.initial_carry((4,))
          >>> variables = model.init(jax.random.key(0), x, carry, method="step")
          >>> carry, y = model.apply(variables, x, carry, reset=jnp.zeros(4, bool), method="step")
          >>> y.shape
          (4, 16)
        """
        params = self._params("x", x)
        return step_stack(self.cell, params, x, carry, reset=reset, dtype=self.dtype, precision=self.precision)

    def __post_init__(self) -> None:
        """Warn of a dropout that does nothing."""
        super().__post_init__()
        layers = len(self.features) if isinstance(self.features, tuple | list) else self.num_layers
        warn_of_idle_dropout(self.dropout_rate, layers)

    @nn.compact
    def _params(self, name: str, xs: Any) -> tuple[tuple[Any, ...], ...]:
        """The stored parameters, or new ones for xs, which messages call `name`."""
        check_cell(self.cell)
        widths, directions = layer_widths(self.features, self.num_layers), direction_names(self.bidirectional)
        if self.has_variable("params", "layer_0"):
            return self._stored(widths, directions)
        in_features = width_of(self.cell, name, xs, widths[0])
        layers = []
        for layer, width in enumerate(widths):

            def init(key: jax.Array, in_features: int = in_features, width: int = width) -> dict[str, Any]:
                made = {}
                for direction, k in zip(directions, jax.random.split(key, len(directions)), strict=True):
                    with kept_boxes() as boxes:
                        p = check_made(self.cell, self.cell.init(k, in_features, width, self.param_dtype))
                    made[direction] = as_dict(boxed(p, boxes))
                return made

            leaves = self.param(f"layer_{layer}", init)
            structure = jax.tree.structure(made_params(self.cell, in_features, width))
            layers.append(tuple(from_dict(as_dict, structure, leaves[d]) for d in directions))
            in_features = len(directions) * width
        return tuple(layers)

    def _stored(self, widths: tuple[int, ...], directions: tuple[str, ...]) -> tuple[tuple[Any, ...], ...]:
        """The stored parameters, checked here, since Flax's own check would come before ours of xs."""
        stored = nn.meta.unbox(self.variables["params"])
        check_names("params", stored, [f"layer_{layer}" for layer in range(len(widths))])
        layers, in_features = [], None
        for layer, width in enumerate(widths):
            path = f"params['layer_{layer}']"
            leaves = stored[f"layer_{layer}"]
            check_names(path, leaves, directions)
            if in_features is None:
                in_features = stored_width(self.cell, leaves["forward"], width, f"{path}['forward']")
            wanted, found = made_params(self.cell, in_features, width), []
            for d in directions:
                found.append(from_dict(as_dict, jax.tree.structure(wanted), leaves[d], f"{path}[{d!r}]"))
                check_shapes(f"{path}[{d!r}]", found[-1], wanted)
            layers.append(tuple(found))
            in_features = len(directions) * width
        return tuple(layers)
