"""Writing a safetensors file: all of it at once, and the same bytes for the same contents."""

import json
import os
import secrets
from collections.abc import Mapping
from typing import Any

import numpy as np


def write_safetensors(target: str, metadata: Mapping[str, str], arrays: Mapping[str, np.ndarray]) -> None:
    """Beside the target first, and then in its place: a run that is killed leaves no half file under its name."""
    draft = f"{target}.{secrets.token_hex(4)}.draft"
    try:
        with open(draft, "xb") as file:
            file.write(_encode_header(metadata, arrays))
            for array in arrays.values():
                file.write(array.tobytes())
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, target)
    finally:
        if os.path.exists(draft):
            os.unlink(draft)


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
