"""The table of what each framework's GRU computes and how it keeps its weights, for reading and for writing.

tests/recorded/make_interop_values.py proves the facts of every row with the framework itself.
"""

import dataclasses
from typing import Any, Literal, NamedTuple

from gru_jax._cells.gru import GRUOptions

Keys = str | tuple[str | None, str | None, str | None] | None
"""Where one kind of array is: in a stack of three gates, in an array for each of r, z, n, or nowhere."""


class Layout(NamedTuple):
    """The keys of one layer and direction, as templates; `{prefix}`, `{layer}` and others are filled in.

    Attributes:
      w_i: of the matrices beside the input.
      w_h: of the matrices beside the state.
      b_i: of the biases beside the input; None: there are none.
      b_h: of the biases beside the state, likewise, gate by gate.
    """

    w_i: Keys
    w_h: Keys
    b_i: Keys
    b_h: Keys

    def keys(self, **place: object) -> "Layout":
        """This layout with its templates filled in."""

        def fill(keys: Any) -> Any:
            if isinstance(keys, tuple):
                return tuple(map(fill, keys))
            return None if keys is None else keys.format(**place)

        return Layout(*map(fill, self))

    def names(self) -> list[str]:
        """Every key, in the order of the fields."""
        every = [keys if isinstance(keys, tuple) else (keys,) for keys in self]
        return [key for keys in every for key in keys if key is not None]


@dataclasses.dataclass(frozen=True)
class Format:
    """The facts of one framework's GRU.

    Attributes:
      name: what messages call it.
      gates: the order of the gates where they are stacked in one array, r: reset, z: update, n: candidate.
      transposed: True where matrices are (outputs, inputs), and are multiplied from the left.
      reset_after: whether the reset gate acts after the state's matrix product; None: told beside the weights.
      update_gate: whether z near 1 keeps the old state or writes the candidate.
      layouts: the ways in which it names its arrays; the first is written unless asked otherwise.
    """

    name: str
    gates: str
    transposed: bool
    reset_after: bool | None
    update_gate: Literal["keep", "write"]
    layouts: tuple[Layout, ...]

    def options(self, layout: Layout, reset_after: bool | None = None) -> GRUOptions:
        """The equations and the biases of a layout; `reset_after` is needed where the format leaves it open."""
        chosen = self.reset_after if reset_after is None else reset_after
        assert chosen is not None
        return GRUOptions(
            chosen, self.update_gate, use_bias=layout.b_i is not None and ("input" if layout.b_h is None else True)
        )


def _separate(*, candidate_bias: bool) -> Layout:
    """The layout of six linear maps: ir, iz, in of the input, and hr, hz, hn of the state."""
    return Layout(
        ("{prefix}ir/kernel", "{prefix}iz/kernel", "{prefix}in/kernel"),
        ("{prefix}hr/kernel", "{prefix}hz/kernel", "{prefix}hn/kernel"),
        ("{prefix}ir/bias", "{prefix}iz/bias", "{prefix}in/bias"),
        (None, None, "{prefix}hn/bias") if candidate_bias else None,
    )


_torch = ("{prefix}weight_ih{place}", "{prefix}weight_hh{place}")
TORCH = Format(
    "PyTorch",
    gates="rzn",
    transposed=True,
    reset_after=True,
    update_gate="keep",
    layouts=(Layout(*_torch, "{prefix}bias_ih{place}", "{prefix}bias_hh{place}"), Layout(*_torch, None, None)),
)

_keras = ("{prefix}kernel", "{prefix}recurrent_kernel")
_keras_bare = Layout(*_keras, None, None)
KERAS = Format(
    "Keras",
    gates="zrn",
    transposed=False,
    reset_after=None,
    update_gate="keep",
    layouts=(Layout(*_keras, "{prefix}bias[0]", "{prefix}bias[1]"), _keras_bare),
)
# Keras keeps one bias where the reset gate acts before the product, since two would add up.
KERAS_RESET_BEFORE = dataclasses.replace(
    KERAS, reset_after=False, layouts=(Layout(*_keras, "{prefix}bias", None), _keras_bare)
)

ONNX = Format(
    "ONNX",
    gates="zrn",
    transposed=True,
    reset_after=None,
    update_gate="keep",
    layouts=(
        Layout("W[{direction}]", "R[{direction}]", "B[{direction}, :3H]", "B[{direction}, 3H:]"),
        Layout("W[{direction}]", "R[{direction}]", None, None),
    ),
)

LINEN = Format(
    "flax.linen",
    gates="rzn",
    transposed=False,
    reset_after=True,
    update_gate="keep",
    layouts=(_separate(candidate_bias=True),),
)

_nnx = ("{prefix}dense_i/kernel", "{prefix}dense_h/kernel", "{prefix}dense_i/bias")
NNX = Format(
    "flax.nnx",
    gates="rzn",
    transposed=False,
    reset_after=True,
    update_gate="keep",
    layouts=(
        Layout(*_nnx, None),
        Layout(*_nnx, "{prefix}dense_h/bias"),
        Layout(*_nnx, (None, None, "{prefix}hn_bias")),
        _separate(candidate_bias=True),
        _separate(candidate_bias=False),
        Layout(*_nnx[:2], None, None),
    ),
)

HAIKU = Format(
    "Haiku",
    gates="zrn",
    transposed=False,
    reset_after=False,
    update_gate="write",
    layouts=(Layout("{prefix}w_i", "{prefix}w_h", "{prefix}b", None),),
)

_equinox = ("{prefix}weight_ih", "{prefix}weight_hh")
EQUINOX = Format(
    "Equinox",
    gates="rzn",
    transposed=True,
    reset_after=True,
    update_gate="keep",
    layouts=(
        Layout(*_equinox, "{prefix}bias", (None, None, "{prefix}bias_n")),
        Layout(*_equinox, None, None),
    ),
)
