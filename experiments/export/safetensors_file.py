"""A safetensors file of all parameters of a model by path."""

from collections.abc import Mapping
from typing import Any

import flax.traverse_util
import numpy as np
import safetensors.numpy


def encode(params: Any, metadata: Mapping[str, str]) -> bytes:
    """The bytes of a file with the arrays of a model's variables by path, "recurrent/layer_0/forward/w_i"."""
    flat = flax.traverse_util.flatten_dict(params["params"], sep="/")
    arrays = {path: np.ascontiguousarray(leaf) for path, leaf in sorted(flat.items())}
    return safetensors.numpy.save(arrays, dict(metadata))
