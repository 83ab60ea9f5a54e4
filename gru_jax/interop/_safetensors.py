"""Reading and writing safetensors files: any, and those that hold a stack of layers and what its weights mean."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from gru_jax._cells.cell import Cell
from gru_jax.interop._arrays import as_numpy
from gru_jax.interop._cell_records import cell_of, describe
from gru_jax.interop._packages import need
from gru_jax.interop._paths import blaming, check_path, foreign, read_beginning
from gru_jax.interop._safetensors_writer import write_whole
from gru_jax.interop._stack_keys import absent_keys, name_params, nest_params
from gru_jax.interop._write_file import check_target

FORMAT, VERSION = "gru_jax", "1"


def save_safetensors(path: Any, cell: Cell, params: Any) -> None:
    """Write a stack of layers, and the equations its weights are for, to a safetensors file.

    The metadata say the cell's name, its options, the order of its gates and its equations in words, so that the file
    cannot be read as another cell's. How the weights were initialised is not kept. The file appears at once, complete,
    and replaces one that was there. The same params give the same bytes.

    Args:
      path: where to write, usually `*.safetensors`.
      cell: one of `gru`, `lstm`, `rnn`, `min_gru`, `conv_gru`, `gru_d`, with any options.
      params: `params[layer][direction]` of arrays of one dtype, float64, float32, float16 or bfloat16, or the params
        of one layer alone. They are stored as `layers.0.forward.w_i`, `layers.0.backward.w_h` and so on; a bias that is
        None is not stored, and the metadata say which.

    Raises:
      TypeError, ValueError: for a cell of the user's own, one with an activation that JAX has no name for, or params
        that do not belong to the cell.
      OSError: as Python raises it, where the file cannot be written.

    Example:
      >>> import gru_jax, jax, os, tempfile
      >>> cell = gru_jax.gru(update_gate="write")
      >>> params = gru_jax.init_layers(cell, jax.random.key(0), 8, 16, num_layers=2)
      >>> path = os.path.join(tempfile.mkdtemp(), "gru.safetensors")
      >>> gru_jax.interop.save_safetensors(path, cell, params)
      >>> again, params = gru_jax.interop.load_safetensors(path)
      >>> again == cell, params[1][0].w_h.shape
      (True, (16, 48))
    """
    target = check_target(path)
    record = describe(cell)
    # For the cell as it will be read: an initialiser of the user's own says nothing about shapes.
    directions, arrays = name_params(cell_of(record), params)
    metadata = {
        "format": FORMAT,
        "format_version": VERSION,
        **record,
        "directions": ", ".join(map(str, directions)),
    }
    absent = absent_keys(cell, directions, arrays)
    if absent:
        metadata["absent"] = ", ".join(absent)
    write_whole(target, metadata, arrays)


def load_safetensors(path: Any) -> tuple[Cell, tuple[tuple[Any, ...], ...]]:
    """Read what `save_safetensors` wrote: the cell, by its name and options, and its params.

    Args:
      path: where the file is.

    Returns:
      The cell, with the default initialisers, and `params[layer][direction]` of jax arrays in the dtype stored, or of
      NumPy arrays for float64 while JAX runs in 32 bits.

    Raises:
      TypeError, ValueError: for files that others wrote, and where metadata and weights do not agree; naming the key,
        with the shape that was expected and found there.
      OSError: as Python raises it, for a file that is missing or may not be read.
      ImportError: without the package safetensors.
    """
    metadata, arrays = _read_file(path)
    name = check_path(path)
    if metadata.get("format") != FORMAT:
        raise ValueError(
            f"path: expected a file of gru_jax.interop.save_safetensors, got {name!r}, whose metadata do not say that; "
            "a PyTorch checkpoint is read with from_torch(read_safetensors(path), prefix=...), both of gru_jax.interop."
        )
    with blaming(name):
        version = metadata.get("format_version")
        if version != VERSION:
            raise ValueError(f"format_version: expected {VERSION!r}, got {str(version)[:200]!r}; update gru_jax.")
        own = ("format", "format_version", "directions", "absent")
        cell = cell_of({key: text for key, text in metadata.items() if key not in own})
        absent = metadata.get("absent", "")
        return cell, nest_params(cell, _directions(metadata), arrays, absent=absent.split(", ") if absent else ())


def write_safetensors(path: Any, arrays: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> None:
    """Write arrays to a safetensors file, those of a whole model for example.

    The file appears at once, complete. The same arrays in the same order give the same bytes. `save_safetensors` also
    says what the weights of a stack of layers mean.

    Args:
      path: where to write, usually `*.safetensors`.
      arrays: arrays by key, of any framework, float64, float32, float16 or bfloat16.
      metadata: strings by name.

    Raises:
      TypeError, ValueError: for what is no array of floats, naming the key, or no string.
      OSError: as Python raises it, where the file cannot be written.

    Example:
      >>> import os, tempfile, numpy as np
      >>> path = os.path.join(tempfile.mkdtemp(), "model.safetensors")
      >>> gru_jax.interop.write_safetensors(path, {"head/kernel": np.ones((4, 2), np.float32)})
      >>> gru_jax.interop.read_safetensors(path)["head/kernel"].shape
      (4, 2)
    """
    target = check_target(path)
    strings = {} if metadata is None else metadata
    for name, entries, what in (("arrays", arrays, "keys to arrays"), ("metadata", strings, "names to strings")):
        if not isinstance(entries, Mapping):
            raise TypeError(f"{name}: expected a mapping of {what}, got {type(entries).__name__}; pass a dict.")
    for name, entries in (("arrays", arrays), ("metadata", strings)):
        wrong = [key for key in entries if not isinstance(key, str) or key == "__metadata__"]
        if wrong:
            raise TypeError(f"{name}: expected strings as keys, got {wrong[0]!r}; pass another name.")
    for key, text in strings.items():
        if not isinstance(text, str):
            raise TypeError(f"metadata[{key!r}]: expected a string, got {type(text).__name__}; pass str(...) of it.")
    write_whole(target, strings, {key: as_numpy(f"arrays[{key!r}]", value) for key, value in arrays.items()})


def read_safetensors(path: Any) -> dict[str, np.ndarray]:
    """Every tensor of a safetensors file, a PyTorch checkpoint for example; no code of the file is run.

    Args:
      path: where the file is.

    Returns:
      NumPy arrays by key, as they were stored; bfloat16 as `jax.numpy.bfloat16`.

    Raises:
      TypeError, ValueError: for what is no safetensors file, a damaged one, or a tensor of a type that NumPy lacks.
      OSError: as Python raises it, for a file that is missing or may not be read.
      ImportError: without the package safetensors.

    Example:
      >>> import os, tempfile, numpy as np, safetensors.numpy
      >>> path = os.path.join(tempfile.mkdtemp(), "model.safetensors")
      >>> safetensors.numpy.save_file({"gru.weight_ih_l0": np.ones((12, 2), np.float32)}, path)
      >>> {key: array.shape for key, array in gru_jax.interop.read_safetensors(path).items()}
      {'gru.weight_ih_l0': (12, 2)}
    """
    return _read_file(path)[1]


def _read_file(path: Any) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """The strings and the tensors of a safetensors file, sorted by key."""
    library = need("safetensors", what="safetensors")
    name = check_path(path)
    beginning = read_beginning(name, "a safetensors")
    try:
        # safe_open maps the file, and checks the header against the file's size before it takes memory for either.
        with library.safe_open(name, framework="np") as file:
            metadata = file.metadata() or {}
            return metadata, {key: _tensor(file, name, key) for key in sorted(file.keys())}
    except library.SafetensorError as error:
        reason = str(error).removeprefix("Error while deserializing header: ")
        what = foreign(beginning) or f"which is none, or a damaged one ({reason}); write or copy it again"
        raise ValueError(f"path: expected a safetensors file, got {name!r}, {what}.") from None


def _tensor(file: Any, name: str, key: str) -> np.ndarray:
    try:
        return file.get_tensor(key)
    except (AttributeError, TypeError, ValueError):
        # Types that NumPy lacks, more axes than it has, empty arrays with an axis that is longer than memory.
        tensor = file.get_slice(key)
        raise ValueError(
            f"path: expected tensors that NumPy can hold in {name!r}, got {key!r} of dtype {tensor.get_dtype()} and "
            f"{len(tensor.get_shape())} axes; save it as float32 first, or without it."
        ) from None


def _directions(metadata: Mapping[str, str]) -> tuple[int, ...]:
    text = metadata.get("directions", "")
    if not re.fullmatch("[12](, [12])*", text):
        raise ValueError(
            f"directions: expected 1 or 2 for each layer, such as '2, 2', got {text[:200]!r}; "
            "the file was changed or damaged: save it again."
        )
    return tuple(map(int, text.split(", ")))
