"""Law 12 for the Flax modules: a mistake is named in the words of the module's own arguments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gru_jax
from tests.refusals import refused

T, B, I, H = 5, 3, 2, 4  # noqa: E741 - the letters of DESIGN.md
GRU = gru_jax.gru()
KEY = jax.random.key(0)
MODULE_XS = np.zeros((B, T, I), np.float32)
MODULE_MISTAKES = {
    "width": (lambda run: run(np.zeros((B, T, 9), np.float32)), ["xs:", "(*B, T, 2)", "(3, 5, 9)", "in_features=9"]),
    "rank": (lambda run: run(np.zeros(I, np.float32)), ["xs:", "(*B, T, 2)", "(2,)", "xs[None]"]),
    "scalar": (lambda run: run(np.float32(1)), ["xs:", "(*B, T, 2)", "()", "xs[None]"]),
    "list": (lambda run: run([1.0]), ["xs:", "array", "list"]),
    "mask": (lambda run: run(MODULE_XS, mask=np.ones((T, B), bool)), ["mask:", "(3, 5)", "(5, 3)", "time_major=True"]),
    "resets": (lambda run: run(MODULE_XS, resets=np.ones(B, bool)), ["resets:", "(3, 5)", "(3,)", "time_major=True"]),
    "mask list": (lambda run: run(MODULE_XS, mask=[True]), ["mask:", "array", "list", "jnp.asarray"]),
    "carry": (
        lambda run: run(MODULE_XS, initial_carry=np.zeros((B, H))),
        ["initial_carry:", "[layer][direction]", "ndarray"],
    ),
    "lengths": (lambda run: run(MODULE_XS, seq_lengths=np.ones(T, int)), ["seq_lengths:", "(3,)", "(5,)", "mask"]),
    "no batch, lengths": (
        lambda run: run(np.zeros((B, I), np.float32), seq_lengths=np.ones(B, int)),
        ["seq_lengths:", "(3,)", "read as time, 3 steps", "batch axis", "xs[:, None]"],
    ),
    "no batch, carry": (
        lambda run: run(np.zeros((B, I), np.float32), initial_carry=((np.zeros((B, H), np.float32),),)),
        ["initial_carry[0][0]:", "(3, 4)", "read as time, 3 steps", "batch axis"],
    ),
    "no batch, width": (
        lambda run: run(np.zeros((B, 9), np.float32)),
        ["xs:", "(3, 9)", "read as time, 3 steps", "batch axis"],
    ),
    "complex": (lambda run: run(MODULE_XS.astype(np.complex64)), ["xs:", "complex64", "a.real, a.imag"]),
    "reset_carry": (
        lambda run: run(MODULE_XS, resets=np.ones((B, T), bool), reset_carry=((np.zeros((T, B, H), np.float32),),)),
        ["reset_carry[0][0]:", "(3, 5, 4), (*B, T, H)", "(5, 3, 4)", "time_major=True"],
    ),
    "time_major": (lambda run: run(MODULE_XS, time_major="no"), ["time_major:", "True or False", "'no'"]),
}


@pytest.mark.parametrize("flax", ["nnx", "linen"])
@pytest.mark.parametrize("name", MODULE_MISTAKES)
def test_a_mistake_with_a_module_is_named(name, flax):
    mistake, words = MODULE_MISTAKES[name]
    if flax == "nnx":
        run = gru_jax.nnx.GRU(I, H, rngs=nnx.Rngs(0))
    else:
        model = gru_jax.linen.GRU(H)
        variables = model.init(KEY, MODULE_XS)
        run = lambda *args, **options: model.apply(variables, *args, **options)  # noqa: E731
    with refused((TypeError, ValueError), words):
        mistake(run)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: gru_jax.nnx.GRU(I, 0, rngs=nnx.Rngs(0)), ["features:", ">= 1", "0"]),
        (lambda: gru_jax.nnx.GRU(0, H, rngs=nnx.Rngs(0)), ["in_features:", ">= 1", "0"]),
        (lambda: gru_jax.nnx.GRU(I, H, dropout_rate=2.0, rngs=nnx.Rngs(0)), ["dropout_rate:", "[0, 1)", "2.0"]),
        (lambda: gru_jax.nnx.GRU(I, H, dtype=int, rngs=nnx.Rngs(0))(MODULE_XS), ["dtype:", "float dtype", "int"]),
        (lambda: gru_jax.linen.GRU(-3).init(KEY, MODULE_XS), ["features:", ">= 1", "-3"]),
        (lambda: gru_jax.linen.GRU(H, num_layers="2").init(KEY, MODULE_XS), ["num_layers:", "integer", "'2'"]),
        (lambda: gru_jax.linen.GRU(H, dropout_rate=2.0).init(KEY, MODULE_XS), ["dropout_rate:", "[0, 1)", "2.0"]),
        (
            lambda: gru_jax.linen.GRU(H, deterministic="no").init(KEY, MODULE_XS),
            ["deterministic:", "True or False", "'no'"],
        ),
        (lambda: gru_jax.linen.GRU(H, cell=gru_jax.gru).init(KEY, MODULE_XS), ["cell:", "gru_jax.gru()"]),
        (lambda: gru_jax.linen.GRUCell(H, cell=gru_jax.gru).initialize_carry(KEY, (B, I)), ["cell:", "gru_jax.gru()"]),
        (lambda: gru_jax.nnx.GRUCell(I, H, cell=gru_jax.gru, rngs=nnx.Rngs(0)), ["cell:", "gru_jax.gru()"]),
        (lambda: gru_jax.nnx.GRU(I, H, rngs=0), ["rngs:", "nnx.Rngs", "0"]),
        (lambda: gru_jax.nnx.GRUCell(I, H, rngs=None), ["rngs:", "nnx.Rngs", "None"]),
        (
            lambda: gru_jax.nnx.GRUCell(I, H, rngs=nnx.Rngs(0)).initialize_carry((B, I), carry_init=jnp.zeros),
            ["carry_init:", "None", "initial_carry"],
        ),
        (
            lambda: gru_jax.linen.GRU(H, bidirectional=True).apply(
                gru_jax.linen.GRU(H).init(KEY, MODULE_XS), MODULE_XS
            ),
            ["params['layer_0']", "backward, forward", "got forward", "directions"],
        ),
        (
            lambda: gru_jax.linen.GRU(H).apply(
                gru_jax.linen.GRU(H, bidirectional=True).init(KEY, MODULE_XS), MODULE_XS
            ),
            ["params['layer_0']", "backward, forward", "directions"],
        ),
        (
            lambda: gru_jax.linen.GRU(H).apply(
                gru_jax.linen.GRU(H, cell=gru_jax.min_gru()).init(KEY, MODULE_XS), MODULE_XS
            ),
            ["params['layer_0']['forward']:", "b_h, b_i, w_h, w_i", "b_i, w_i", "same cell"],
        ),
        (
            lambda: (
                lambda cell: cell.apply(
                    cell.init(KEY, jnp.zeros((B, H)), jnp.zeros((B, I))), jnp.zeros((B, H)), jnp.zeros((B, 9))
                )
            )(gru_jax.linen.GRUCell(H)),
            ["x:", "(*B, 2)", "(3, 9)"],
        ),
        (lambda: gru_jax.nnx.GRUCell(I, 0, rngs=nnx.Rngs(0)), ["features:", ">= 1", "0"]),
        (lambda: gru_jax.nnx.GRUCell(I, H, rngs=nnx.Rngs(0))(jnp.zeros((B, H)), jnp.zeros((B, 9))), ["x:", "(3, 9)"]),
        (lambda: gru_jax.linen.GRUCell(0).initialize_carry(KEY, (B, I)), ["features:", ">= 1", "0"]),
    ],
)
def test_a_mistake_in_making_a_module_is_named(make, words):
    with refused((TypeError, ValueError), words):
        make()


def test_modules_need_params_with_names():
    cell = GRU.replace(init=lambda key, in_features, features, dtype=jnp.float32: [jnp.zeros(3)])
    with pytest.raises(TypeError, match=r"cell: expected a cell whose init returns a NamedTuple.*list.*scan_layers"):
        gru_jax.linen.GRU(H, cell=cell).init(KEY, MODULE_XS)
