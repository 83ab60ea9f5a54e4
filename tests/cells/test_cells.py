"""Each cell's single step against the equations, in float64 and float32, and how cells behave as values."""

import copy
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gru_jax
from tests.cases import CASES, H, I, assert_close, plain

# A single step has no backend.
CELLS = [case for case in CASES if case.backend == "scan"]


@pytest.fixture(params=CELLS, ids=str)
def case(request):
    """Every cell, once."""
    return request.param


@pytest.mark.parametrize("batch", [(), (5,), (2, 3)])
def test_step_is_the_equation(case, batch, x64):
    params, carry = case.params(), case.carry(batch)
    x = case.xs(batch)
    new, y = case.cell(params, carry, x)
    rows = [
        case.step(params, *row)
        for row in ((jax.tree.map(lambda c, i=i: c[i], plain(carry)), x[i]) for i in np.ndindex(batch))
    ]
    assert_close(y, np.reshape([r[1] for r in rows], (*batch, H)), atol=1e-14)
    expected = [np.reshape(leaf, (*batch, H)) for leaf in zip(*(jax.tree.leaves(r[0]) for r in rows), strict=True)]
    assert_close(jax.tree.leaves(new), expected, atol=1e-14)


def test_step_in_float32(case):
    params, carry, x = case.params(), case.carry((5,)), case.xs((5,))
    narrow = jax.tree.map(lambda leaf: leaf.astype(np.float32), (params, carry, x))
    _, y = case.cell(*narrow)
    wide = jax.tree.map(lambda leaf: leaf.astype(np.float64), narrow)
    expected = np.stack(
        [case.step(wide[0], jax.tree.map(lambda c, b=b: c[b], plain(wide[1])), wide[2][b])[1] for b in range(5)]
    )
    assert y.dtype == jnp.float32
    assert_close(y, expected, atol=2e-6)


def test_saturated_gates_stay_finite(case):
    params = jax.tree.map(lambda leaf: 1e4 * leaf.astype(np.float32), case.params())
    carry, x = case.carry((5,), dtype=np.float32), case.xs((5,), dtype=np.float32)

    def loss(params, carry, x):
        return jnp.sum(case.cell(params, carry, x)[1])

    value, gradients = jax.value_and_grad(loss, argnums=(0, 1, 2))(params, carry, x)
    assert np.isfinite(value)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradients))


def test_reset_order_and_update_gate_matter():
    gru_cases = [case for case in CELLS if case.cell.name == "gru"]
    assert len(gru_cases) == 4
    params, carry, x = gru_cases[0].params(dtype=np.float32), gru_cases[0].carry((2,), dtype=np.float32), None
    x = gru_cases[0].xs((2,), dtype=np.float32)
    ys = [np.asarray(case.cell(params, carry, x)[1]) for case in gru_cases]
    for i in range(4):
        for j in range(i):
            assert np.max(np.abs(ys[i] - ys[j])) > 1e-2


@pytest.mark.parametrize("make", [gru_jax.gru, gru_jax.lstm, gru_jax.rnn, gru_jax.min_gru])
def test_equal_options_give_the_same_hashable_cell(make):
    assert make() is make()
    assert hash(make()) == hash(make())
    assert make(kernel_init=jax.nn.initializers.zeros) is not make()


def test_options_of_cells_differ_in_identity():
    assert gru_jax.gru(reset_after=False) != gru_jax.gru()
    assert gru_jax.gru(reset_after=True, update_gate="keep") is gru_jax.gru()
    assert gru_jax.gru(reset_after=False).options == gru_jax.GRUOptions(reset_after=False, update_gate="keep")


def test_a_cell_is_a_record():
    cell = gru_jax.gru()
    assert cell._fields == tuple(field.name for field in dataclasses.fields(cell))
    assert cell._replace(name="mine") == cell.replace(name="mine") != cell
    with pytest.raises(dataclasses.FrozenInstanceError):
        cell.name = "mine"


def test_a_record_of_own_functions_is_a_cell():
    """An exponential moving average, with the five required fields and no more."""
    cell = gru_jax.Cell(
        name="average",
        init=lambda key, in_features, features, dtype=jnp.float32: {"rate": jnp.asarray(0.25, dtype)},
        carry=lambda params, batch_shape=(): jnp.zeros((*batch_shape, I)),
        project=lambda params, x: x,
        step=lambda params, h, x: (h + params["rate"] * (x - h),) * 2,
    )
    xs = np.random.default_rng(0).normal(size=(6, 2, I)).astype(np.float32)
    carry, ys = gru_jax.scan(cell, cell.init(jax.random.key(0), I, I), xs, seq_lengths=np.array([6, 4]))
    h = np.zeros(I)
    for t in range(4):
        h = h + 0.25 * (xs[t, 1] - h)
        assert_close(ys[t, 1], h, atol=1e-6)
    assert_close(carry[1], h, atol=1e-6)
    assert not np.any(ys[4:, 1])


def test_a_cell_is_a_function_to_jax(case):
    """jit, checkpoint, eval_shape and vmap take the cell itself, as an RL loop would write it."""
    params, carry, x = (
        case.params(dtype=np.float32),
        case.carry((5,), dtype=np.float32),
        case.xs((5,), dtype=np.float32),
    )
    expected = case.cell(params, carry, x)
    assert_close(jax.jit(case.cell)(params, carry, x), expected, atol=1e-6)
    assert_close(jax.checkpoint(case.cell)(params, carry, x), expected, atol=1e-6)
    assert_close(jax.vmap(case.cell, (None, 0, 0))(params, carry, x), expected, atol=1e-6)
    assert jax.eval_shape(case.cell, params, carry, x)[1].shape == (5, H)
    assert copy.deepcopy(case.cell) == case.cell


def test_a_cell_of_ones_own_may_carry_and_own_what_is_no_float():
    """A step counter beside the state, and a table of indices among the params."""
    cell = gru_jax.Cell(
        name="counter",
        init=lambda key, in_features, features, dtype=jnp.float32: {"order": jnp.array([1, 0])},
        carry=lambda params, batch_shape=(): {
            "h": jnp.zeros((*batch_shape, I)),
            "t": jnp.zeros(batch_shape, jnp.int32),
        },
        project=lambda params, x: x[..., params["order"]],
        step=lambda params, c, x: ({"h": c["h"] + x, "t": c["t"] + 1}, c["h"] + x),
    )
    xs, lengths = np.random.default_rng(0).normal(size=(6, 2, I)).astype(np.float32), np.array([6, 2])
    params = cell.init(jax.random.key(0), I, I)
    carry, _ = gru_jax.scan(cell, params, xs[:3], seq_lengths=np.minimum(lengths, 3))
    carry, ys = gru_jax.scan(cell, params, xs[3:], carry, seq_lengths=np.maximum(lengths - 3, 0))
    assert np.array_equal(carry["t"], lengths)
    assert_close(carry["h"][0], xs[:, 0, ::-1].sum(0), atol=1e-5)
    assert_close(ys[:, 0], np.cumsum(xs[:, 0, ::-1], 0)[3:], atol=1e-5)
    with pytest.raises(TypeError, match=r"carry\['t'\]: expected int32, got float32"):
        gru_jax.scan(cell, params, xs, carry | {"t": np.zeros(2, np.float32)})


def test_carry_has_the_shape_and_dtype_of_the_state(case, x64):
    for dtype, wanted in ((np.float64, np.float64), (np.float32, np.float32), (jnp.bfloat16, np.float32)):
        for leaf in jax.tree.leaves(case.cell.carry(case.params(dtype=dtype), batch_shape=(2, 5))):
            assert leaf.shape == (2, 5, H)
            assert leaf.dtype == wanted
            assert not np.any(leaf)
