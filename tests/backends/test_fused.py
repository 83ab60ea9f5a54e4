"""What backend "fused" does beyond the laws: long runs go over time in chunks, wide layers keep their activations.

Compared with backend "scan", plain autodiff of the cell's step, which the laws hold against the NumPy reference.
"""

import functools
import re

import jax
import jax.export
import jax.extend.core
import jax.numpy as jnp
import numpy as np
import pytest

import gru_jax
from tests.cases import relative_error

CELLS = {
    f"{'after' if after else 'before'}-{gate}": gru_jax.gru(reset_after=after, update_gate=gate)
    for after in (True, False)
    for gate in ("keep", "write")
}
# What is kept of a step and how many steps make a chunk depends on the sizes: (T, B, I, H).
SHAPES = {
    "one chunk": (19, 2, 3, 4),
    "chunks and a rest": (67, 32, 3, 256),
    "chunks alone": (66, 32, 3, 256),
    "activations kept": (11, 2, 510, 4),
    "activations kept, chunks and a rest": (67, 32, 257, 256),
}
OPTIONS = {
    "plain": {},
    "reverse": {"reverse": True},
    "masks": {"mask": True, "resets": True},
    "masks in reverse": {"mask": True, "resets": True, "reverse": True, "unroll": 2},
}


def problem(cell, shape, dtype=np.float64):
    T, B, I, H = shape  # noqa: E741
    rng = np.random.default_rng(T)
    shapes = jax.eval_shape(lambda: cell.init(jax.random.key(0), I, H))
    draw = lambda shape, scale=1.0: jnp.asarray(rng.normal(scale=scale, size=shape).astype(dtype))  # noqa: E731
    params = type(shapes)(*(draw(leaf.shape, leaf.shape[0] ** -0.5) for leaf in shapes))
    return (params, draw((T, B, I)), draw((B, H)), draw((B, H))), draw((T, B, H)), draw((B, H))


def loss(cell, options, backend, weights, arguments):
    params, xs, carry, restored = arguments
    rng = np.random.default_rng(5)
    options = dict(options)
    if options.pop("mask", False):
        options["mask"] = rng.random(xs.shape[:2]) < 0.8
    if options.pop("resets", False):
        options |= {"resets": rng.random(xs.shape[:2]) < 0.2, "reset_carry": restored}
    final, ys = gru_jax.scan(cell, params, xs, carry, backend=backend, **options)
    return jnp.sum(weights[0] * ys) + jnp.sum(weights[1] * final), (final, ys)


def run(cell, options, backend, weights, arguments):
    return jax.jit(
        jax.value_and_grad(functools.partial(loss, CELLS[cell], OPTIONS[options], backend, weights), has_aux=True)
    )(arguments)


@pytest.mark.parametrize(
    ("cell", "shape", "options"),
    [
        ("after-keep", "chunks alone", "plain"),
        ("after-keep", "chunks and a rest", "masks"),
        ("before-keep", "chunks and a rest", "masks in reverse"),
        ("after-keep", "activations kept, chunks and a rest", "masks"),
        *((cell, "activations kept", "masks in reverse") for cell in CELLS),
    ],
)
def test_values_and_gradients_are_those_of_scan(cell, shape, options, x64):
    arguments, *weights = problem(CELLS[cell], SHAPES[shape])
    expected = run(cell, options, "scan", weights, arguments)
    assert relative_error(run(cell, options, "fused", weights, arguments), expected) < 1e-12


@pytest.mark.parametrize(
    ("cell", "shape"),
    [
        ("after-keep", "chunks and a rest"),
        ("after-keep", "activations kept"),
        ("before-write", "activations kept"),
    ],
)
def test_jvp_and_second_derivatives_are_those_of_scan(cell, shape, x64):
    arguments, *weights = problem(CELLS[cell], SHAPES[shape])
    direction = jax.tree.map(
        lambda leaf: jnp.cos(jnp.arange(leaf.size, dtype=leaf.dtype)).reshape(leaf.shape), arguments
    )

    def products(backend):
        value = lambda a: loss(CELLS[cell], OPTIONS["masks"], backend, weights, a)[0]  # noqa: E731
        gradient = jax.grad(value)
        dot = lambda a: sum(map(jnp.vdot, jax.tree.leaves(gradient(a)), jax.tree.leaves(direction)))  # noqa: E731
        forward_over_reverse = lambda a: jax.jvp(gradient, (a,), (direction,))[1]  # noqa: E731
        return jax.jit(lambda a: (jax.jvp(value, (a,), (direction,)), forward_over_reverse(a), jax.grad(dot)(a)))(
            arguments
        )

    assert relative_error(products("fused"), products("scan")) < 1e-10


@pytest.mark.parametrize("which", range(4))
def test_one_argument_differentiated_alone(which, x64):
    """Tangents that are zero by structure are left out, not multiplied: each argument is right on its own."""
    arguments, *weights = problem(CELLS["after-keep"], SHAPES["one chunk"])

    def gradient(backend):
        def alone(leaf):
            changed = (*arguments[:which], leaf, *arguments[which + 1 :])
            return loss(CELLS["after-keep"], OPTIONS["masks"], backend, weights, changed)[0]

        leaf = arguments[which]
        return jax.jit(lambda leaf: (jax.grad(alone)(leaf), jax.jvp(alone, (leaf,), (leaf,))))(leaf)

    assert relative_error(gradient("fused"), gradient("scan")) < 1e-12


@pytest.mark.parametrize("name", ["w_i", "w_h", "b_i", "b_h"])
def test_one_weight_trained_alone(name, x64):
    (params, *others), *weights = problem(CELLS["before-keep"], SHAPES["one chunk"])

    def gradient(backend):
        alone = lambda leaf: loss(  # noqa: E731
            CELLS["before-keep"], {}, backend, weights, (params._replace(**{name: leaf}), *others)
        )[0]
        return jax.jit(jax.grad(alone))(getattr(params, name))

    assert relative_error(gradient("fused"), gradient("scan")) < 1e-12


def test_weight_gradients_of_half_inputs_accumulate_in_float32():
    """Over many chunks; what autodiff of a scan adds up in bfloat16, step by step, is off by a per cent and more."""
    cell, shape = CELLS["after-keep"], SHAPES["chunks alone"]
    (params, xs, carry, _), *weights = problem(cell, shape, np.float32)
    narrow = xs.astype(jnp.bfloat16)

    def gradient(xs):
        ys = lambda p: gru_jax.scan(cell, p, xs, carry, backend="fused")[1].astype(jnp.float32)  # noqa: E731
        return jax.jit(jax.grad(lambda p: jnp.sum(weights[0] * ys(p))))(params)

    assert all(leaf.dtype == jnp.float32 for leaf in gradient(narrow))
    assert relative_error(gradient(narrow), gradient(narrow.astype(jnp.float32))) < 0.01


@pytest.mark.parametrize("cell", CELLS)
def test_nan_in_the_carry_of_a_padded_row_is_not_kept(cell, x64):
    (params, xs, carry, _), *_ = problem(CELLS[cell], SHAPES["activations kept"])
    carry = carry.at[1].set(jnp.nan)

    def value(params):
        return jnp.sum(gru_jax.scan(CELLS[cell], params, xs, carry, seq_lengths=jnp.array([11, 0]))[1])

    squares = lambda p: sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(jax.grad(value)(p)))  # noqa: E731
    for gradient in jax.jit(lambda p: (jax.grad(value)(p), jax.grad(squares)(p)))(params):
        assert all(np.all(np.isfinite(leaf)) for leaf in gradient)


def test_gradients_of_half_params_are_summed_in_float32():
    cell, shape = CELLS["after-keep"], SHAPES["chunks alone"]
    (params, xs, carry, _), *weights = problem(cell, shape, np.float32)
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    value = lambda p: jnp.sum(weights[0] * gru_jax.scan(cell, p, xs, carry, backend="fused")[1])  # noqa: E731
    found, expected = (
        jax.jit(jax.grad(value))(tree) for tree in (half, jax.tree.map(lambda leaf: leaf.astype(jnp.float32), half))
    )
    assert relative_error([leaf.astype(jnp.float32) for leaf in found], expected) < 2**-8


def test_gradient_of_an_empty_batch_is_zero():
    (params, *_), *_ = problem(CELLS["after-keep"], SHAPES["one chunk"], np.float32)
    value = lambda p: jnp.sum(gru_jax.scan(CELLS["after-keep"], p, jnp.zeros((5, 0, 3)))[1])  # noqa: E731
    assert all(np.all(leaf == 0) for leaf in jax.jit(jax.grad(value))(params))


@pytest.mark.parametrize("shape", ["7, b", "t, 2", "t, b"])
def test_sizes_may_be_symbolic(shape):
    (params, *_), *_ = problem(CELLS["after-keep"], SHAPES["one chunk"], np.float32)
    run = lambda xs: gru_jax.scan(CELLS["after-keep"], params, xs)[1]  # noqa: E731
    gradient = jax.grad(lambda xs: jnp.sum(run(xs) ** 2))
    symbolic = jax.ShapeDtypeStruct((*jax.export.symbolic_shape(shape), 3), jnp.float32)
    xs = jnp.asarray(np.random.default_rng(0).normal(size=(7, 2, 3)).astype(np.float32))
    for function in (run, gradient):
        exported = jax.export.export(jax.jit(function))(symbolic)
        assert relative_error(exported.call(xs), function(xs)) < 1e-6


def test_the_precision_around_the_call_reaches_the_derivatives():
    """JAX may trace the rule after the setting is gone: every product of the whole program still has it."""
    (params, xs, carry, _), *_ = problem(CELLS["after-keep"], SHAPES["one chunk"], np.float32)
    value = lambda p: jnp.sum(gru_jax.scan(CELLS["after-keep"], p, xs, carry, precision="highest")[1])  # noqa: E731
    text = jax.jit(jax.grad(value)).lower(params).as_text()
    products = [line for line in text.splitlines() if "stablehlo.dot_general" in line]
    assert len(products) > 12
    assert all("precision = [HIGHEST, HIGHEST]" in line for line in products)


@pytest.mark.parametrize("mapped", [(None, 1), (0, None), (0, 1)], ids=["rows", "params", "both"])
@pytest.mark.parametrize("remat", [None, 3])
def test_the_precision_around_the_call_reaches_what_vmap_maps(mapped, remat):
    """JAX maps the program after the setting is gone; and a setting that is current then must not leak in."""
    (params, xs, *_), *_ = problem(CELLS["after-keep"], SHAPES["one chunk"], np.float32)
    run = lambda p, x, how: gru_jax.scan(CELLS["after-keep"], p, x, precision=how, remat=remat)[1]  # noqa: E731
    if mapped[0] is not None:
        params = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), params)
        xs = xs if mapped[1] is None else xs[:, :2]
    for precision in ("highest", "high"):
        function = jax.jit(jax.vmap(lambda p, x, how=precision: run(p, x, how), mapped))
        with jax.default_matmul_precision("default"):
            text = function.lower(params, xs).as_text()
        products = [line for line in text.splitlines() if "stablehlo.dot_general" in line]
        assert len(products) >= 4
        assert all(f"precision = [{precision.upper()}, {precision.upper()}]" in line for line in products)


def test_vmap_makes_no_weight_gradient_per_row():
    """Nothing of the size B * H * H in a training step over a vmapped batch."""
    B, H = 64, 96
    cell = CELLS["after-keep"]
    params, xs = cell.init(jax.random.key(0), 3, H), jnp.ones((4, B, 3))
    rows = lambda p, x: jnp.sum(jax.vmap(lambda x: gru_jax.scan(cell, p, x)[1], 1, 1)(x) ** 2)  # noqa: E731
    compiled = jax.jit(jax.grad(rows)).lower(params, xs).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 4 * B * H * H
    assert f"{B},{H},{H}]" not in compiled.as_text()


def states_in(function, *arguments):
    """The shapes of the states that the runs in a function's jaxpr return."""

    def walk(jaxpr):
        for equation in jaxpr.eqns:
            if equation.primitive.name == "gru_states":
                yield equation.outvars[0].aval.shape
            else:
                for inner in jax.extend.core.jaxprs_in_params(equation.params):
                    yield from walk(inner)

    return list(walk(jax.make_jaxpr(function)(*arguments).jaxpr))


@pytest.mark.parametrize("options", [{}, {"reverse": True}, {"remat": 4}], ids=["plain", "reverse", "remat"])
@pytest.mark.parametrize("cell", ["after-keep", "before-write"])
def test_vmap_over_rows_is_the_batch(cell, options, x64):
    """Values and gradients; rows of one, rows of a batch of their own, and a reset_carry that all share."""
    (params, xs, carry, restored), *weights = problem(CELLS[cell], (9, 6, 3, 4))
    rng = np.random.default_rng(1)
    masks = {"mask": rng.random((9, 6)) < 0.8, "resets": rng.random((9, 6)) < 0.2}
    scan = lambda p, x, c, m, r: gru_jax.scan(CELLS[cell], p, x, c, reset_carry=r, **m, **options)  # noqa: E731
    one_by_one = jax.vmap(scan, in_axes=(None, 1, 0, 1, None), out_axes=(0, 1))

    def pairs(p, x, c, m, r):
        x, m = jax.tree.map(lambda leaf: leaf.reshape(9, 3, 2, *leaf.shape[2:]), (x, m))
        final, ys = jax.vmap(scan, in_axes=(None, 1, 0, 1, None), out_axes=(0, 1))(p, x, c.reshape(3, 2, 4), m, r)
        return final.reshape(6, 4), ys.reshape(9, 6, 4)

    def gradient(run):
        def value(p, x, c, r):
            final, ys = run(p, x, c, masks, r)
            return jnp.sum(weights[0] * ys) + jnp.sum(weights[1] * final), (final, ys)

        return jax.jit(jax.value_and_grad(value, argnums=(0, 1, 2, 3), has_aux=True))(params, xs, carry, restored[0])

    expected = gradient(scan)
    for run in (one_by_one, pairs):
        assert relative_error(gradient(run), expected) < 1e-12
    # ... and it is one run over all rows; of four steps at a time and the last one, with remat=4.
    whole = [(9, 1, 6, 4)] if "remat" not in options else [(4, 1, 6, 4), (1, 1, 6, 4)]
    for run in (one_by_one, pairs):
        assert states_in(run, params, xs, carry, masks, restored[0]) == whole


def test_vmap_over_params_and_rows_of_each(x64):
    """An ensemble of models, each on the same mapped rows."""
    cell = CELLS["after-keep"]
    (params, xs, *_), *weights = problem(cell, (7, 4, 3, 5))
    ensemble = jax.tree.map(lambda leaf: jnp.stack([leaf, 0.5 * leaf, -leaf]), params)
    member = jax.vmap(lambda p, x: gru_jax.scan(cell, p, x)[1], in_axes=(None, 1), out_axes=1)
    value = lambda run, ps: jnp.sum(jnp.sin(run(ps, xs)) * weights[0][None])  # noqa: E731
    mapped = jax.vmap(member, in_axes=(0, None))
    looped = lambda ps, x: jnp.stack(  # noqa: E731
        [gru_jax.scan(cell, jax.tree.map(lambda leaf: leaf[i], ps), x, backend="scan")[1] for i in range(3)]  # noqa: B023
    )
    found, expected = (jax.jit(jax.value_and_grad(functools.partial(value, run)))(ensemble) for run in (mapped, looped))
    assert relative_error(found, expected) < 1e-12


@pytest.mark.parametrize("rows", [(), (0,), (2,)])
def test_vmap_over_no_rows_is_empty(rows):
    cell = CELLS["after-keep"]
    (params, *_), *_ = problem(cell, SHAPES["one chunk"], np.float32)
    mapped = jax.vmap(lambda x: gru_jax.scan(cell, params, x)[1])
    xs = jnp.zeros((0, 7, *rows, 3))
    assert mapped(xs).shape == (0, 7, *rows, 4)
    assert jax.grad(lambda xs: jnp.sum(mapped(xs)))(xs).shape == xs.shape


def test_a_sequence_that_all_rows_share_is_not_copied_for_each():
    """Many initial states for one xs: what is parallel over time is computed once."""
    cell = CELLS["after-keep"]
    (params, xs, *_), *_ = problem(cell, (7, 2, 3, 5), np.float32)
    starts = jnp.asarray(np.random.default_rng(0).normal(size=(11, 2, 5)).astype(np.float32))
    mapped = jax.vmap(lambda c: gru_jax.scan(cell, params, xs, c)[1])
    expected = jnp.stack([gru_jax.scan(cell, params, xs, c, backend="scan")[1] for c in starts])
    assert relative_error(mapped(starts), expected) < 1e-6
    both = jax.vmap(lambda c, x: gru_jax.scan(cell, params, x, c)[1])
    copies = jnp.broadcast_to(xs, (11, *xs.shape))
    assert states_in(mapped, starts) == [(7, 11, 2, 5)]
    assert states_in(both, starts, copies) == [(7, 1, 22, 5)]
    # One product of all steps and both rows with each part of w_i, in place of eleven.
    projections = lambda function, *a: re.findall(  # noqa: E731
        r"\(tensor<([0-9x]*)x3xf32>, tensor<3x5xf32>\)", jax.jit(function).lower(*a).as_text()
    )
    assert projections(mapped, starts) == ["7x2"] * 3
    assert projections(both, starts, copies) == ["7x22"] * 3


def test_vmap_of_a_gradient_is_the_gradient_of_each_row(x64):
    cell = CELLS["before-keep"]
    (params, xs, *_), *weights = problem(cell, (7, 3, 3, 5))
    value = lambda p, x, w: jnp.sum(w * gru_jax.scan(cell, p, x)[1])  # noqa: E731
    found = jax.jit(jax.vmap(jax.grad(value, argnums=(0, 1)), in_axes=(None, 1, 1)))(params, xs, weights[0])
    for i in range(3):
        expected = jax.grad(
            lambda p, x: jnp.sum(weights[0][:, i] * gru_jax.scan(cell, p, x, backend="scan")[1]),  # noqa: B023
            argnums=(0, 1),
        )(params, xs[:, i])
        assert relative_error(jax.tree.map(lambda leaf: leaf[i], found), expected) < 1e-12  # noqa: B023
