"""GRU-D: what is not observed, how it decays and begins, time gaps, and in Flax. Laws: test_input_shapes."""

import itertools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gru_jax
from tests.cases import assert_close
from tests.input_cases import GRU_D, I, leaves
from tests.refusals import refused

KEY = jax.random.key(0)
B, T, H = 2, 4, 3
CASE = GRU_D[3]
CELL = gru_jax.gru_d()


def test_the_paper_is_the_default():
    assert CELL is CASE.cell
    assert CASE.name == "gru_d-before-write"


def test_what_is_not_observed_does_not_matter_at_all():
    """To the bit, in values and gradients; a float mask is the same as a bool one."""
    params, xs = CASE.params(dtype=np.float32), CASE.xs((T, B), dtype=np.float32)

    @jax.jit
    def run(params, x, observed, gap):
        def loss(params, x, gap):
            inputs = gru_jax.GRUDInputs(x, observed, gap)
            final, ys = gru_jax.scan(CELL, params, inputs)
            return jnp.sum(ys**2) + jnp.sum(final.last), (final, ys)

        return jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)(params, x, gap)

    expected = run(params, np.where(xs.observed, xs.x, 0), xs.observed, xs.gap)
    assert all(np.all(np.isfinite(leaf)) for leaf in leaves(expected))
    assert not np.any(np.asarray(expected[1][1])[~xs.observed])
    masks = (xs.observed, xs.observed.astype(np.float32))
    for garbage, observed in itertools.product((np.nan, np.inf, -1e30), masks):
        found = run(params, np.where(xs.observed, xs.x, np.float32(garbage)), observed, xs.gap)
        assert_close(found, expected)


def test_the_last_value_fades_to_the_mean_and_the_state_to_zero(x64):
    """By hand: gates held at 1/2, a candidate that is tanh of the imputed value, decays of known rates."""
    zero = jax.tree.map(np.zeros_like, CELL.init(KEY, 1, 1, np.float64))
    params = zero._replace(
        w_i=np.array([[0.0, 0.0, 1.0]]),
        w_decay_x=np.array([0.5]),
        b_decay_x=np.array([0.1]),
        w_decay_h=np.array([[0.2]]),
    )
    x = np.array([[0.8], [np.nan], [np.nan]])
    gap = np.array([[0.0], [1.0], [3.0]])
    carry, ys = gru_jax.scan(CELL, params, gru_jax.GRUDInputs(x, ~np.isnan(x), gap))
    h, expected = 0.0, []
    for seen, decay in ((0.8, 1.0), (0.8 * np.exp(-0.6), np.exp(-0.2)), (0.8 * np.exp(-1.6), np.exp(-0.6))):
        h = 0.5 * decay * h + 0.5 * np.tanh(seen)
        expected.append(h)
    assert_close(ys[:, 0], np.array(expected), atol=1e-15)
    assert_close(carry, gru_jax.GRUDCarry(np.array([h]), np.array([0.8])), atol=1e-15)


def test_before_any_observation_a_variable_is_its_mean(x64):
    """x̂ = 0: nothing of w_i is seen, whatever it is."""
    params, xs = CASE.params(), CASE.xs((T, B))
    unseen = xs._replace(observed=np.zeros_like(xs.observed))
    _, ys = gru_jax.scan(CELL, params, unseen)
    _, others = gru_jax.scan(CELL, params._replace(w_i=10 * params.w_i), unseen)
    assert_close(ys, others)


def test_how_it_begins():
    """Decays begin with rates in 0..1 for a variable and 0..1/I for the state, all of which learn."""
    params = gru_jax.gru_d(update_bias=1.5).init(KEY, 5, 64)
    assert params.w_decay_x.shape == (5,)
    assert np.all((params.w_decay_x > 0) & (params.w_decay_x < 1))
    assert np.all((params.w_decay_h > 0) & (params.w_decay_h < 0.2))
    assert np.isclose(np.mean(params.w_decay_h), 0.1, rtol=0.1)
    assert np.array_equal(params.b_i, np.repeat([0.0, 1.5, 0.0], 64))
    xs = CASE.xs((6, 4), dtype=np.float32)
    params = CELL.init(KEY, I, H)
    gradient = jax.jit(jax.grad(lambda p: jnp.sum(gru_jax.scan(CELL, p, xs)[1] ** 2)))(params)
    assert all(np.all(np.asarray(g) != 0) for g in gradient[-4:])


def gaps_by_loop(times, observed, resets):
    """The paper's recursion, one variable at a time."""
    gaps = np.zeros(observed.shape)
    for t, b, d in np.ndindex(observed.shape):
        if t > 0 and not resets[t, b]:
            gaps[t, b, d] = times[t, b] - times[t - 1, b] + (0.0 if observed[t - 1, b, d] else gaps[t - 1, b, d])
    return gaps


@hypothesis.given(seed=st.integers(0, 999), rate=st.sampled_from([0.0, 0.3, 0.8]))
def test_time_gaps_are_the_recursion(seed, rate):
    rng = np.random.default_rng(seed)
    times, observed = np.cumsum(rng.exponential(size=(7, 3)), axis=0), rng.random((7, 3, 2)) < rate
    resets = rng.random((7, 3)) < 0.25
    times -= 100.0 * np.cumsum(resets, axis=0)  # Clocks start anew, so that times fall.
    with jax.enable_x64(True):
        assert_close(compiled_gaps(times, observed, resets), gaps_by_loop(times, observed, resets), atol=1e-12)
        once = compiled_gaps(times, observed.astype(np.float64))
        assert_close(once, gaps_by_loop(times, observed, np.zeros_like(resets)), atol=1e-12)


compiled_gaps = jax.jit(gru_jax.time_gaps)


@pytest.mark.parametrize("batch", [(), (2, 2)])
def test_time_gaps_of_any_batch_are_those_of_its_rows(batch, x64):
    rng = np.random.default_rng(0)
    times, observed, resets = rng.random((5, *batch)), rng.random((5, *batch, 3)) < 0.4, rng.random((5, *batch)) < 0.3
    found = np.asarray(gru_jax.time_gaps(times, observed, resets))
    mapped = compiled_gaps
    for _ in batch:
        mapped = jax.vmap(mapped, 1, 1)
    assert_close(mapped(times, observed, resets), found)
    for index in np.ndindex(batch):
        row = (slice(None), *index, None)
        assert_close(found[row], gaps_by_loop(times[row], observed[row], resets[row]), atol=1e-12)


def test_time_gaps_of_nothing_and_of_padding():
    assert gru_jax.time_gaps(np.zeros((0, B), np.float32), np.zeros((0, B, I), bool)).shape == (0, B, I)
    times = np.array([0.0, 1.0, 3.0, np.nan], np.float32)
    observed = np.array([[1, 0], [0, 1], [0, 0], [0, 0]], bool)
    assert_close(gru_jax.time_gaps(times, observed)[:3], np.float32([[0, 0], [1, 1], [3, 2]]))


def test_packed_series_with_resets_are_the_series_apart(x64):
    """Gaps and states both start anew."""
    params, xs = CASE.params(), CASE.xs((5, 1))
    times, resets = np.array([0.0, 1.0, 2.5, 0.0, 4.0])[:, None], np.array([0, 0, 0, 1, 0], bool)[:, None]

    def run(piece, resets=None):
        x, observed, _ = jax.tree.map(lambda leaf: leaf[piece], xs)
        gap = gru_jax.time_gaps(times[piece], observed, resets)
        return CASE.scan(params, gru_jax.GRUDInputs(x, observed, gap), resets=resets)

    final, ys = run(slice(None), resets)
    (_, first), (last, second) = run(slice(0, 3)), run(slice(3, 5))
    assert_close((final, ys), (last, jnp.concatenate([first, second])), atol=1e-14)


def test_functions_nnx_and_linen_agree_to_the_bit():
    xs = CASE.xs((B, T), dtype=np.float32)
    options = {"seq_lengths": np.array([4, 2]), "resets": np.eye(B, T, 1, bool)}
    module = gru_jax.nnx.GRU(I, H, cell=CELL, rngs=nnx.Rngs(0))
    linen = gru_jax.linen.GRU(H, cell=CELL)
    variables = {"params": nnx.to_pure_dict(nnx.state(module, nnx.Param))}
    assert jax.tree.map(jnp.shape, linen.init(KEY, xs)) == jax.tree.map(jnp.shape, variables)
    time_first = {"seq_lengths": options["seq_lengths"], "resets": options["resets"].T}
    swapped = jax.tree.map(lambda leaf: leaf.swapaxes(0, 1), xs)
    carry, ys = gru_jax.scan_layers(CELL, module.params, swapped, **time_first)
    expected = carry, jnp.moveaxis(ys, 0, 1)
    assert_close(module(xs, **options), expected)
    assert_close(linen.apply(variables, xs, **options), expected)
    assert_close(module(swapped, time_major=True, **time_first), (carry, ys))
    half = gru_jax.nnx.GRU(I, H, cell=CELL, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))(xs, **options)
    assert half[1].dtype == jnp.bfloat16
    assert_close(half[1].astype(jnp.float32), expected[1], atol=0.05)


def test_a_cell_of_flax_takes_one_step_on_it():
    step = jax.tree.map(lambda leaf: leaf[0], CASE.xs((T, B), dtype=np.float32))
    module = gru_jax.nnx.GRUCell(I, H, cell=CELL, rngs=nnx.Rngs(0))
    carry = CASE.carry((B,), dtype=np.float32)
    expected = CELL(module.params, carry, step)
    assert_close(module(carry, step), expected)
    variables = {"params": nnx.to_pure_dict(nnx.state(module, nnx.Param))}
    assert_close(gru_jax.linen.GRUCell(H, cell=CELL).apply(variables, carry, step), expected)


PARAMS = CELL.init(KEY, I, H)
XS = CASE.xs((T, B), dtype=np.float32)
TIMES = np.zeros((T, B), np.float32)


def scan(**changes):
    return gru_jax.scan(CELL, PARAMS, XS._replace(**changes))


MISTAKES = {
    "one array": (
        lambda: gru_jax.scan(CELL, PARAMS, XS.x),
        TypeError,
        ["xs:", "GRUDInputs(x, observed, gap)", "one array", "put its arrays into"],
    ),
    "a dict": (lambda: gru_jax.scan(CELL, PARAMS, XS._asdict()), TypeError, ["xs:", "GRUDInputs(", "dict"]),
    "a dict for linen": (
        lambda: gru_jax.linen.GRU(H, cell=CELL).init(KEY, XS._asdict()),
        TypeError,
        ["xs:", "GRUDInputs(", "dict"],
    ),
    "width of x": (
        lambda: scan(x=np.zeros((T, B, 7), np.float32)),
        ValueError,
        ["xs.x:", "(T, *B, 2)", "(4, 2, 7)", "in_features=7"],
    ),
    "width of gap": (
        lambda: scan(gap=np.zeros((T, B, 1), np.float32)),
        ValueError,
        ["xs.gap:", "expected shape (4, 2, 2)", "xs.x", "(4, 2, 1)", "broadcast"],
    ),
    "time of gap": (lambda: scan(gap=XS.gap[:3]), ValueError, ["xs.gap:", "expected shape (4, 2, 2)", "(3, 2, 2)"]),
    "integer mask": (
        lambda: scan(observed=XS.observed.astype(int)),
        TypeError,
        ["xs.observed:", "float or bool", "int", "astype(bool)"],
    ),
    "bool x": (lambda: scan(x=XS.observed), TypeError, ["xs.x:", "float", "bool", "astype"]),
    "no mask": (lambda: scan(observed=None), TypeError, ["xs.observed:", "array", "NoneType"]),
    "params of a gru": (
        lambda: gru_jax.scan(CELL, gru_jax.gru().init(KEY, I, H), XS),
        TypeError,
        ["params:", "GRUDParams", "GRUParams", "init"],
    ),
    "width of a decay": (
        lambda: gru_jax.scan(CELL, PARAMS._replace(w_decay_h=np.zeros((I, 9), np.float32)), XS),
        ValueError,
        ["params.w_decay_h:", "(I, H)", "(2, 9)", "init"],
    ),
    "a carry without memory": (
        lambda: gru_jax.scan(CELL, PARAMS, XS, np.zeros((B, H), np.float32)),
        TypeError,
        ["carry:", "GRUDCarry(h, last)", "one array", "cell.carry"],
    ),
    "last of another width": (
        lambda: gru_jax.scan(
            CELL, PARAMS, XS, CASE.carry((B,), dtype=np.float32)._replace(last=np.zeros((B, 5), np.float32))
        ),
        ValueError,
        ["carry.last:", "(2, 2)", "(2, 5)", "cell.carry"],
    ),
    "one step": (
        lambda: CELL(PARAMS, CELL.carry(PARAMS, batch_shape=(B,)), XS._replace(gap=XS.gap[0])),
        ValueError,
        ["x.gap:", "expected shape (4, 2, 2)", "(2, 2)"],
    ),
    "layers": (
        lambda: gru_jax.init_layers(CELL, KEY, I, H, num_layers=2),
        ValueError,
        ["num_layers:", "'gru_d'", "GRUDInputs(x, observed, gap)", "scan_layers"],
    ),
    "layers of params": (
        lambda: gru_jax.scan_layers(CELL, ((PARAMS,), (PARAMS,)), XS),
        ValueError,
        ["num_layers:", "'gru_d'", "one array"],
    ),
    "decay_init": (lambda: gru_jax.gru_d(decay_init=0.1), TypeError, ["decay_init:", "function", "0.1"]),
    "integer times": (
        lambda: gru_jax.time_gaps(TIMES.astype(int), XS.observed),
        TypeError,
        ["times:", "float", "int", "astype"],
    ),
    "times of another shape": (
        lambda: gru_jax.time_gaps(TIMES[:3], XS.observed),
        ValueError,
        ["observed:", "(3, 2, I)", "(4, 2, 2)", "variables last"],
    ),
    "resets of time_gaps": (
        lambda: gru_jax.time_gaps(TIMES, XS.observed, np.zeros(T, bool)),
        ValueError,
        ["resets:", "(4, 2)", "(4,)", "broadcast"],
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named(name):
    mistake, kind, words = MISTAKES[name]
    with refused(kind, words):
        mistake()


def test_float64_does_not_mix(x64):
    with pytest.raises(TypeError, match=r"xs\.gap: expected the precision of the params.*float32.*got float64"):
        gru_jax.scan(CELL, CELL.init(KEY, I, H, np.float32), XS._replace(gap=XS.gap.astype(np.float64)))


def test_gaps_that_half_precision_does_not_hold():
    """In seconds a gap of a day is beyond float16; the decay is then complete, and gradients are numbers."""
    cell = gru_jax.gru_d()
    params = cell.init(jax.random.key(0), 3, 5)
    xs = gru_jax.GRUDInputs(jnp.ones((4, 2, 3), jnp.float16), jnp.ones((4, 2, 3), bool), jnp.full((4, 2, 3), 86400.0))

    def total(params, xs):
        return jnp.sum(jnp.astype(gru_jax.scan(cell, params, xs)[1], jnp.float32))

    model = gru_jax.linen.GRU(5, cell=cell, dtype=jnp.float16)
    rows = jax.tree.map(lambda leaf: jnp.moveaxis(jnp.astype(leaf, jnp.float32), 0, 1), xs)
    variables = model.init(jax.random.key(0), rows)
    by_module = jax.grad(lambda v: jnp.sum(jnp.astype(model.apply(v, rows)[1], jnp.float32)))(variables)
    for leaf in jax.tree.leaves((jax.grad(total)(params, xs), by_module)):
        assert np.isfinite(leaf).all()
    np.testing.assert_array_equal(total(params, xs), total(params, xs._replace(gap=10 * xs.gap)))


def test_a_carry_of_numpy_params_is_checked_in_the_precision_of_the_day():
    """What was found in 32 bits is not what is asked for in 64."""
    cell = gru_jax.gru_d()
    for bits, wide in ((jnp.float32, False), (jnp.float64, True)):
        with jax.enable_x64(wide):
            params = jax.tree.map(np.float64, cell.init(jax.random.key(0), 3, 5))
            carry = jax.tree.map(
                lambda leaf, bits=bits: jnp.zeros(leaf.shape, bits), cell.carry(params, batch_shape=(2,))
            )
            xs = gru_jax.GRUDInputs(np.ones((4, 2, 3), bits), np.ones((4, 2, 3), bool), np.ones((4, 2, 3), bits))
            assert gru_jax.scan(cell, params, xs, carry)[1].dtype == bits
