"""Write interop_activations.npz: keras.layers.GRU with each activation that Keras has by name.

Run it from the checkout where Keras is, on JAX: python -m tests.recorded.make_interop_activations (keras 3.15.1, jax
0.10.2). For each NAME: NAME/weights/0 and so on as get_weights returns them, NAME/xs (B, T, I), NAME/ys. The candidate
has the activation of the name; the gates too for the names that begin with "gates-".
"""

import os

os.environ["KERAS_BACKEND"] = "jax"

import keras
import numpy as np

from tests.recorded import interop_check as check
from tests.recorded.interop_check import B, H, I, T

NAMES = (
    *("tanh", "sigmoid", "linear", "relu", "relu6", "leaky_relu", "hard_sigmoid", "hard_tanh", "hard_silu", "softplus"),
    *("softsign", "elu", "selu", "celu", "silu", "swish", "gelu", "mish", "log_sigmoid", "squareplus", "sparse_plus"),
    *("sparse_sigmoid", "exponential", "hard_swish"),
)
GATES = ("hard_sigmoid", "softsign", "relu6", "sparse_sigmoid")


def record(seed, **options):
    """What Keras computes for random weights."""
    draw = check.Draw(seed)
    layer = keras.layers.GRU(H, return_sequences=True, **options)
    layer.build((B, T, I))
    # exp grows beyond all numbers otherwise.
    scale = 0.2 if options.get("activation") == "exponential" else 0.6
    layer.set_weights([draw(*array.shape, dtype=array.dtype, scale=scale) for array in layer.get_weights()])
    xs = draw(B, T, I, scale=1)
    weights = {f"weights/{i}": array for i, array in enumerate(layer.get_weights())}
    return weights | {"xs": xs, "ys": np.asarray(layer(xs))}


def main():
    """Record every name."""
    cases = {name: record(seed, activation=name) for seed, name in enumerate(NAMES)}
    cases |= {f"gates-{name}": record(99 + i, recurrent_activation=name) for i, name in enumerate(GATES)}
    check.write("activations", {"keras": keras.__version__}, cases)


if __name__ == "__main__":
    main()
