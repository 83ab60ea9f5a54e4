"""Weights of one layer in one direction, from a format to `GRUParams` and back, by its row of `_formats`."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from gru_jax._cells.gru import GRUOptions, GRUParams
from gru_jax.interop._activations import shown
from gru_jax.interop._arrays import hold
from gru_jax.interop._formats import Format, Keys, Layout

_OURS = "rzn"
_NAMES = {"r": "reset", "z": "update", "n": "candidate"}


def read_layer(
    row: Format, keys: Layout, arrays: Mapping[str, np.ndarray], in_features: int | None, label: str
) -> GRUParams:
    """The params that the arrays under these keys stand for.

    `in_features` is I, or None for any. The arrays have one float dtype. `label` is a template of what messages call a
    key. An absent bias is None; where only some gates have one, those of the others are 0.

    Raises:
      ValueError: naming the key, the shape expected and the one found.
    """
    found = _Found(row, arrays, label)
    features = _features(found, keys.w_h)
    w_h = _gates(found, keys.w_h, "H", features, features)
    w_i = _gates(found, keys.w_i, "I", in_features, features)
    b_i, b_h = (_gates(found, names, None, None, features) for names in (keys.b_i, keys.b_h))
    zero = np.zeros(features, w_h["r"].dtype)

    def stack(gates: dict[str, np.ndarray]) -> Any:
        return hold(np.concatenate([gates.get(gate, zero) for gate in _OURS], axis=-1))

    return GRUParams(stack(w_i), stack(w_h), stack(b_i) if b_i else None, stack(b_h) if b_h else None)


def write_layer(row: Format, keys: Layout, options: GRUOptions, params: GRUParams, label: str) -> dict[str, np.ndarray]:
    """The arrays that stand for these params in the format, by key; `options` are the equations of the params.

    Raises:
      ValueError: when the format computes other equations, or cannot hold the biases.
    """
    if row.reset_after is not None and row.reset_after != options.reset_after:
        raise ValueError(
            f"cell: {row.name} computes reset_after={row.reset_after}, this cell reset_after={options.reset_after}: "
            "no weights make the two equal; train with the other equations to convert."
        )
    none = np.zeros(3 * params.w_h.shape[0], params.w_h.dtype)
    kept = {name: _split(none if leaf is None else np.asarray(leaf)) for name, leaf in params._asdict().items()}
    if options.update_gate != row.update_gate:
        _check_turns(row, options)
        # σ(-a) = 1 - σ(a): what kept now writes. Negating changes no digit.
        kept = {
            name: gates if getattr(params, name) is None else gates | {"z": -gates["z"]} for name, gates in kept.items()
        }
    kept["b_i"], kept["b_h"] = _fold(row, keys, options, kept["b_i"], kept["b_h"], label)
    found: dict[str, np.ndarray] = {}
    for names, gates in zip(keys, kept.values(), strict=True):
        found |= _store(row, names, gates)
    return found


def _check_turns(row: Format, options: GRUOptions) -> None:
    """Check that f(-a) = 1 - f(a) for the function f of the gates, so that z can be turned around."""
    f, a = options.gate_activation, np.linspace(-8, 8, 161, dtype=np.float32)
    one = np.asarray(f(jnp.asarray(a)), np.float64) + np.asarray(f(jnp.asarray(-a)), np.float64)
    if not np.allclose(one, 1, rtol=0, atol=1e-5):
        raise ValueError(
            f"cell: {row.name} computes update_gate={row.update_gate!r}, this cell {options.update_gate!r} with "
            f"gate_activation={shown(f)}, for which f(-a) is not 1 - f(a): no weights make the two equal; train with "
            "the other update_gate to convert."
        )


class _Found(NamedTuple):
    """The arrays of a format by key, and a template of what messages call one."""

    row: Format
    arrays: Mapping[str, np.ndarray]
    label: str


def _features(found: _Found, names: Keys) -> int:
    """H, from the matrices of the state."""
    row, arrays, label = found
    key = names[0] if isinstance(names, tuple) else names
    assert key is not None
    shape, named = arrays[key].shape, label.format(key)
    blocks = 1 if isinstance(names, tuple) else 3
    if len(shape) == 2 and min(shape) > 0:
        stacked, features = shape if row.transposed else shape[::-1]
        if stacked == blocks * features:
            return features
        if blocks == 3 and stacked in (features, 4 * features):
            other = "an LSTM" if stacked == 4 * features else "a plain RNN"
            raise ValueError(
                f"{named}: expected shape {_written(row, 'H', 3)}, the three gates of a GRU, got {shape}: the weights "
                f"of {other}; gru_jax.interop converts GRUs."
            )
    raise ValueError(
        f"{named}: expected shape {_written(row, 'H', blocks)} for a width H >= 1, got {shape}; pass a GRU's weights."
    )


def _gates(found: _Found, names: Keys, letter: str | None, rows: int | None, features: int) -> dict[str, np.ndarray]:
    """The arrays of each gate: matrices (inputs, H) where `letter` names the inputs, else biases (H,)."""
    if names is None:
        return {}
    if isinstance(names, tuple):
        pairs = [(gate, key) for gate, key in zip(_OURS, names, strict=True) if key is not None]
        gates: dict[str, np.ndarray] = {}
        for gate, key in pairs:
            gates[gate] = _checked(found, key, letter, rows, features, 1)
            # The first matrix says how wide the input is.
            rows = gates[gate].shape[0] if rows is None and letter is not None else rows
        return gates
    whole = _checked(found, names, letter, rows, features, 3)
    return dict(zip(found.row.gates, np.split(whole, 3, axis=-1), strict=True))


def _checked(found: _Found, key: str, letter: str | None, rows: int | None, features: int, blocks: int) -> np.ndarray:
    """The array, (inputs, blocks * H) or (blocks * H,), or the error that says what was expected."""
    row, array = found.row, found.arrays[key]
    shape = array.shape
    if letter is None:
        good, expected = shape == (blocks * features,), f"({blocks * features},)"
    else:
        turned = shape[::-1] if row.transposed else shape
        good = len(shape) == 2 and turned[1] == blocks * features and turned[0] > 0 and rows in (None, turned[0])
        inputs = letter if rows is None else rows
        pair = (blocks * features, inputs) if row.transposed else (inputs, blocks * features)
        expected = f"({pair[0]}, {pair[1]})"
    if not good:
        raise ValueError(
            f"{found.label.format(key)}: expected shape {expected}, got {shape}; pass one GRU's weights, unchanged."
        )
    return array.T if letter is not None and row.transposed else array


def _written(row: Format, inputs: str, blocks: int) -> str:
    stacked = f"{blocks}H" if blocks > 1 else "H"
    return f"({stacked}, {inputs})" if row.transposed else f"({inputs}, {stacked})"


def _split(leaf: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip(_OURS, np.split(leaf, 3, axis=-1), strict=True))


def _fold(
    row: Format,
    keys: Layout,
    options: GRUOptions,
    b_i: dict[str, np.ndarray],
    b_h: dict[str, np.ndarray],
    label: str,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The biases as the layout holds them: b_h is added to b_i for a gate whose b_h has no place in it."""
    if keys.b_i is None:
        held = {f"{label}.{name}": gates for name, gates in (("b_i", b_i), ("b_h", b_h))}
        for name, gates in held.items():
            if any(np.any(bias) for bias in gates.values()):
                raise ValueError(
                    f"{name}: expected zeros, as {row.name} is to hold no biases, got other values; pass bias=True."
                )
        return b_i, b_h
    folded, kept = dict(b_i), {}
    for position, gate in enumerate(_OURS):
        if isinstance(keys.b_h, str) or (keys.b_h is not None and keys.b_h[position] is not None):
            kept[gate] = b_h[gate]
        elif gate == "n" and options.reset_after and np.any(b_h[gate]):
            raise ValueError(
                f"{label}.b_h: the {_NAMES[gate]}'s bias beside the state is not 0, and {row.name} holds none there; "
                "the reset gate scales it, so that it cannot be folded into b_i. Train with that bias at 0 to convert."
            )
        else:
            # Not the sum where there is nothing to add: -0.0 + 0.0 is 0.0.
            folded[gate] = np.where(b_h[gate] == 0, b_i[gate], b_i[gate] + b_h[gate])
    return folded, kept


def _store(row: Format, names: Keys, gates: Mapping[str, np.ndarray]) -> dict[str, Any]:
    if names is None:
        return {}
    turn = lambda array: np.array(array.T if row.transposed and array.ndim == 2 else array, order="C")  # noqa: E731
    if isinstance(names, tuple):
        return {key: turn(gates[gate]) for gate, key in zip(_OURS, names, strict=True) if key is not None}
    return {names: turn(np.concatenate([gates[gate] for gate in row.gates], axis=-1))}
