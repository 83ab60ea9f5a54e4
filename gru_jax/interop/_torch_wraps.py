"""Weights of PyTorch under weight norm or pruning, computed from their parts; other wrapped weights are refused."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from gru_jax.interop._arrays import as_numpy

_NAME = r"(?:weight|bias)_(?:ih|hh)(?:_l\d{1,9}(?:_reverse)?)?"
_PLAIN = re.compile(_NAME)
_PARTS = re.compile(rf"parametrizations\.({_NAME})\.(.+)|({_NAME})_(g|v|raw|orig|mask|u)")
# A place is anchored: it is all of the key before the name, and ends in a dot.
_PLACE = re.compile(rf"((?:.*\.)?)(?:{_NAME}(?:_(?:g|v|raw|orig|mask|u))?|parametrizations\.{_NAME}\..+)")
_QUANTIZED = re.compile(r"(?:^|.*\.)_(?:all_weight_values|packed_params|packed_weight)(?:\.|$).*")


def places(keys: Iterable[str]) -> list[str]:
    """The prefixes before the names of a GRU's weights, wrapped ones too."""
    found = (_PLACE.fullmatch(key) for key in keys)
    return sorted({match[1] for match in found if match})


def unwrapped(given: Mapping[str, Any], prefix: str, keys: Iterable[str]) -> dict[str, Any]:
    """The state dict under a prefix as the unwrapped module would have it; `keys` are those of the whole state dict.

    Raises:
      TypeError, ValueError: naming what is wrapped, by what, and how it is unwrapped.
    """
    _check_weight_drop(prefix, keys)
    plain: dict[str, Any] = {}
    parts: dict[str, dict[str, str]] = {}
    for key, value in given.items():
        match = _PARTS.fullmatch(key.removeprefix(prefix))
        if match:
            parts.setdefault(match[1] or match[3], {})[match[2] or match[4]] = key
        else:
            plain[key] = value
    quantized = next((key for key in plain if _QUANTIZED.fullmatch(key)), None)
    if quantized is not None and not any(_PLAIN.fullmatch(key.removeprefix(prefix)) for key in plain):
        raise ValueError(
            f"state_dict: expected weights as floats, found {quantized!r} of a quantised module; convert the module "
            "that it was made from."
        )
    for name, by_part in parts.items():
        if prefix + name in plain:
            raise ValueError(
                f"state_dict: expected {prefix + name!r} alone or its parts {', '.join(map(repr, by_part.values()))}, "
                "got both; leave out what is not in use."
            )
        arrays = {part: as_numpy(f"state_dict[{key!r}]", given[key]) for part, key in by_part.items()}
        plain[prefix + name] = _computed(name, by_part, arrays)
    return plain


def _computed(name: str, by_part: Mapping[str, str], arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    found, some = set(by_part), next(iter(by_part.values()))
    for parts, compute in _FORMULAS.items():
        if found == set(parts):
            return compute(by_part[parts[0]], *(arrays[part] for part in parts))
    ways = {
        "spectral norm": (found <= {"orig", "u", "v"}, f"torch.nn.utils.remove_spectral_norm(module, {name!r})"),
        "a parametrization": (
            any(f"parametrizations.{name}." in key for key in by_part.values()),
            f"torch.nn.utils.parametrize.remove_parametrizations(module, {name!r})",
        ),
    }
    for what, (fits, way) in ways.items():
        if fits:
            raise ValueError(
                f"state_dict: expected {name!r}, found {some!r} of {what}, which computes it; call {way} for each of "
                "its weights, with the module in eval(), and pass the state dict again."
            )
    raise ValueError(
        f"state_dict: expected {name!r}, found {', '.join(map(repr, by_part.values()))}, parts of a wrapped weight; "
        "unwrap the module and pass its state dict again."
    )


def _weight_norm(key: str, g: np.ndarray, v: np.ndarray) -> np.ndarray:
    """g v / ‖v‖, the norm over the axes along which g has one value for all: a norm for each row by default."""
    if g.shape != () and (g.ndim != v.ndim or any(a not in (1, b) for a, b in zip(g.shape, v.shape, strict=True))):
        raise ValueError(
            f"state_dict[{key!r}]: expected a norm for each row of the directions of shape {v.shape}, got shape "
            f"{g.shape}; pass the state dict as it was saved."
        )
    axes = tuple(axis for axis in range(v.ndim) if g.shape == () or g.shape[axis] == 1)
    wide = v.astype(np.float64)
    norm = np.sqrt(np.sum(wide * wide, axis=axes, keepdims=True))
    # A v of zeros has no direction: NaN, as in PyTorch.
    with np.errstate(divide="ignore", invalid="ignore"):
        return (wide * (g.astype(np.float64) / norm)).astype(v.dtype)


def _pruned(key: str, weight: np.ndarray, mask: np.ndarray) -> np.ndarray:
    if weight.shape != mask.shape:
        raise ValueError(f"state_dict[{key!r}]: expected the shape of its mask, {mask.shape}, got {weight.shape}.")
    return weight * mask.astype(weight.dtype)


_FORMULAS: dict[tuple[str, str], Callable[..., np.ndarray]] = {
    ("g", "v"): _weight_norm,
    ("original0", "original1"): _weight_norm,
    ("orig", "mask"): _pruned,
}


def _check_weight_drop(prefix: str, keys: Iterable[str]) -> None:
    """Refuse a wrapper that drops weights: it keeps weight_hh_l0_raw, and may leave what one step saw in its place."""
    every = set(keys)
    for key in sorted(every):
        start, _, rest = key.rpartition(".")
        start = f"{start}." if start else ""
        if (
            rest.endswith("_raw")
            and _PLAIN.fullmatch(rest.removesuffix("_raw"))
            and prefix in (start, f"{start}module.")
        ):
            name = rest.removesuffix("_raw")
            inside = any(other.startswith(f"{start}module.weight_ih") for other in every)
            place = f"{start}module." if inside else start
            raise ValueError(
                f"state_dict: found {key!r} of a wrapper that drops weights, which keeps {name!r} there; put it in its "
                f'place first, state_dict["{place}{name}"] = state_dict.pop("{key}"), each of them, and pass '
                f"prefix={place!r}."
            )
