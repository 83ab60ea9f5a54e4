"""Arrays of any framework, read as NumPy's and held as JAX's."""

import types
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

DTYPES = ("float64", "float32", "float16", "bfloat16")
"""The dtypes that weights may have."""


def as_numpy(key: str, value: Any) -> np.ndarray:
    """The numbers of a tensor, a variable or an array of any framework, unchanged, in this machine's order of bytes.

    Raises:
      TypeError: naming the key, when it is no array of one of `DTYPES`.
    """
    try:
        array = _read(value)
    except Exception as error:
        raise TypeError(
            f"{key}: expected an array, got {type(value).__name__}, which NumPy does not read ({_line(error)}); "
            "pass its numbers as an array of floats, outside of jit."
        ) from None
    if array.dtype.name not in DTYPES:
        raise TypeError(
            f"{key}: expected an array of floats, got {type(value).__name__} of dtype {array.dtype}; "
            "weights are float32, float64, float16 or bfloat16."
        )
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _read(value: Any) -> np.ndarray:
    value = unboxed(value)
    if isinstance(value, str | bytes | Mapping):
        raise TypeError("it holds no numbers")
    if hasattr(value, "detach") and hasattr(value, "cpu"):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":
            # NumPy knows no tensor of this type; every bfloat16 is a float32.
            return value.float().numpy().astype(jnp.bfloat16)
        return value.numpy()
    return np.asarray(value)


def one_dtype(arrays: Mapping[str, np.ndarray]) -> np.dtype:
    """The one dtype of all arrays.

    Raises:
      TypeError: naming two keys that differ.
    """
    first, *rest = arrays.items()
    for key, array in rest:
        if array.dtype != first[1].dtype:
            raise TypeError(
                f"{key}: expected {first[1].dtype}, as {first[0]} has, got {array.dtype}; cast them to one dtype."
            )
    return first[1].dtype


def hold(array: np.ndarray) -> Any:
    """The array as a jax.Array; as it is where JAX would drop digits of float64."""
    if array.dtype == np.float64 and not jax.config.read("jax_enable_x64"):
        return array
    return jnp.asarray(array)


def unboxed(value: Any) -> Any:
    """The content of a Flax box, such as `nn.Partitioned` or `nn.LogicallyPartitioned`; else the value itself."""
    while callable(getattr(value, "unbox", None)) and hasattr(value, "replace_boxed"):
        # Not by `unbox`, which looks for a mesh.
        value = value.value if hasattr(value, "value") else value.unbox()
    return value


def flatten(tree: Any, separator: str = "/") -> dict[str, Any]:
    """Nested mappings, or a module with arrays as attributes, as one flat dict with keys such as `dense_i/kernel`.

    Lists of mappings or modules count from 0: `cells/0/kernel`. Boxes are opened. None is left out, and so is all of a
    module that does not look like an array of floats.

    Raises:
      ValueError: for two arrays of one key.
    """
    found: dict[str, Any] = {}
    _walk(tree, "", separator, found, set(), of_module=not isinstance(tree, Mapping))
    return found


def children(node: Any) -> dict[str, Any]:
    """What is directly in a mapping or a module, by name; a list of trees by number."""
    # flax.nnx keeps its own records under names with two underscores.
    own = node if isinstance(node, Mapping) else {name: v for name, v in vars(node).items() if "__" not in name}
    found: dict[str, Any] = {}
    for name, value in own.items():
        value = unboxed(value)
        if isinstance(value, list | tuple) and any(map(_is_tree, value)):
            value = {str(i): unboxed(item) for i, item in enumerate(value)}
        found[str(name)] = value
    return found


def _walk(node: Any, path: str, separator: str, found: dict[str, Any], above: set[int], *, of_module: bool) -> None:
    if id(node) in above:
        return
    for name, value in children(node).items():
        key = f"{path}{separator}{name}" if path else name
        if _is_tree(value):
            inside = of_module or not isinstance(value, Mapping)
            _walk(value, key, separator, found, above | {id(node)}, of_module=inside)
        elif value is not None and (not of_module or _is_float_array(value)):
            if key in found:
                raise ValueError(f"{key}: expected one array of this name, found two; pass a tree without the other.")
            found[key] = value


def _is_tree(value: Any) -> bool:
    return isinstance(value, Mapping) or (_is_module(value) and not _is_array(value))


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _is_module(value: Any) -> bool:
    """Whether this is an object with attributes, but no class, function or module of Python."""
    plain = not isinstance(value, type | types.ModuleType) and not callable(getattr(value, "__get__", None))
    return plain and hasattr(value, "__dict__")


def _is_float_array(value: Any) -> bool:
    return _is_array(value) and jnp.issubdtype(value.dtype, jnp.floating)


def _line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
