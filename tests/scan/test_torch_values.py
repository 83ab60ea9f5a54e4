"""An independent library has the last word: values recorded from torch.nn.GRU and torch.nn.LSTM in float64.

tests/recorded/make_torch_values.py made the file.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gru_jax
from tests import places
from tests.cases import relative_error

RECORDED = np.load(places.RECORDED / "torch_gru.npz")
NAMES = sorted({key.split("/")[0] for key in RECORDED.files if "/" in key})


def load(name):
    """One recorded configuration: a function from its short names to arrays, and how it is built."""
    kind, layers, bidirectional, _ = name.split("-")
    return (lambda key: RECORDED[f"{name}/{key}"]), kind, int(layers), 2 if bidirectional == "True" else 1


def nested(get, prefix, layers, directions, cell):
    """params[layer][direction] from torch's names; torch multiplies W x, so matrices are transposed."""
    kind = gru_jax.GRUParams if cell.name == "gru" else gru_jax.LSTMParams
    return tuple(
        tuple(
            kind(
                *(get(f"{prefix}.weight_{part}_l{layer}{suffix}").T for part in ("ih", "hh")),
                *(get(f"{prefix}.bias_{part}_l{layer}{suffix}") for part in ("ih", "hh")),
            )
            for suffix in ("", "_reverse")[:directions]
        )
        for layer in range(layers)
    )


def states(get, prefix, layers, directions, cell):
    """carry[layer][direction] from torch's (layers * directions, B, H)."""
    flat = [get(f"{prefix}{letter}") for letter in ("h" if cell.name == "gru" else "hc")]
    pick = lambda i: flat[0][i] if cell.name == "gru" else gru_jax.LSTMCarry(*(leaf[i] for leaf in flat))  # noqa: E731
    return tuple(tuple(pick(layer * directions + d) for d in range(directions)) for layer in range(layers))


@pytest.mark.parametrize(
    ("name", "backend"),
    [(name, backend) for name in NAMES for backend in ("scan", "fused") if backend == "scan" or "GRU" in name.upper()],
)
def test_torch_agrees(name, backend, x64):
    get, kind, layers, directions = load(name)
    cell = gru_jax.gru() if kind == "GRU" else gru_jax.lstm()
    params, carry = nested(get, "params", layers, directions, cell), states(get, "", layers, directions, cell)
    carry_weights = states(get, "weight.", layers, directions, cell)

    def loss(params, xs, carry):
        final, ys = gru_jax.scan_layers(cell, params, xs, carry, seq_lengths=get("lengths"), backend=backend)
        seen = jax.tree.map(lambda w, c: jnp.sum(w * c), carry_weights, final)
        return jnp.sum(get("weight.ys") * ys) + sum(jax.tree.leaves(seen)), (final, ys)

    run = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))
    (_, (final, ys)), gradients = run(params, get("xs"), carry)
    assert relative_error((final, ys), (states(get, "final.", layers, directions, cell), get("ys"))) < 1e-12
    expected = (
        nested(get, "gradient", layers, directions, cell),
        get("gradient.xs"),
        states(get, "gradient.", layers, directions, cell),
    )
    assert relative_error(gradients, expected) < 1e-11


def test_every_configuration_is_there():
    assert len(NAMES) == 20
    assert str(RECORDED["torch"]).startswith("2.13")
