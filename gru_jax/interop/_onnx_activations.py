"""The activations of ONNX's GRU: names, and numbers in the order of the names that take one."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gru_jax._cells.activations import Activation
from gru_jax._cells.gru import GRUOptions
from gru_jax.interop._activations import (
    Affine,
    Elu,
    HardSigmoid,
    LeakyRelu,
    ScaledTanh,
    ThresholdedRelu,
    shown,
)


class _Known(NamedTuple):
    """An activation of ONNX: what makes it from its numbers, and their defaults, None where ONNX gives none."""

    make: Callable[..., Activation]
    numbers: dict[str, float | None]


_PLAIN: dict[str, Activation] = {
    "Sigmoid": jax.nn.sigmoid,
    "Tanh": jnp.tanh,
    "Relu": jax.nn.relu,
    "Softsign": jax.nn.soft_sign,
    "Softplus": jax.nn.softplus,
}
_KNOWN = {
    **{name: _Known(lambda function=function: function, {}) for name, function in _PLAIN.items()},
    "HardSigmoid": _Known(HardSigmoid, {"alpha": 0.2, "beta": 0.5}),
    "LeakyRelu": _Known(LeakyRelu, {"alpha": 0.01}),
    "ThresholdedRelu": _Known(ThresholdedRelu, {"alpha": 1.0}),
    "Elu": _Known(Elu, {"alpha": 1.0}),
    "ScaledTanh": _Known(ScaledTanh, {"alpha": None, "beta": None}),
    "Affine": _Known(Affine, {"alpha": None, "beta": None}),
}
# Those of these functions that JAX has by name.
_SIXTH = float(str(np.float32(1 / 6)))
_NAMED: dict[Any, Activation] = {
    HardSigmoid(_SIXTH, 0.5): jax.nn.hard_sigmoid,
    LeakyRelu(0.01): jax.nn.leaky_relu,
    Elu(1.0): jax.nn.elu,
    Affine(1.0, 0.0): jax.nn.identity,
}


def read_activations(activations: Any, alpha: Any, beta: Any, directions: int) -> tuple[Activation, Activation] | None:
    """The functions of the candidate and of the gates; None for the default ones.

    Args:
      activations: names, those of the gates and of the candidate for each direction; None: Sigmoid and Tanh.
      alpha: numbers for the activations that take one, in their order; None, or too few: defaults.
      beta: likewise.
      directions: how many.

    Raises:
      ValueError: for a name that ONNX's GRU does not have, two directions that differ, or numbers that do not fit.
    """
    names = ["Sigmoid", "Tanh"] * directions if activations is None else _names(activations)
    # ONNX does not mind capitals here.
    found = [{known.lower(): known for known in _KNOWN}.get(str(name).lower()) for name in names]
    if None in found or len(found) != 2 * directions:
        each = "that of the gates and that of the candidate" + (" of each direction" if directions > 1 else "")
        raise ValueError(
            f"activations: expected {2 * directions} of {', '.join(_KNOWN)}, {each}, got {said(activations)}; "
            "gru_jax.gru has no others, so that no weights fit."
        )
    known = [str(name) for name in found]
    numbers = {"alpha": _shared_out("alpha", alpha, known), "beta": _shared_out("beta", beta, known)}
    functions: list[Any] = []
    for i, name in enumerate(known):
        stated = {letter: numbers[letter][i] for letter in _KNOWN[name].numbers}
        for letter, value in stated.items():
            if value is None:
                raise ValueError(
                    f"activation_{letter}: expected a number for {name}, which has none by default, got none; pass it."
                )
        made = _KNOWN[name].make(**stated)
        functions.append(_NAMED.get(made, made))
    if directions == 2 and functions[:2] != functions[2:]:
        raise ValueError(
            f"activations: expected the same in both directions, got {said(activations)}; convert each direction alone."
        )
    gates, candidate = functions[:2]
    return None if (gates, candidate) == (jax.nn.sigmoid, jnp.tanh) else (candidate, gates)


def write_activations(options: GRUOptions, directions: int) -> dict[str, Any]:
    """The attributes of a node for these options; an empty dict for the default activations.

    Raises:
      ValueError: for a function that ONNX's GRU does not have, naming it.
    """
    if options.gate_activation is jax.nn.sigmoid and options.activation is jnp.tanh:
        return {}
    known = [_known_of(name, getattr(options, name)) for name in ("gate_activation", "activation")]
    attributes: dict[str, Any] = {"activations": [name for name, _ in known] * directions}
    for letter in ("alpha", "beta"):
        numbers = [values[letter] for _, values in known if letter in values]
        if numbers:
            attributes[f"activation_{letter}"] = numbers * directions
    return attributes


def said(value: Any) -> str:
    """A value for a message, cut where it is long: it may stand in a file."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def _known_of(argument: str, function: Any) -> tuple[str, dict[str, float]]:
    for name, plain in _PLAIN.items():
        if function is plain:
            return name, {}
    made = next((made for made, named in _NAMED.items() if named is function), function)
    name = type(made).__name__
    if name in _KNOWN and _KNOWN[name].make is type(made):
        return name, {letter: getattr(made, letter) for letter in _KNOWN[name].numbers}
    raise ValueError(
        f"cell: expected {argument} among {', '.join(_KNOWN)}, as ONNX's GRU has, got {shown(function)}; export as "
        "stablehlo, gru_jax.export.stablehlo(cell, params)."
    )


def _names(activations: Any) -> Sequence[Any]:
    return activations if isinstance(activations, list | tuple) else [activations]


def _shared_out(letter: str, numbers: Any, names: Sequence[str]) -> list[float | None]:
    """A number for each name: the given ones in order for those that take one, else the default or None."""
    given = [] if numbers is None else list(np.atleast_1d(np.asarray(numbers, np.float64)))
    takers = [i for i, name in enumerate(names) if letter in _KNOWN[name].numbers]
    shares: list[float | None] = [_KNOWN[name].numbers.get(letter) for name in names]
    # Attributes are float32: each is taken as the shortest decimal that stands for it.
    values = [float(str(np.float32(value))) for value in given]
    for i, value in zip(takers, values, strict=False):
        shares[i] = value
    by_place = len(values) == len(names) and [values[i] for i in takers] == values[: len(takers)]
    if len(values) > len(takers) and takers and not by_place:
        raise ValueError(
            f"activation_{letter}: expected a number for each of {', '.join(names[i] for i in takers)}, got "
            f"{said(numbers)}; pass those alone."
        )
    return shares
