"""Single steps of stacks, and resets in them, against the reference stepped by hand."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gru_jax
from tests import reference
from tests.cases import EQUATIONS, Case, H, I, assert_close, loose

CELLS = [Case(name, cell, step, "scan") for name, cell, step in EQUATIONS if name in ("gru-after-keep", "lstm", "rnn")]
DONE = np.array([False, True, False, True])


@pytest.fixture(params=CELLS, ids=str)
def case(request):
    return request.param


def stack_of(case, dtype=np.float32):
    return ((case.params(1, dtype),), (case.params(2, dtype, in_features=H),), (case.params(3, dtype, in_features=H),))


def stepped(case, params, carry, x, restored=None, reset=DONE):
    """The reference, layer by layer and row by row."""
    after = []
    for layer, ((p,), (state,)) in enumerate(zip(params, carry, strict=True)):
        rows = []
        for row, fresh in enumerate(reset):
            zero = jax.tree.map(lambda leaf: np.zeros_like(leaf[0]), loose(state))
            begin = zero if restored is None else jax.tree.map(lambda leaf, r=row: leaf[r], loose(restored[layer][0]))
            own = jax.tree.map(lambda leaf, r=row: np.asarray(leaf)[r], loose(state))
            rows.append(case.step(tuple(p), begin if fresh else own, x[row]))
        after.append(jax.tree.map(lambda *leaves: np.stack(leaves), *[carry for carry, _ in rows]))
        x = np.stack([y for _, y in rows])
    return after, x


def some_carry(params, case, value):
    zeros = gru_jax.carry_layers(case.cell, params, (4,))
    return jax.tree.map(
        lambda leaf: leaf + np.linspace(-value, value, leaf.size, dtype=leaf.dtype).reshape(4, H), zeros
    )


@pytest.mark.parametrize("restores", [False, True])
def test_a_step_with_resets_is_the_equations(case, restores):
    params, x = stack_of(case), case.xs((4,), dtype=np.float32)
    carry = some_carry(params, case, 0.5)
    restored = some_carry(params, case, 0.9) if restores else None
    found = gru_jax.step_layers(case.cell, params, carry, x, reset=DONE, reset_carry=restored)
    assert_close(found, stepped(case, params, carry, x, restored), atol=2e-6)
    alone = case.cell(params[0][0], carry[0][0], x, reset=DONE, reset_carry=restored and restored[0][0])
    assert_close(alone, stepped(case, params[:1], carry[:1], x, restored), atol=2e-6)


def test_steps_are_scan_layers(case):
    params, xs = stack_of(case), case.xs((5, 4), dtype=np.float32)
    resets = np.arange(20).reshape(5, 4) % 3 == 0
    carry, ys = gru_jax.carry_layers(case.cell, params, (4,)), []
    for x, reset in zip(xs, resets, strict=True):
        carry, y = gru_jax.step_layers(case.cell, params, carry, x, reset=reset)
        ys.append(y)
    assert_close((carry, np.stack(ys)), gru_jax.scan_layers(case.cell, params, xs, resets=resets), atol=2e-6)


def test_nan_before_a_reset_reaches_nothing(case):
    params, x = stack_of(case), case.xs((4,), dtype=np.float32)
    carry = some_carry(params, case, 0.5)
    broken = jax.tree.map(lambda leaf: leaf.at[1].set(jnp.nan), carry)
    value = lambda carry: jnp.sum(gru_jax.step_layers(case.cell, params, carry, x, reset=DONE)[1] ** 2)  # noqa: E731
    gradient = jax.grad(value)(broken)
    assert_close(
        gru_jax.step_layers(case.cell, params, broken, x, reset=DONE)[1], stepped(case, params, carry, x)[1], atol=2e-6
    )
    assert all(np.all(np.asarray(leaf)[DONE] == 0) for leaf in jax.tree.leaves(gradient))


def test_steps_of_no_batch_of_several_axes_and_under_vmap():
    case = CELLS[0]
    params, x = stack_of(case), case.xs((4,), dtype=np.float32)
    carry = some_carry(params, case, 0.5)
    run = functools.partial(gru_jax.step_layers, case.cell, params)
    whole = run(carry, x, reset=DONE)
    assert_close(jax.vmap(lambda c, x, r: run(c, x, reset=r))(carry, x, jnp.asarray(DONE)), whole, atol=1e-6)
    square = lambda tree: jax.tree.map(lambda leaf: leaf.reshape(2, 2, *leaf.shape[1:]), tree)  # noqa: E731
    assert_close(run(square(carry), square(x), reset=square(DONE)), square(whole), atol=1e-6)
    one = lambda tree: jax.tree.map(lambda leaf: leaf[2], tree)  # noqa: E731
    assert_close(run(one(carry), x[2]), one(whole), atol=1e-6)
    assert gru_jax.carry_layers(case.cell, params)[2][0].shape == (H,)


def test_one_carry_serves_every_row():
    """In single steps as in scans, for the start and for resets, with the gradient of what is shared."""
    case = CELLS[0]
    params, xs = case.params(dtype=np.float32), case.xs((5, 4), dtype=np.float32)
    start = np.linspace(-1, 1, H, dtype=np.float32)
    for shape in ((H,), (1, H)):
        shared, whole = start.reshape(shape), np.broadcast_to(start, (4, H)).copy()
        assert_close(case.cell(params, shared, xs[0]), case.cell(params, whole, xs[0]))
        for backend in ("scan", "fused"):
            value = lambda c, b=backend: jnp.sum(gru_jax.scan(case.cell, params, xs, c, backend=b)[1] ** 2)  # noqa: E731
            assert_close(value(shared), value(whole), rtol=1e-6)
            assert_close(jax.grad(value)(shared).reshape(H), jax.grad(value)(whole).sum(0), rtol=1e-5)


@pytest.mark.parametrize("remat", [None, 2])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("backend", ["scan", "fused"])
def test_what_a_reset_restores_may_differ_by_step(backend, reverse, remat, x64):
    """The value at the reset's own index, in both directions; gradients by complex step."""
    case = CELLS[0]
    rng = np.random.default_rng(2)
    params, xs, carry = case.params(), case.xs((6, 3)), np.full((3, H), 0.2)
    restored, weights = rng.normal(size=(6, 3, H)), rng.normal(size=(6, 3, H))
    valid, resets = rng.random((6, 3)) < 0.7, rng.random((6, 3)) < 0.5

    def ours(restored):
        options = {"mask": valid, "resets": resets, "reverse": reverse, "remat": remat, "backend": backend}
        final, ys = gru_jax.scan(case.cell, params, xs, carry, reset_carry=restored, **options)
        return jnp.sum(weights * ys) + jnp.sum(final), (final, ys)

    def theirs(restored):
        final, ys = reference.run(case.step, tuple(params), xs, carry, valid, resets, restored, reverse)
        return np.sum(weights * ys) + np.sum(final)

    (_, values), gradient = jax.jit(jax.value_and_grad(ours, has_aux=True))(restored)
    assert_close(
        values, reference.run(case.step, tuple(params), xs, carry, valid, resets, restored, reverse), atol=1e-12
    )
    assert_close(gradient, reference.complex_step(theirs, [restored], 0), atol=1e-11)
    shared = restored[:, :1]
    whole = np.broadcast_to(shared, restored.shape).copy()
    assert_close(ours(shared)[0], ours(whole)[0], rtol=1e-12)


def test_a_state_of_two_parts_restored_by_step(x64):
    """One part by step, the other the same for all."""
    case = next(case for case in CELLS if case.name == "lstm")
    params, xs, carry = case.params(), case.xs((5, 2)), case.carry((2,))
    h = np.random.default_rng(4).normal(size=(5, 2, H))
    c = np.linspace(-1, 1, H)
    resets = np.array([[0, 1, 0, 1, 0], [1, 0, 0, 0, 1]], bool).T
    found = gru_jax.scan(case.cell, params, xs, carry, resets=resets, reset_carry=gru_jax.LSTMCarry(h, c))
    whole = (h, np.broadcast_to(c, h.shape))
    assert_close(found, reference.run(case.step, tuple(params), xs, loose(carry), None, resets, whole), atol=1e-12)


def test_auto_takes_the_shorter_program_for_one_step():
    cell = gru_jax.gru()
    params = gru_jax.init_layers(cell, jax.random.key(0), I, H, num_layers=3)

    def run(steps, backend):
        function = lambda xs: gru_jax.scan_layers(cell, params, xs, backend=backend)  # noqa: E731
        return jax.jit(function).lower(jnp.ones((steps, 1, I))).as_text()

    assert run(1, "auto") == run(1, "scan")
    assert run(2, "auto") == run(2, "fused")


MISTAKES = [
    (lambda c, p, s, x: gru_jax.step_layers(c, ((p[0][0],) * 2,), (s[0] * 2,), x), ValueError, "one direction a layer"),
    (lambda c, p, s, x: gru_jax.step_layers(c, p, s[:1], x), ValueError, "carry: expected directions per layer"),
    (lambda c, p, s, x: gru_jax.step_layers(c, p, None, x), TypeError, r"carry: expected carry\[layer\]"),
    (lambda c, p, s, x: gru_jax.step_layers(c, p, s, x[:, :1]), ValueError, r"x: expected shape \(\*B, 2\)"),
    (lambda c, p, s, x: gru_jax.step_layers(c, p, s, x, reset=np.ones(4)), TypeError, "reset: expected bool"),
    (lambda c, p, s, x: gru_jax.step_layers(c, p, s, x, reset=DONE[:2]), ValueError, r"reset: expected shape \(4,"),
    (lambda c, p, s, x: gru_jax.step_layers(c, p, s, x[:2]), ValueError, r"carry\[0\]\[0\]: expected shape \(2, 3"),
    (
        lambda c, p, s, x: gru_jax.step_layers(c, p, s, np.stack([x] * 4)),
        ValueError,
        r"carry: .*one step of a batch of 2",
    ),
    (
        lambda c, p, s, x: c(p[0][0], s[0][0], np.stack([x] * 4)),
        ValueError,
        r"carry: expected shape \(4, 4, 3\), or \(3,",
    ),
    (lambda c, p, s, x: gru_jax.step_layers(c, p[1:], s[1:], x), ValueError, r"x: expected shape \(\*B, 3\)"),
    (lambda c, p, s, x: gru_jax.step_layers(c, (p[0], p[0]), s[:2], x), ValueError, r"params\[1\]\[0\]: expected"),
    (lambda c, p, s, x: gru_jax.carry_layers(c, p[0][0]), TypeError, r"params: expected params\[layer\]"),
    (lambda c, p, s, x: gru_jax.carry_layers(c, p, 4), TypeError, "batch_shape: expected a tuple"),
    (lambda c, p, s, x: c(p[0][0], s[0][0], x, reset=[True] * 4), TypeError, "reset: expected an array"),
    (
        lambda c, p, s, x: c({"w_i": p[0][0].w_i, "w_h": p[0][0].w_h}, s[0][0], x),
        TypeError,
        r"write GRUParams\(\*\*params, b_i=None, b_h=None\)",
    ),
    (
        lambda c, p, s, x: c(p[0][0]._replace(w_h=nn.Partitioned(p[0][0].w_h, (None, "d"))), s[0][0], x),
        TypeError,
        r"params.w_h: expected an array, got it in a Partitioned; .* flax.linen.meta.unbox",
    ),
    *(
        (
            lambda c, p, s, x, value=value: c(p[0][0], value, x),
            ValueError,
            r"carry: expected shape \(4, 3\) or one that broadcasts to it over the batch, got",
        )
        # Rows without features, which would be spread over all of them, and other misfits.
        for value in (np.ones((4, 1), np.float32), np.ones(1, np.float32), np.ones((1, 1), np.float32), np.ones(4, "f"))
    ),
    (
        lambda c, p, s, x: gru_jax.scan(c, p[0][0], x[None], reset_carry=np.ones((1, 4, 1), np.float32)),
        ValueError,
        r"reset_carry: expected shape \(4, 3\), or \(1, 4, 3\) with one for each step",
    ),
    (
        lambda c, p, s, x: gru_jax.scan(c, p[0][0], x[None], reset_carry=np.ones((2, 4, 3), np.float32)),
        ValueError,
        r"reset_carry: expected shape \(4, 3\), or \(1, 4, 3\) with one for each step",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), MISTAKES)
def test_what_does_not_fit_is_named(call, error, message):
    case = CELLS[0]
    params = stack_of(case)
    with pytest.raises(error, match=message):
        call(case.cell, params, some_carry(params, case, 0.5), case.xs((4,), dtype=np.float32))
