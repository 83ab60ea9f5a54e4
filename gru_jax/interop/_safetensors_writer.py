"""Writing a safetensors file: the same bytes for the same contents."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from gru_jax.interop._write_file import write_file


def write_whole(target: str, metadata: Mapping[str, str], arrays: Mapping[str, np.ndarray]) -> None:
    """Write a file that appears complete or not at all; `target` is what `check_target` returned."""
    write_file(target, _encode_header(metadata, arrays), *(array.tobytes() for array in arrays.values()))


_CODES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}


def _encode_header(metadata: Mapping[str, str], arrays: Mapping[str, np.ndarray]) -> bytes:
    # Not by the library's writer, which puts the metadata in an order that differs from run to run.
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for key, array in arrays.items():
        start, end = end, end + array.nbytes
        header[key] = {"dtype": _CODES[str(array.dtype)], "shape": array.shape, "data_offsets": [start, end]}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
