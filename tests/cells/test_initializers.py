"""What fresh params look like."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gru_jax

MAKERS = [gru_jax.gru, gru_jax.lstm, gru_jax.rnn, gru_jax.min_gru]


@pytest.mark.parametrize(("make", "gates"), [(gru_jax.gru, 3), (gru_jax.lstm, 4), (gru_jax.rnn, 1)])
def test_each_recurrent_block_is_orthogonal(make, gates):
    params = make().init(jax.random.key(0), in_features=8, features=32)
    blocks = np.split(np.asarray(params.w_h), gates, axis=-1)
    for block in blocks:
        np.testing.assert_allclose(block @ block.T, np.eye(32), atol=1e-5)
    assert len({block.tobytes() for block in blocks}) == gates


@pytest.mark.parametrize("make", MAKERS)
def test_input_weights_are_lecun_normal_and_biases_zero(make):
    params = make().init(jax.random.key(0), in_features=400, features=50)
    assert np.std(params.w_i) == pytest.approx(0.05, rel=0.02)
    assert abs(np.mean(params.w_i)) < 0.002
    assert not np.any(params.b_i)
    assert not np.any(getattr(params, "b_h", 0.0))


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_params_have_the_dtype_asked_for(make, dtype):
    params = make(chrono_span=50).init(jax.random.key(0), 3, 4, dtype) if make in (gru_jax.gru, gru_jax.lstm) else None
    params = params or make().init(jax.random.key(0), 3, 4, dtype)
    assert {leaf.dtype for leaf in params} == {jnp.dtype(dtype)}


def test_a_key_decides_the_params():
    first, same, other = (gru_jax.gru().init(jax.random.key(seed), 3, 4) for seed in (0, 0, 1))
    old_style = gru_jax.gru().init(jax.random.PRNGKey(0), 3, 4)
    assert np.array_equal(first.w_i, same.w_i)
    assert np.array_equal(first.w_i, old_style.w_i)
    assert not np.array_equal(first.w_i, other.w_i)


def test_update_bias():
    params = gru_jax.gru(update_bias=1.5, bias_init=jax.nn.initializers.ones).init(jax.random.key(0), 3, 4)
    assert np.array_equal(params.b_i, [1] * 4 + [1.5] * 4 + [1] * 4)
    assert np.array_equal(params.b_h, [1] * 4 + [0] * 4 + [1] * 4)
    params = gru_jax.min_gru(update_bias=-2.0).init(jax.random.key(0), 3, 4)
    assert np.array_equal(params.b_i, [-2] * 4 + [0] * 4)


def test_forget_bias():
    params = gru_jax.lstm(forget_bias=1.0).init(jax.random.key(0), 3, 2)
    assert np.array_equal(params.b_i, [0, 0, 1, 1, 0, 0, 0, 0])
    assert not np.any(params.b_h)


def test_chrono_spreads_memories_over_the_span():
    """z kept with probability σ(b) forgets over 1 / (1 - σ(b)) steps, which should be uniform over 2..span."""
    span, features = 1000, 4000
    cheap = {"chrono_span": span, "recurrent_init": jax.nn.initializers.zeros}
    keep = gru_jax.gru(**cheap).init(jax.random.key(0), 3, features)
    steps = 1 / (1 - 1 / (1 + np.exp(-np.asarray(keep.b_i, np.float64)[features : 2 * features])))
    assert steps.min() > 1.9
    assert steps.max() < span + 1
    np.testing.assert_allclose(np.quantile(steps, [0.25, 0.5, 0.75]), [250, 500, 750], rtol=0.05)
    assert not np.any(keep.b_i[:features])
    assert not np.any(keep.b_i[2 * features :])
    write = gru_jax.gru(**cheap, update_gate="write").init(jax.random.key(0), 3, features)
    assert np.array_equal(write.b_i, -keep.b_i)


def test_chrono_of_the_lstm_ties_input_to_forget_gate():
    i, f, g, o = np.split(np.asarray(gru_jax.lstm(chrono_span=100).init(jax.random.key(0), 3, 50).b_i), 4)
    assert np.all(f >= 0)
    assert np.all(f <= np.log(99))
    assert np.array_equal(i, -f)
    assert not np.any(g)
    assert not np.any(o)
    assert gru_jax.min_gru(chrono_span=100).init(jax.random.key(0), 3, 50).b_i[:50].max() <= 0


def test_an_initialiser_of_ones_own_is_called_once_a_gate():
    shapes = []

    def kernel_init(key, shape, dtype):
        shapes.append(shape)
        return jnp.full(shape, len(shapes), dtype)

    params = gru_jax.gru(kernel_init=kernel_init).init(jax.random.key(0), 2, 3)
    assert shapes == [(2, 3)] * 3
    assert np.array_equal(params.w_i[0], [1, 1, 1, 2, 2, 2, 3, 3, 3])
