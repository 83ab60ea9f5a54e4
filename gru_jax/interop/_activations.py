"""Activations, and the names that formats and JAX have for them."""

import dataclasses
import re
from typing import Any

import jax
import jax.numpy as jnp

from gru_jax._cells.activations import Activation, public_name


@dataclasses.dataclass(frozen=True)
class HardSigmoid:
    """max(0, min(1, alpha x + beta)): ONNX's, and with 0.2 and 0.5 that of Keras 1 and 2."""

    alpha: float = 0.2
    beta: float = 0.5

    def __call__(self, x: jax.Array) -> jax.Array:
        """The value at each number of x."""
        return jnp.clip(self.alpha * x + self.beta, 0, 1)


@dataclasses.dataclass(frozen=True)
class LeakyRelu:
    """x where it is not negative, alpha x where it is: ONNX's."""

    alpha: float = 0.01

    def __call__(self, x: jax.Array) -> jax.Array:
        """The value at each number of x."""
        return jnp.where(x >= 0, x, self.alpha * x)


@dataclasses.dataclass(frozen=True)
class ThresholdedRelu:
    """x where it is above alpha, else 0: ONNX's."""

    alpha: float = 1.0

    def __call__(self, x: jax.Array) -> jax.Array:
        """The value at each number of x."""
        return jnp.where(x > self.alpha, x, jnp.zeros_like(x))


@dataclasses.dataclass(frozen=True)
class Elu:
    """x where it is not negative, alpha (exp(x) - 1) where it is: ONNX's."""

    alpha: float = 1.0

    def __call__(self, x: jax.Array) -> jax.Array:
        """The value at each number of x."""
        return jax.nn.elu(x, self.alpha)


@dataclasses.dataclass(frozen=True)
class ScaledTanh:
    """alpha tanh(beta x): ONNX's."""

    alpha: float = 1.0
    beta: float = 1.0

    def __call__(self, x: jax.Array) -> jax.Array:
        """The value at each number of x."""
        return self.alpha * jnp.tanh(self.beta * x)


@dataclasses.dataclass(frozen=True)
class Affine:
    """alpha x + beta: ONNX's."""

    alpha: float = 1.0
    beta: float = 0.0

    def __call__(self, x: jax.Array) -> jax.Array:
        """The value at each number of x."""
        return self.alpha * x + self.beta


@dataclasses.dataclass(frozen=True)
class Gelu:
    """x Φ(x), with the error function where `approximate` is False."""

    approximate: bool = False

    def __call__(self, x: jax.Array) -> jax.Array:
        """The value at each number of x."""
        return jax.nn.gelu(x, approximate=self.approximate)


_KINDS = {kind.__name__: kind for kind in (HardSigmoid, LeakyRelu, ThresholdedRelu, Elu, ScaledTanh, Affine, Gelu)}

# As Keras 3 defines them by default: each was compared with Keras.
_OF_KERAS: dict[str, Activation] = {
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "linear": jax.nn.identity,
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "leaky_relu": LeakyRelu(0.2),
    "hard_sigmoid": jax.nn.hard_sigmoid,
    "hard_tanh": jax.nn.hard_tanh,
    "hard_silu": jax.nn.hard_silu,
    "hard_swish": jax.nn.hard_silu,
    "softplus": jax.nn.softplus,
    "softsign": jax.nn.soft_sign,
    "elu": jax.nn.elu,
    "selu": jax.nn.selu,
    "celu": jax.nn.celu,
    "silu": jax.nn.silu,
    "swish": jax.nn.silu,
    "gelu": Gelu(),
    "mish": jax.nn.mish,
    "log_sigmoid": jax.nn.log_sigmoid,
    "squareplus": jax.nn.squareplus,
    "sparse_plus": jax.nn.sparse_plus,
    "sparse_sigmoid": jax.nn.sparse_sigmoid,
    "exponential": jnp.exp,
}

# What a file may name: functions of each number alone, and nothing else that JAX has.
_BY_NAME = {
    f"{module.__name__}.{name}": getattr(module, name)
    for module, names in (
        (
            jax.nn,
            "celu elu gelu hard_sigmoid hard_silu hard_tanh identity leaky_relu log_sigmoid mish relu relu6 selu "
            "sigmoid silu soft_sign softplus sparse_plus sparse_sigmoid squareplus",
        ),
        (jnp, "abs arcsinh arctan cos exp expm1 negative sin sinh square tanh"),
        (jax.lax, "erf erfc logistic tanh"),
    )
    for name in names.split()
}


def shown(function: Any) -> str:
    """What messages call a function: the name that JAX has for it, where it has one."""
    return public_name(function) or str(getattr(function, "__name__", repr(function)))


def to_text(name: str, function: Any) -> str:
    """What a file says of an activation.

    Raises:
      ValueError: for a function of the user's own; the message calls it `name`.
    """
    for public, known in _BY_NAME.items():
        if known is function:
            return public
    if type(function) in _KINDS.values():
        return repr(function)
    raise ValueError(
        f"{name}: expected a function that JAX has a name for, such as jax.nn.relu, got {shown(function)}; a file of "
        "weights holds no functions of your own: save the params as arrays, with gru_jax.interop.write_safetensors."
    )


def from_text(text: str) -> Activation:
    """The function that `to_text` wrote this for.

    Raises:
      ValueError: for a name that is not known.
    """
    if text in _BY_NAME:
        return _BY_NAME[text]
    match = re.fullmatch(r"(\w{1,40})\(((?:\w{1,40}=[\w.+-]{1,40}(?:, )?)*)\)", text, re.ASCII)
    kind: Any = _KINDS.get(match[1]) if match else None
    if match and kind is not None:
        try:
            pairs = [pair.split("=") for pair in match[2].split(", ") if pair]
            made = kind(
                **{name: value == "True" if value in ("True", "False") else float(value) for name, value in pairs}
            )
        except (TypeError, ValueError):
            pass
        else:
            if repr(made) == text:
                return made
    raise ValueError(f"expected the name of a function, such as 'jax.nn.relu', got {text[:200]!r}; update gru_jax.")


def of_keras(argument: str, name: Any) -> Activation:
    """The function that Keras 3 calls by this name.

    Raises:
      ValueError: for any other name.
    """
    found = _OF_KERAS.get(name) if isinstance(name, str) else None
    if found is None:
        raise ValueError(
            f"{argument}: expected one of {', '.join(map(repr, _OF_KERAS))}, got {name!r}; "
            "gru_jax knows no other of Keras's, so that no weights fit."
        )
    return found


def to_keras_name(argument: str, function: Any) -> str:
    """What Keras 3 calls this function.

    Raises:
      ValueError: for a function that Keras has no name for.
    """
    for name, known in _OF_KERAS.items():
        if known == function:
            return name
    raise ValueError(
        f"cell: expected an {argument} that Keras has by name, got {shown(function)}; no weights make the two equal."
    )
