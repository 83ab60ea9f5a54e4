"""Checks before a step or a scan is traced, so that a user's mistake is named in the user's words.

Every message gives the argument, what was expected, what came, and the way out.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gru_jax._cells.boxes import is_box
from gru_jax._cells.precision import carry_dtype

_NAN_CHECKS = "jax_debug_nans"


def check_positive(name: str, value: Any, *, remedy: str = "pass a positive integer") -> int:
    """`value` as an int >= 1; raises where it is none."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name}: expected an integer >= 1, got {value!r} of type {type(value).__name__}; {remedy}.")
    if value < 1:
        raise ValueError(f"{name}: expected an integer >= 1, got {value}; {remedy}.")
    return int(value)


def check_flag(name: str, value: Any) -> bool:
    """`value`, a Python or NumPy bool, as a bool; an array is refused, since it chooses what is traced."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(
            f"{name}: expected True or False, got {value!r} of type {type(value).__name__}; "
            "it is fixed at tracing time, so pass a Python bool."
        )
    return bool(value)


def float_dtype(name: str, dtype: Any) -> jnp.dtype:
    """`dtype` as a dtype; raises where it is no real float."""
    try:
        # NumPy takes None for float64.
        found = None if dtype is None else jnp.dtype(dtype)
    except TypeError:
        found = None
    if found is None or not jnp.issubdtype(found, jnp.floating):
        raise TypeError(f"{name}: expected a float dtype, got {dtype!r}; pass jnp.float32, for example.")
    return found


def check_dtype(name: str, dtype: Any) -> jnp.dtype:
    """`dtype` as a dtype that JAX computes in now; raises where it is no real float."""
    found = float_dtype(name, dtype)
    if found == jnp.dtype("float64") and not jax.config.read("jax_enable_x64"):
        raise TypeError(
            f"{name}: got float64 while JAX runs in 32 bits; "
            'call jax.config.update("jax_enable_x64", True) at start-up, or pass jnp.float32.'
        )
    return found


def check_array(name: str, value: Any) -> jax.Array:
    """A JAX or NumPy array as a JAX array."""
    if not isinstance(value, jax.Array | np.ndarray | np.generic):
        if is_box(value):
            raise TypeError(
                f"{name}: expected an array, got it in a {type(value).__name__}; "
                "take all arrays of a tree out of their boxes with flax.linen.meta.unbox(...) first."
            )
        raise TypeError(
            f"{name}: expected an array, got {type(value).__name__}; convert it with jnp.asarray(...) first."
        )
    # bfloat16 is of NumPy's kind V, too.
    if isinstance(value, np.ndarray) and value.dtype.kind in "OSUVmM" and not jnp.issubdtype(value.dtype, jnp.floating):
        raise TypeError(f"{name}: expected an array of numbers, got dtype {value.dtype}; convert it to one first.")
    if isinstance(value, jax.Array):
        return value
    # Under jax_debug_nans, jnp.asarray raises on any NaN, and padding may hold some.
    return jax.device_put(value) if getattr(jax.config, _NAN_CHECKS) else jnp.asarray(value)


def check_float_array(name: str, value: Any) -> jax.Array:
    """`value` as a JAX array of real floats."""
    array = check_array(name, value)
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise TypeError(
            f"{name}: expected a float array, got {array.dtype}; pass its two parts as features side by side, "
            "jnp.concatenate([a.real, a.imag], axis=-1), since .astype would drop the imaginary one."
        )
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(f"{name}: expected a float array, got {array.dtype}; cast it with .astype(jnp.float32).")
    return array


def check_bools(name: str, value: Any, shape: tuple[int, ...], like: str, remedy: str) -> jax.Array:
    """`value` as a bool array of `shape`, which messages call `like`."""
    array = check_array(name, value)
    if array.dtype != jnp.bool_:
        raise TypeError(f"{name}: expected bool, got {array.dtype}; cast with .astype(bool).")
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, {like}, got {array.shape}; {remedy}.")
    return array


def check_params(
    kind: str,
    params_type: Any,
    params: Any,
    shapes: Mapping[str, tuple[str, ...]],
    *,
    optional: Sequence[str] = (),
    **sizes: int,
) -> None:
    """Check a cell's params against shapes written in letters; see `check_letters`. The optional fields may be None."""
    needed = set(params_type._fields)
    if isinstance(params, Mapping) and needed - set(optional) <= set(params) <= needed:
        absent = "".join(f", {field}=None" for field in params_type._fields if field not in params)
        raise TypeError(
            f"params: expected {params_type.__name__} for the cell {kind!r}, got {type(params).__name__} with its "
            f"fields; write {params_type.__name__}(**params{absent})."
        )
    if not isinstance(params, params_type):
        raise TypeError(
            f"params: expected {params_type.__name__} for the cell {kind!r}, got {type(params).__name__}; "
            "pass what this cell's init returned."
        )
    shapes = {field: letters for field, letters in shapes.items() if field not in optional or _has(params, field)}
    check_letters("params", params, shapes, f"pass params made by the init of this {kind!r} cell", **sizes)


def _has(params: Any, field: str) -> bool:
    return getattr(params, field) is not None


def check_letters(
    name: str, params: Any, shapes: Mapping[str, tuple[str, ...]], remedy: str, **sizes: int
) -> dict[str, int]:
    """Check params, which messages call `name`, against shapes written in letters, such as `{"w_i": ("I", "3H")}`.

    A letter takes its size from `sizes`, or from the first place it stands in; a digit before it multiplies. Returns
    the size of each letter.
    """
    for field, letters in shapes.items():
        leaf = check_float_array(f"{name}.{field}", getattr(params, field))
        wanted = f"({', '.join(letters)}{',' if len(letters) == 1 else ''})"
        if leaf.ndim != len(letters):
            raise ValueError(
                f"{name}.{field}: expected shape {wanted}, got {leaf.shape}; "
                "for an ensemble of params, map over it with jax.vmap."
            )
        for size, letter in zip(leaf.shape, letters, strict=True):
            factor, letter = (int(letter[0]), letter[1:]) if letter[0].isdigit() else (1, letter)
            if letter not in sizes and size % factor == 0 and size > 0:
                sizes[letter] = size // factor
            if sizes.get(letter) is None or size != factor * sizes[letter]:
                known = ", ".join(f"{k} = {v}" for k, v in sizes.items())
                raise ValueError(
                    f"{name}.{field}: expected shape {wanted}{f' with {known}' if known else ''}, got {leaf.shape}; "
                    f"{remedy}."
                )
    return sizes


def check_key(name: str, key: Any) -> None:
    """Check for one JAX random key, new style or old."""
    if not isinstance(key, jax.Array | np.ndarray) or not (
        jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key) or key.dtype == jnp.uint32
    ):
        raise TypeError(f"{name}: expected a random key, got {key!r}; make one with jax.random.key(0).")
    shape = key.shape if jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key) else key.shape[:-1]
    if shape:
        raise ValueError(
            f"{name}: expected one random key, got an array of keys of shape {shape}; pass one of them, {name}[0]."
        )


def check_batch_shape(value: Any) -> tuple[int, ...]:
    """`value` as a tuple of sizes; symbolic ones of jax.export count as sizes."""
    sizes = (int, np.integer)
    if not isinstance(value, tuple | list) or not all(
        n >= 0 if isinstance(n, sizes) else not isinstance(n, bool | float | str | None) for n in value
    ):
        raise TypeError(f"batch_shape: expected a tuple of sizes, got {value!r}; for one batch axis pass (4,).")
    return tuple(value)


def check_inputs(cell: Any, name: str, x: Any, params: Any, *, axes: Sequence[str]) -> tuple[Any, Any]:
    """Check an input, `axes` followed by its feature axes, against the cell and its params.

    `axes` are letters, such as ("T", "*B"); "*B" stands for any number of axes. Returns params and input as JAX arrays.
    """
    shapes = _input_shapes(cell, params)
    params = jax.tree.map(jnp.asarray, params)
    (first, x_first, widths), *others = input_leaves(cell, name, x, shapes)
    array = _check_features(first, check_float_array(first, x_first), widths, axes)
    lead = array.shape[: array.ndim - len(widths)]
    arrays = [array, *(_check_beside(path, leaf, (*lead, *own), first) for path, leaf, own in others)]
    for array, path in zip(arrays, [first, *(path for path, *_ in others)], strict=True):
        _check_same_precision(path, array, params)
    return params, type(shapes)(*arrays) if hasattr(shapes, "_fields") else arrays[0]


def _input_shapes(cell: Any, params: Any) -> Any:
    """What `cell.input_shape` returns, checked: one tuple of sizes, or a NamedTuple of such tuples."""
    shapes = cell.input_shape(params)
    parts = tuple(shapes) if hasattr(shapes, "_fields") else (shapes,)
    if not all(type(part) is tuple and part for part in parts):
        raise TypeError(
            f"input_shape: expected a tuple of sizes from the cell {cell.name!r}, or a NamedTuple of such, "
            f"got {shapes!r}; return (in_features,), with None for a size that is free."
        )
    return shapes


def input_leaves(cell: Any, name: str, x: Any, shapes: Any) -> list[tuple[str, Any, tuple[int | None, ...]]]:
    """For each array of an input: its name in messages, the array, not checked yet, and its feature axes."""
    if not hasattr(shapes, "_fields"):
        return [(name, x, shapes)]
    if not isinstance(x, type(shapes)):
        raise TypeError(
            f"{name}: expected {outline(shapes)} for the cell {cell.name!r}, got {outline(x)}; "
            f"put its arrays into one {type(shapes).__name__}."
        )
    return [(f"{name}.{field}", *pair) for field, *pair in zip(shapes._fields, x, shapes, strict=True)]


def leading_shape(cell: Any, params: Any, x: Any) -> tuple[int, ...]:
    """The sizes of a checked input's axes before its features; all its arrays share them."""
    shapes = cell.input_shape(params)
    leaf = x[0] if hasattr(shapes, "_fields") else x
    return leaf.shape[: leaf.ndim - len(first_shape(shapes))]


def first_shape(shapes: Any) -> tuple[int | None, ...]:
    """The first array's feature axes in a cell's `input_shape`; the last is as wide as `in_features`."""
    return shapes[0] if hasattr(shapes, "_fields") else shapes


def _check_features(name: str, x: jax.Array, widths: tuple[int | None, ...], axes: Sequence[str]) -> jax.Array:
    """x, checked to have trailing axes of these widths."""
    letters = f"({', '.join([*axes, *(str(w) if w is not None else 'features' for w in widths)])})"
    if x.ndim < len(set(axes) - {"*B"}) + len(widths):
        raise ValueError(
            f"{name}: expected shape {letters}, got {x.shape}; add the missing axes, for example {name}[None]."
        )
    found = x.shape[x.ndim - len(widths) :]
    if all(want in (None, have) for want, have in zip(widths, found, strict=True)):
        return x
    if len(widths) > 1:
        raise ValueError(
            f"{name}: expected shape {letters}, since the cell and its params were made for inputs of shape "
            f"({', '.join(map(str, widths))}), got {x.shape}; "
            f"pass inputs of that shape, or make the cell and its params for {found}."
        )
    raise ValueError(
        f"{name}: expected shape {letters}, since the params were made for {widths[0]} input features, got {x.shape}; "
        f"pass inputs of that width, or init the params with in_features={found[0]}."
    )


def _check_beside(name: str, value: Any, shape: tuple[int | None, ...], first: str) -> jax.Array:
    """An array beside the first of an input, checked to be float or bool and to have this shape."""
    array = check_array(name, value)
    if array.dtype != jnp.bool_ and not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(
            f"{name}: expected a float or bool array, got {array.dtype}; cast it with .astype(jnp.float32) or "
            ".astype(bool)."
        )
    if array.ndim != len(shape) or any(want not in (None, have) for want, have in zip(shape, array.shape, strict=True)):
        raise ValueError(
            f"{name}: expected shape ({', '.join(map(str, shape))}), its leading axes those of {first}, "
            f"got {array.shape}; broadcast it with jnp.broadcast_to."
        )
    return array


def _check_same_precision(name: str, x: jax.Array, params: Any) -> None:
    """Check that x is float64 if and only if the params are."""
    if not jnp.issubdtype(x.dtype, jnp.floating):
        return
    for leaf in jax.tree.leaves(params):
        if jnp.issubdtype(leaf.dtype, jnp.floating) and carry_dtype(leaf.dtype) != carry_dtype(x.dtype):
            raise TypeError(
                f"{name}: expected the precision of the params ({leaf.dtype}), got {x.dtype}; "
                "float64 does not mix with narrower floats: "
                "cast one side, xs.astype(...) or jax.tree.map(lambda p: p.astype(...), params)."
            )


def outline(tree: Any) -> str:
    """A tree's structure in words a user can compare, such as `LSTMCarry(h, c)` or `one array`."""
    if hasattr(tree, "_fields"):
        return f"{type(tree).__name__}({', '.join(tree._fields)})"
    if isinstance(tree, jax.Array | np.ndarray | jax.ShapeDtypeStruct):
        return "one array"
    return f"{type(tree).__name__} {jax.tree.structure(tree)}"
