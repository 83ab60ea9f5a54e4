"""What the tests of files share: recorded files, params of random bits, and parts of safetensors files."""

import json

import jax
import numpy as np
import safetensors

import gru_jax
from tests import places

RECORDED = places.RECORDED / "interop_files"
GRU = gru_jax.gru()


def recorded_values():
    """The arrays of values.npz; a file that is left open warns in whatever test runs when it is collected."""
    with np.load(RECORDED / "values.npz") as file:
        return dict(file)


def some_params(cell, *, num_layers=1, bidirectional=False, dtype=np.float32):
    """Params of random bits, infinities and all sorts of NaN among them."""
    like = jax.eval_shape(
        lambda: gru_jax.init_layers(cell, jax.random.key(0), 2, 3, num_layers=num_layers, bidirectional=bidirectional)
    )
    rng = np.random.default_rng(5)
    return jax.tree.map(
        lambda leaf: np.frombuffer(rng.bytes(leaf.size * np.dtype(dtype).itemsize), dtype).reshape(leaf.shape), like
    )


def parts(path):
    """The metadata and the tensors of a file, by the library."""
    with safetensors.safe_open(path, framework="np") as file:
        return file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it is no dict


def header(text, data=b"", length=None):
    text = text if isinstance(text, bytes) else json.dumps(text).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data
