"""The laws under JAX's modes: what it checks for NaN, without jit, on meshes of explicit axes, under shard_map."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gru_jax
from tests.cases import KINDS, H, loose, relative_error
from tests.places import CHECKOUT

T, B = 4, 3
LENGTHS = np.array([4, 2, 0])
RESETS = np.array([[0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]], bool).T


def problem(case):
    (params, xs, carry, restored), weights = case.problem(T, B)
    xs = np.where((np.arange(T)[:, None] < LENGTHS)[..., None], xs, np.nan)
    return (params, xs, carry, restored), weights


def scalar(case, weights):
    def value(arguments):
        params, xs, carry, restored = arguments
        final, ys = case.scan(params, xs, carry, seq_lengths=LENGTHS, resets=RESETS, reset_carry=restored)
        seen = [jnp.sum(w * c) for w, c in zip(weights[1], jax.tree.leaves(final), strict=True)]
        return jnp.sum(weights[0] * ys) + sum(seen), (final, ys)

    return value


def expected(case, arguments, weights):
    params, xs, *states = arguments
    there = (params, np.nan_to_num(xs), *states)
    return case.expected(there, weights, np.arange(T)[:, None] < LENGTHS, RESETS)


def run(case, arguments, weights):
    (_, values), gradients = jax.value_and_grad(scalar(case, weights), has_aux=True)(arguments)
    return values, gradients


def test_nan_in_the_padding_is_nothing_to_debug(kind, x64):
    """Neither in values nor in gradients, whether the caller compiles or not."""
    arguments, weights = problem(kind)
    wanted = expected(kind, arguments, weights)
    with jax.debug_nans(True):
        for call in (run, jax.jit(run, static_argnums=0)):
            assert relative_error(call(kind, arguments, weights), wanted) < 1e-11


def test_nan_in_a_stack_and_in_a_state_before_a_reset():
    cell = gru_jax.gru()
    params = gru_jax.init_layers(cell, jax.random.key(0), 2, H, num_layers=2, bidirectional=True)
    xs = np.where((np.arange(T)[:, None] < LENGTHS)[..., None], np.ones((T, B, 2), np.float32), np.nan)
    value = lambda p: jnp.sum(gru_jax.scan_layers(cell, p, xs, seq_lengths=LENGTHS)[1] ** 2)  # noqa: E731
    clean = jax.grad(lambda p: jnp.sum(gru_jax.scan_layers(cell, p, np.nan_to_num(xs), seq_lengths=LENGTHS)[1] ** 2))
    forward = tuple((layer[0],) for layer in params[:1])
    broken = jax.tree.map(lambda h: h.at[1].set(jnp.nan), gru_jax.carry_layers(cell, forward, (B,)))
    with jax.debug_nans(True):
        assert relative_error(jax.grad(value)(params), clean(params)) < 1e-6
        carry, y = gru_jax.step_layers(cell, forward, broken, jnp.ones((B, 2)), reset=np.array([False, True, False]))
    assert np.all(np.isfinite(y))
    assert np.all(np.isfinite(carry[0][0]))


def test_without_jit(kind, x64):
    arguments, weights = problem(kind)
    wanted = expected(kind, arguments, weights)
    with jax.disable_jit():
        assert relative_error(run(kind, arguments, weights), wanted) < 1e-11
        carry, ys = jax.vmap(lambda x: kind.scan(arguments[0], x), 1, (0, 1))(np.nan_to_num(arguments[1]))
        params, x = arguments[0], np.nan_to_num(arguments[1])
        zero = loose(jax.tree.map(np.asarray, kind.cell.carry(params, batch_shape=(B,))))
        assert relative_error((carry, ys), kind.run(tuple(params), x, zero)) < 1e-12


@pytest.mark.parametrize("remat", [None, 2])
def test_remat_and_reverse_without_jit(remat, x64):
    case = next(case for case in KINDS if case.backend == "fused")
    (params, xs, carry, _), _ = case.problem(T, B)
    with jax.disable_jit():
        found = case.scan(params, xs, carry, reverse=True, remat=remat)
    assert relative_error(found, case.run(tuple(params), xs, carry, reverse=True)) < 1e-12


def test_on_devices():
    """Every cell and backend on a mesh of explicit axes and under shard_map, without a carry made by hand."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.sharded_laws"],
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        check=False,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )
    assert (done.returncode, done.stdout.strip()) == (0, "done"), done.stdout + done.stderr
