"""A cell in words: its name, options and equations as strings, and the way back from such strings to the cell.

The equations follow from the name and the options. They are written out for people, and compared when they are read.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gru_jax._cells.cell import Cell
from gru_jax._cells.conv_gru import ConvGRUOptions, conv_gru
from gru_jax._cells.gru import GRUOptions, gru
from gru_jax._cells.gru_d import GRUDOptions, gru_d
from gru_jax._cells.lstm import lstm
from gru_jax._cells.min_gru import MinGRUOptions, min_gru
from gru_jax._cells.rnn import rnn
from gru_jax._scan.checks import check_cell
from gru_jax.interop._activations import from_text, to_text


class Kind(NamedTuple):
    """What is known of all cells of one name.

    Attributes:
      make: the maker, called with the options by name.
      options_type: of `Cell.options`.
      options: the names of the options of its equations.
      blocks: what lies side by side along the last axis of w_i.
      equations: a function of the options by name that returns the equations, one a line.
    """

    make: Callable[..., Cell]
    options_type: type
    options: tuple[str, ...]
    blocks: tuple[str, ...]
    equations: Callable[..., list[str]]


def describe(cell: Any) -> dict[str, str]:
    """What one of gru_jax's own cells computes, in strings by name; initialisers do not count.

    The strings are its name, its options, the order of its gates and its equations, as `save_safetensors` writes them.

    Args:
      cell: one of `gru`, `lstm`, `rnn`, `min_gru`, `conv_gru`, `gru_d`, with any options.

    Raises:
      TypeError: for anything else than a cell.
      ValueError: for a cell of the user's own, whose equations are not known.

    Example:
      >>> gru_jax.interop.describe(gru_jax.gru())["options.update_gate"]
      'keep'
    """
    check_cell(cell)
    kind = KINDS.get(cell.name)
    options = options_of(cell)
    if kind is None or options is None:
        raise ValueError(
            f"cell: expected one of gru_jax's own cells, {', '.join(KINDS)}, as it was made, got {cell.name!r} with "
            "functions of your own, which a file of weights does not hold; "
            "save the params of such a cell as arrays, with safetensors.numpy.save_file."
        )
    return {
        "cell": cell.name,
        **{
            f"{_OPTION}{name}": _to_text(name, value) for name, value in options.items() if not _is_default(name, value)
        },
        "gate_order": f"{', '.join(kind.blocks)} along the last axis",
        "equations": "; ".join(kind.equations(**options)),
    }


def cell_of(record: Mapping[str, str]) -> Cell:
    """The cell that `describe` wrote these strings for, with the default initialisers.

    Raises:
      ValueError: naming the string that is missing, unknown, or contradicts the others.
    """
    kind = KINDS.get(record.get("cell", ""))
    if kind is None:
        raise ValueError(f"cell: expected one of {', '.join(KINDS)}, got {_short(record.get('cell'))}; update gru_jax.")
    expected = {f"{_OPTION}{name}" for name in kind.options} | {"cell", "gate_order", "equations"}
    # Their defaults are not written, so that a file says nothing that an older gru_jax does not know.
    may_lack = {f"{_OPTION}{name}" for name in DEFAULTS}
    for name in sorted((expected ^ set(record)) - (expected & may_lack)):
        what = "expected it in the metadata, found it missing" if name in expected else "expected no such metadata"
        raise ValueError(
            f"{_short(name)}: {what} of the cell {record['cell']!r}; save the file again, or update gru_jax."
        )
    try:
        options = {name: f"{_OPTION}{name}" for name in kind.options}
        cell = kind.make(**{name: _from_text(name, record[key]) for name, key in options.items() if key in record})
    except (TypeError, ValueError) as error:
        raise ValueError(f"{_OPTION}{error}") from None
    for name, text in describe(cell).items():
        if record[name] != text:
            raise ValueError(
                f"{name}: expected {text!r}, which the cell and its options stand for, got {_short(record[name])}; "
                "the file was changed or damaged, or is of another gru_jax: save it again."
            )
    return cell


def blocks(cell: Cell) -> int:
    """How many blocks of the state's width w_i has."""
    return len(KINDS[cell.name].blocks)


def options_of(cell: Cell) -> dict[str, Any] | None:
    """The options with which the maker gives this cell, its `init` aside; None for a cell that no maker gives."""
    kind = KINDS.get(cell.name)
    if kind is None or type(cell.options) is not kind.options_type:
        return None
    # conv_gru keeps the options of its gates in a tuple of their own.
    named = cell.options._asdict() if kind.options else {}
    nested = named.pop("gru", None)
    every = named if nested is None else nested._asdict() | named
    options = {name: value for name, value in every.items() if name in kind.options}
    if any(not _is_default(name, value) for name, value in every.items() if name not in kind.options):
        return None
    try:
        again = kind.make(**options)
    except (TypeError, ValueError):
        return None
    return options if cell.replace(init=again.init) == again else None


def _is_default(name: str, value: Any) -> bool:
    """Whether an option has the default value that a description leaves out."""
    return name in DEFAULTS and value is DEFAULTS[name]


def _to_text(name: str, value: Any) -> str:
    if name in ("activation", "gate_activation"):
        return to_text(name, value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else ", ".join(map(str, value))


def _from_text(name: str, text: str) -> Any:
    if name in ("activation", "gate_activation"):
        try:
            return from_text(text)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    if text in ("true", "false"):
        return text == "true"
    pair = re.fullmatch(r"(\d{1,9}), (\d{1,9})", text, re.ASCII)
    return tuple(map(int, pair.groups())) if pair else text


def _short(text: str | None) -> str:
    """A string of a file for a message, cut where it is long."""
    return repr(text) if text is None or len(text) <= 200 else f"{text[:200]!r}…"


_OPTION = "options."
_UPDATE = {"keep": "h' = z ∘ {h} + (1 - z) ∘ n", "write": "h' = (1 - z) ∘ {h} + z ∘ n"}


def _gated(
    x: str,
    h: str,
    reset_after: bool,
    update_gate: str,
    product: str = " ",
    use_bias: Any = True,
    names: tuple[str, str] = ("tanh", "σ"),
) -> list[str]:
    """The equations of r, z, n and h'; x is what the input adds to each, `names` are those of the activations."""
    b_i, b_h = " + b_i?" if use_bias else "", " + b_h?" if use_bias is True else ""
    gates = [f"{names[1]}({x}{b_i} + {h}{product}W_h?{b_h})".replace("?", gate) for gate in "rz"]
    state = f"{h}{product}W_hn{b_h}" if reset_after else f"(r ∘ {h}){product}W_hn{b_h}"
    if reset_after:
        state = f"r ∘ ({state})"
    candidate = f"{names[0]}({x}{b_i} + {state})".replace("?", "n")
    return [f"r = {gates[0]}", f"z = {gates[1]}", f"n = {candidate}", _UPDATE[update_gate].format(h=h)]


def _gru(reset_after: bool, update_gate: str, use_bias: Any, activation: Any, gate_activation: Any) -> list[str]:
    names = tuple(
        plain if _is_default(name, function) else f"{to_text(name, function)}"
        for name, function, plain in (("activation", activation, "tanh"), ("gate_activation", gate_activation, "σ"))
    )
    return _gated("x W_i?", "h", reset_after, update_gate, use_bias=use_bias, names=(names[0], names[1]))


def _conv_gru(
    reset_after: bool, update_gate: str, image_shape: tuple[int, int], kernel_shape: tuple[int, int]
) -> list[str]:
    del image_shape  # No formula has it: it says where the edge is.
    before = [(size - 1) // 2 for size in kernel_shape]
    product = f"(x * W)[a, b] = Σ_ij x[a + i - {before[0]}, b + j - {before[1]}] W[i, j], x = 0 beyond the edge"
    return [*_gated("x * W_i?", "h", reset_after, update_gate, " * "), product]


def _gru_d(reset_after: bool, update_gate: str) -> list[str]:
    return [
        "γ_x = exp(-max(0, gap ∘ w_decay_x + b_decay_x))",
        "γ_h = exp(-max(0, gap w_decay_h + b_decay_h))",
        "m = 1 where observed, else 0",
        "last' = x where observed, else last",
        "x̂ = x where observed, else γ_x ∘ last",
        "ĥ = γ_h ∘ h",
        *_gated("x̂ W_i? + m W_m?", "ĥ", reset_after, update_gate),
    ]


def _min_gru(update_gate: str) -> list[str]:
    return ["z = σ(x W_iz + b_iz)", "n = x W_in + b_in", _UPDATE[update_gate].format(h="h")]


def _lstm() -> list[str]:
    inside = "x W_i? + b_i? + h W_h? + b_h?"
    gates = [f"{gate} = σ({inside.replace('?', gate)})" for gate in "ifo"]
    return [*gates, f"g = tanh({inside.replace('?', 'g')})", "c' = f ∘ c + i ∘ g", "h' = o ∘ tanh(c')"]


def _rnn() -> list[str]:
    return ["h' = tanh(x W_i + b_i + h W_h + b_h)"]


_GRU_OPTIONS = ("reset_after", "update_gate")
# A description leaves out options with these values.
DEFAULTS: dict[str, Any] = {"use_bias": True, "activation": jnp.tanh, "gate_activation": jax.nn.sigmoid}
KINDS = {
    "gru": Kind(gru, GRUOptions, (*_GRU_OPTIONS, *DEFAULTS), ("r", "z", "n"), _gru),
    "lstm": Kind(lstm, type(None), (), ("i", "f", "g", "o"), _lstm),
    "rnn": Kind(rnn, type(None), (), ("h'",), _rnn),
    "min_gru": Kind(min_gru, MinGRUOptions, ("update_gate",), ("z", "n"), _min_gru),
    "conv_gru": Kind(
        conv_gru, ConvGRUOptions, (*_GRU_OPTIONS, "image_shape", "kernel_shape"), ("r", "z", "n"), _conv_gru
    ),
    "gru_d": Kind(gru_d, GRUDOptions, _GRU_OPTIONS, ("r", "z", "n"), _gru_d),
}
