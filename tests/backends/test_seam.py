"""The seam for kernels: what is bound, who decides what runs, and what programs hold."""

import ast
import os
import subprocess
import sys

import jax
import jax.export
import jax.extend.core
import jax.numpy as jnp
import numpy as np
import pytest

import gru_jax
from gru_jax._backends import platforms, states
from gru_jax._backends.backend import BACKENDS, Problem
from tests import throwaway_kernel
from tests.cases import relative_error
from tests.places import CHECKOUT
from tests.throwaway_kernel import throwaway, twin

T, B, I, H = 5, 4, 3, 2  # noqa: E741
CELL = gru_jax.gru()
# An operation that only the wide programs of a GPU have on these shapes: one projection for all three gates.
WIDE = f"tensor<{T}x{B}x{3 * H}xf32>"


@pytest.fixture(autouse=True)
def forget():
    """JAX keeps what it lowered, whatever the table says later."""
    jax.clear_caches()
    throwaway_kernel.CALLS.clear()


@pytest.fixture
def auto_is_throwaway(monkeypatch):
    row = platforms.Row(cell="gru", platform="cpu", backend=throwaway.name)
    monkeypatch.setattr(platforms, "ROWS", (platforms.ROWS[0], row, *platforms.ROWS[1:]))


def problem(members=()):
    rng = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    params = gru_jax.GRUParams(
        draw(*members, I, 3 * H), draw(*members, H, 3 * H), draw(*members, 3 * H), draw(*members, 3 * H)
    )
    return params, draw(T, B, I)


def loss(params, xs, **options):
    return jnp.sum(gru_jax.scan(CELL, params, xs, **options)[1] ** 2)


def bound(function, *arguments):
    """The names of the lane primitives in a function's program, in order, with their lanes and rows."""

    def walk(jaxpr):
        for equation in jaxpr.eqns:
            if equation.primitive.name in ("gru_states", "gru_tangents"):
                form = "transposed" if getattr(equation.params["static"], "wants", None) else ""
                shape = max((v.aval.shape for v in equation.outvars), key=len)
                yield equation.primitive.name + form.join(" " if form else ("", "")), shape[1], shape[2]
            for inner in jax.extend.core.jaxprs_in_params(equation.params):
                yield from walk(inner)

    return list(walk(jax.make_jaxpr(function)(*arguments).jaxpr))


def test_training_binds_both_primitives_and_no_loop():
    """Else no kernel would run in training."""
    params, xs = problem()
    forward, backward = bound(jax.grad(loss), params, xs)
    assert forward == ("gru_states", 1, B)
    assert backward[0].startswith("gru_tangents")
    assert "scan[" not in str(jax.make_jaxpr(jax.grad(loss))(params, xs))


def test_vmap_of_a_gradient_binds_them_as_a_wider_batch():
    params, xs = problem()
    one = lambda p, x: loss(p, x[:, None])  # noqa: E731
    names = bound(jax.vmap(jax.grad(one), (None, 1)), params, xs)
    assert [entry[1:] for entry in names] == [(1, B)] * 2


def test_members_of_an_ensemble_are_lanes():
    ensemble, xs = problem(members=(3,))
    for function in (jax.vmap(loss, (0, None)), jax.vmap(jax.grad(loss), (0, None))):
        assert {entry[1:] for entry in bound(function, ensemble, xs)} == {(3, B)}


def test_both_directions_are_lanes_of_one_call():
    params, xs = problem()
    stack = ((params, jax.tree.map(jnp.negative, params)),)
    run = lambda stack, xs: jnp.sum(gru_jax.scan_layers(CELL, stack, xs)[1])  # noqa: E731
    assert bound(run, stack, xs) == [("gru_states", 2, B)]
    assert bound(jax.grad(run), stack, xs)[0] == ("gru_states", 2, B)


@pytest.mark.parametrize("cell", [CELL, gru_jax.lstm()], ids=["gru", "lstm"])
def test_scan_is_made_of_operations_of_jax(cell):
    """Tools that read programs know no others."""

    def names(jaxpr):
        for equation in jaxpr.eqns:
            yield equation.primitive.name
            for inner in jax.extend.core.jaxprs_in_params(equation.params):
                yield from names(inner)

    params, x = cell.init(jax.random.key(0), I, H), problem()[1][:, 0]
    run = jax.grad(lambda p: jnp.sum(gru_jax.scan(cell, p, x, backend="scan")[1]))
    assert not {"gru_states", "gru_tangents", "unit_axis"} & set(names(jax.make_jaxpr(run)(params).jaxpr))


def test_directions_of_different_widths_are_two_calls():
    xs = problem()[1]
    layer = tuple(CELL.init(jax.random.key(i), I, width) for i, width in enumerate((H, H + 1)))
    final, ys = gru_jax.scan_layers(CELL, (layer,), xs)
    assert ys.shape == (T, B, 2 * H + 1)
    for i, reverse in enumerate((False, True)):
        carry, part = gru_jax.scan(CELL, layer[i], xs, reverse=reverse, backend="scan")
        assert relative_error(final[0][i], carry) < 1e-6
        assert relative_error(ys[..., :H] if i == 0 else ys[..., H:], part) < 1e-6


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("backend", ["fused", "throwaway", "twin"])
def test_an_ensemble_of_both_directions(backend, masked):
    """Lanes in a pattern: values, gradients and a product with the Hessian, against a loop over members."""
    ensemble, xs = problem(members=(3,))
    rng = np.random.default_rng(1)
    options = {"mask": rng.random((T, B)) < 0.7, "resets": rng.random((T, B)) < 0.3} if masked else {}

    def member(params, backend):
        stack = ((params, jax.tree.map(lambda leaf: 0.5 * leaf, params)),)
        starts = ((jnp.full(H, 0.5), jnp.full((T, 1, H), -0.5)),) if masked else None
        carry, ys = gru_jax.scan_layers(CELL, stack, xs, reset_carry=starts, backend=backend, **options)
        return jnp.sum(jnp.sin(ys)) + sum(jnp.sum(h**2) for h in carry[0])

    def results(params, run):
        gradient = jax.grad(lambda params: jnp.sum(run(params)))
        return run(params), gradient(params), jax.jvp(gradient, (params,), (params,))[1]

    mapped = jax.vmap(lambda params: member(params, backend))
    each = lambda params: jnp.stack(  # noqa: E731
        [member(jax.tree.map(lambda leaf, i=i: leaf[i], params), "scan") for i in range(3)]
    )
    found, expected = (jax.jit(results, static_argnums=1)(ensemble, run) for run in (mapped, each))
    assert relative_error(found, expected) < 1e-5


def test_an_ensemble_of_none_is_empty():
    ensemble, xs = problem(members=(0,))
    assert jax.vmap(loss, (0, None))(ensemble, xs).shape == (0,)
    assert jax.vmap(jax.grad(loss), (0, None))(ensemble, xs).w_h.shape == (0, H, 3 * H)


def test_auto_takes_the_kernel_of_its_row(auto_is_throwaway):
    params, xs = problem()
    expected = jax.grad(loss)(params, xs, backend="scan")
    assert relative_error(jax.jit(jax.grad(loss))(params, xs), expected) < 1e-5
    assert throwaway_kernel.CALLS == ["gru_states", "gru_tangents"]
    assert gru_jax.backend_for(CELL, platform="cpu") == "throwaway"
    assert gru_jax.backend_for(CELL, platform="gpu") == "fused"


@pytest.mark.parametrize(
    "function",
    [
        lambda p, x: jax.vmap(jax.grad(lambda p, x: loss(p, x[:, None])), (None, 1))(p, x),
        lambda p, x: jax.grad(lambda p: jnp.sum(jax.vmap(lambda x: loss(p, x[:, None]), 1)(x)))(p),
        lambda p, x: jax.jacfwd(lambda p: gru_jax.scan(CELL, p, x)[0])(p),
        lambda p, x: jax.jacrev(lambda p: gru_jax.scan(CELL, p, x)[0])(p),
        lambda p, x: jax.jvp(jax.grad(loss), (p, x), (p, x))[1],
        lambda p, x: jax.grad(jax.checkpoint(loss))(p, x),
        lambda p, x: jax.grad(lambda p: loss(p, x, remat=2))(p),
        lambda p, x: jax.vmap(jax.hessian(lambda b: loss(p._replace(b_h=b), x)))(jnp.stack([p.b_h, -p.b_h])),
    ],
    ids=["vmap(grad)", "grad(vmap)", "jacfwd", "jacrev", "HVP", "checkpoint", "remat", "vmap(hessian)"],
)
def test_transformations_run_on_the_kernel(function, auto_is_throwaway, monkeypatch):
    params, xs = problem()
    found = jax.jit(function)(params, xs)
    assert set(throwaway_kernel.CALLS) == {"gru_states", "gru_tangents"}
    monkeypatch.undo()
    jax.clear_caches()
    throwaway_kernel.CALLS.clear()
    assert relative_error(found, jax.jit(function)(params, xs)) < 1e-5
    assert not throwaway_kernel.CALLS


def test_fused_is_never_a_kernel(auto_is_throwaway):
    params, xs = problem()
    jax.block_until_ready(jax.grad(loss)(params, xs, backend="fused"))
    assert not throwaway_kernel.CALLS


def test_what_a_kernel_refuses_runs_in_pure_jax_or_raises(auto_is_throwaway):
    cell = gru_jax.gru(activation=jnp.sin)
    params, xs = problem()
    jax.block_until_ready(gru_jax.scan(cell, params, xs))
    assert not throwaway_kernel.CALLS
    assert gru_jax.backend_for(cell) == "fused"
    with pytest.raises(ValueError, match=r'backend: "throwaway" cannot run the cell.*tanh.*pass backend="auto"'):
        gru_jax.scan(cell, params, xs, backend="throwaway")
    with pytest.raises(ValueError, match="\"throwaway\" cannot run the cell 'lstm'"):
        gru_jax.backend_for(gru_jax.lstm(), "throwaway")
    with pytest.raises(ValueError, match=r'"throwaway" cannot run the cell.*it runs on a CPU'):
        gru_jax.backend_for(CELL, "throwaway", "gpu")


PORTABLE = ("cpu", "cuda", "tpu")


@pytest.mark.parametrize("platforms_", [("cpu",), PORTABLE], ids=["one platform", "three"])
@pytest.mark.parametrize("sizes", [None, "t, b"], ids=["sizes", "symbols"])
def test_artifacts_hold_no_call(auto_is_throwaway, platforms_, sizes):
    params, xs = problem()
    shape = (T, B) if sizes is None else jax.export.symbolic_shape(sizes)
    argument = jax.ShapeDtypeStruct((*shape, I), jnp.float32)
    gradient = lambda xs: jax.grad(loss, argnums=1)(params, xs)  # noqa: E731
    product = lambda xs: jax.jvp(gradient, (xs,), (xs,))[1]  # noqa: E731
    for function in (gradient, product):
        exported = jax.export.export(jax.jit(function), platforms=platforms_)(argument)
        module = exported.mlir_module()
        assert "callback" not in module
        # ... and one loop over states, not one for each platform.
        alone = jax.export.export(jax.jit(function), platforms=("cpu",))(argument).mlir_module()
        assert module.count("stablehlo.while") == alone.count("stablehlo.while") > 0
        expected = function(xs)
        assert relative_error(jax.export.deserialize(exported.serialize()).call(xs), expected) < 1e-5


def test_a_kernel_by_name_is_not_exported():
    params, xs = problem()
    with pytest.raises(ValueError, match=r'backend: "throwaway" cannot run here: an exported program'):
        jax.export.export(jax.jit(lambda xs: loss(params, xs, backend="throwaway")))(xs)


@pytest.mark.parametrize(("platform", "wide"), [("cpu", False), ("cuda", True), ("tpu", True)])
def test_each_platform_has_its_program(platform, wide):
    """Lowered for one platform, without a device of it."""
    params, xs = problem()
    exported = jax.export.export(jax.jit(lambda xs: gru_jax.scan(CELL, params, xs)), platforms=[platform])(xs)
    assert (WIDE in exported.mlir_module()) == wide


def test_several_platforms_have_one_program():
    params, xs = problem()
    exported = jax.export.export(jax.jit(lambda xs: gru_jax.scan(CELL, params, xs)), platforms=PORTABLE)(xs)
    assert WIDE not in exported.mlir_module()


def test_what_is_kept_by_name_is_not_run_again():
    """A policy of `jax.checkpoint` that keeps "gru_states" spares the second loop over states."""
    params, xs = problem()
    keep = jax.checkpoint_policies.save_only_these_names("gru_states")
    count = lambda policy: [  # noqa: E731
        name for name, *_ in bound(jax.grad(jax.checkpoint(loss, policy=policy)), params, xs)
    ].count("gru_states")
    assert (count(keep), count(None)) == (1, 2)


SHARDED = """
import os, sys
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
import gru_jax
import tests.throwaway_kernel
backend = sys.argv[1]
cell = gru_jax.gru()
params = cell.init(jax.random.key(0), 3, 4)
xs, carry = jax.random.normal(jax.random.key(1), (6, 16, 3)), jnp.ones((16, 4))
run = lambda p, x, c: gru_jax.scan(cell, p, x, c, backend=backend)[1]
whole = lambda p, x, c: jnp.sum(run(p, x, c) ** 2)
# The batch twice, each time sharded over devices; and one initial carry for all rows.
twice = lambda p, x, c: jnp.sum(jax.vmap(lambda s: run(p, s * x, s * c))(jnp.ones(2)) ** 2) / 2
shared = lambda p, x, c: jnp.sum(jax.vmap(lambda x: run(p, x, jnp.ones(4)), 1, 1)(x) ** 2)
rows = lambda p, x, c: jnp.sum(jax.vmap(lambda x, c: run(p, x, c), (1, 0))(x, c) ** 2)
both = lambda p, x, c: jnp.sum(gru_jax.scan_layers(cell, ((p, p),), x, ((c, c),), backend=backend)[1] ** 2) / 2
members = lambda p, x, c: jnp.sum(jax.vmap(lambda s: run(jax.tree.map(lambda l: s * l, p), x, c))(jnp.ones(2)) ** 2) / 2
gradient = lambda f: jax.jit(jax.grad(f, argnums=(0, 1)))
alone = lambda f: gradient(f)(params, xs, carry)
product = lambda p, x, c: jax.jvp(lambda p: jax.grad(whole)(p, x, c), (p,), (p,))[1]
backward = lambda p, x, c: jnp.sum(gru_jax.scan(cell, p, x, c, reverse=True, backend=backend)[1] ** 2)
halves = {"both": lambda p, x, c: (whole(p, x, c) + backward(p, x, c)) / 2}
for kind in (AxisType.Auto, AxisType.Explicit):
    mesh = jax.make_mesh((8,), ("d",), axis_types=(kind,))
    with jax.set_mesh(mesh):
        x, c = (jax.device_put(a, NamedSharding(mesh, s)) for a, s in ((xs, P(None, "d")), (carry, P("d"))))
        p = jax.device_put(params, NamedSharding(mesh, P()))
        functions = dict(batch=whole, vmap=rows, twice=twice, shared=shared, both=both, members=members)
        if kind == AxisType.Auto:
            specs = dict(in_specs=(P(), P(None, "d"), P("d")), out_specs=P())
            functions["shard_map"] = jax.shard_map(lambda *a: jax.lax.psum(rows(*a), "d"), **specs)
        compiled = {name: (gradient(f).lower(p, x, c).compile(), alone(halves.get(name, whole))) for name, f in
                    functions.items()}
        compiled["product"] = jax.jit(product).lower(p, x, c).compile(), jax.jit(product)(params, xs, carry)
        for name, (call, expected) in compiled.items():
            for word in ("all-gather", "all-to-all"):
                assert word not in call.as_text(), (kind, name, word)
            for found, e in zip(jax.tree.leaves(call(p, x, c)), jax.tree.leaves(expected)):
                assert np.max(np.abs(np.asarray(found) - np.asarray(e))) < 2e-5 * np.max(np.abs(e)), (kind, name)
"""


def run_apart(code, *arguments, **environment):
    """Run a program of its own, which sees CPUs alone."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        check=False,
        env={**os.environ, "JAX_PLATFORMS": "cpu", **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("backend", ["scan", "fused", "twin"])
def test_a_batch_sharded_over_devices_is_never_gathered(backend):
    """Eight host devices, automatic and explicit axes; a kernel is cut along rows and lanes."""
    run_apart(SHARDED, backend)


MESHES = """
import contextlib, os, sys
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
import gru_jax
import tests.throwaway_kernel
rng = np.random.default_rng(0)
draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
cell = gru_jax.gru()
params, xs, carry = cell.init(jax.random.key(0), 3, 4), draw(6, 8, 3), draw(8, 4)
members = jax.tree.map(lambda leaf: jnp.stack([leaf, 0.5 * leaf]), params)
wide_xs, wide_carry = draw(6, 8, 4, 3), draw(8, 4, 4)

def one(p, x, c, b):
    return jnp.sum(gru_jax.scan(cell, p, x, c, backend=b)[1] ** 2)

def both(p, x, c, b):
    return jnp.sum(gru_jax.scan_layers(cell, ((p, p),), x, ((c, c),), backend=b)[1] ** 2)

def ensemble(p, x, c, b):
    return jnp.sum(jax.vmap(lambda p: both(p, x, c, b))(p))

def rows(p, x, c, b):
    return jnp.sum(jax.vmap(lambda x, c: both(p, x, c, b), (1, 0))(x, c))

CASES = {
    "two axes of the batch": (both, params, wide_xs, wide_carry, P(), P(None, "d", "e"), P("d", "e")),
    "features of the carry": (one, params, xs, carry, P(), P(None, "d"), P("d", "e")),
    "a carry sharded otherwise": (one, params, xs, carry, P(), P(None, "d"), P("e")),
    "time": (one, params, draw(8, 8, 3), carry, P(), P("d"), P()),
    "columns of weights": (one, params, xs, carry, P(None, "e"), P(None, "d"), P("d")),
    "members": (ensemble, members, xs, carry, P("e"), P(None, "d"), P("d")),
    "rows": (rows, params, wide_xs, wide_carry, P(), P(None, "d", "e"), P("d", "e")),
}
# One mesh after the other in one process: nothing of the first may be remembered for the second.
# Under the first kind, arrays alone know of the mesh: none is set.
for kind in (None, AxisType.Auto, AxisType.Explicit):
    mesh = jax.make_mesh((4, 2), ("d", "e"), axis_types=(kind or AxisType.Auto,) * 2)
    for name, (function, p, x, c, *specs) in CASES.items():
        wanted = jax.grad(function, argnums=(0, 1, 2))(p, x, c, "scan")
        place = lambda leaf, spec: jax.device_put(leaf, NamedSharding(mesh, P(*tuple(spec)[: leaf.ndim])))
        with jax.set_mesh(mesh) if kind else contextlib.nullcontext():
            placed = [jax.tree.map(lambda leaf: place(leaf, spec), tree) for tree, spec in zip((p, x, c), specs)]
            gradient = jax.grad(lambda *a: function(*a, sys.argv[1]), argnums=(0, 1, 2))
            found = jax.jit(gradient)(*placed)
        for one_found, e in zip(jax.tree.leaves(found), jax.tree.leaves(wanted)):
            assert np.max(np.abs(np.asarray(one_found) - np.asarray(e))) < 1e-5 * np.max(np.abs(e)), (kind, name)
"""


@pytest.mark.parametrize("backend", ["fused", "twin"])
def test_any_sharding_on_a_mesh_of_two_axes(backend):
    run_apart(MESHES, backend)


def test_a_kernel_by_name_raises_where_a_shard_is_refused(monkeypatch):
    """The part of a device poses a problem of its own."""
    wide_only = lambda problem: "it takes 4 rows or more" if problem.batch is not None and problem.batch < 4 else ""  # noqa: E731
    primitive = states.gru_states
    kernel = twin._replace(refuses=wide_only)
    monkeypatch.setitem(BACKENDS, twin.name, kernel)
    how = states.How(CELL, I, (False,), None, None, twin.name)
    params, xs = problem()
    lane = lambda leaf: leaf[None]  # noqa: E731
    operands = states.States(
        jax.tree.map(lane, params), jnp.zeros((1, 2, H)), states.Steps(xs[:, None, :2], None, None, None), None
    )
    local = primitive._lowering_of(kernel, Problem(CELL, "cpu"), None, many=False)
    with pytest.raises(ValueError, match='"twin" cannot run the part of a device, 2 rows: it takes 4 rows or more'):
        local(states.StatesStatic(how, keeps_p=False), operands)


def test_no_steps_have_second_derivatives():
    """Also where p is kept, beside wide inputs."""
    cell = gru_jax.gru()
    params, carry = cell.init(jax.random.key(0), 500, 20), jnp.ones((5, 20))
    value = lambda c: jnp.sum(jnp.sin(gru_jax.scan(cell, params, jnp.zeros((0, 5, 500)), c)[0]))  # noqa: E731
    expected = jax.hessian(lambda c: jnp.sum(jnp.sin(c)))(carry)
    assert relative_error(jax.hessian(value)(carry), expected) < 1e-6


PARTIAL = """
import os
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
import jax, jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
import gru_jax
from gru_jax._backends import platforms
import tests.throwaway_kernel
cell = gru_jax.gru()
params, xs = cell.init(jax.random.key(0), 3, 4), jax.random.normal(jax.random.key(1), (6, 8, 3))
value = lambda p, x, backend="auto": jnp.sum(gru_jax.scan(cell, p, x, backend=backend)[1] ** 2)
mesh = jax.make_mesh((2, 2), ("d", "m"), axis_types=(AxisType.Auto,) * 2)
platforms.ROWS = (platforms.Row("gru", "cpu", "twin"), *platforms.ROWS)
with jax.set_mesh(mesh):
    x = jax.device_put(xs, NamedSharding(mesh, P(None, ("d", "m"))))
    specs = dict(in_specs=(P(), P(None, "d")), out_specs=P(), axis_names={"d"})
    run = lambda backend: jax.shard_map(lambda p, x: jax.lax.psum(value(p, x, backend), "d"), **specs)
    for found, e in zip(jax.jit(jax.grad(run("auto")))(params, x), jax.grad(value)(params, xs, "scan")):
        assert jnp.max(jnp.abs(found - e)) < 1e-4
    try:
        jax.jit(run("twin"))(params, x)
    except ValueError as error:
        print(error)
"""


def test_no_kernel_where_shard_map_and_the_compiler_both_cut():
    assert 'backend: "twin" cannot run here: jax.shard_map leaves axes' in run_apart(PARTIAL)


CACHED = """
import jax, jax.numpy as jnp, gru_jax
import tests.throwaway_kernel
events = []
jax.monitoring.register_event_listener(lambda event, **_: events.append(event))
cell = gru_jax.gru()
params = cell.init(jax.random.key(0), 3, 4)
for backend in ("fused", "twin"):
    value = lambda p, x: jnp.sum(gru_jax.scan(cell, p, x, backend=backend)[1] ** 2)
    jax.block_until_ready(jax.jit(jax.value_and_grad(value))(params, jnp.ones((5, 2, 3))))
print(events.count("/jax/compilation_cache/cache_hits"), events.count("/jax/compilation_cache/cache_misses"))
"""


def test_programs_are_found_again_by_another_process(tmp_path):
    """The persistent cache's key is the program: it holds nothing of the process that made it."""
    settings = {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    first, second = (run_apart(CACHED, **settings).split() for _ in range(2))
    assert int(first[1]) >= 2
    assert second[1] == "0"
    assert int(second[0]) >= 2


def knows_platforms(tree):
    """Whether code, not prose, asks JAX for its platform, names one, or has one as an argument."""
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        names = [getattr(node, field, None) for field in ("id", "attr", "arg")]
        if {"default_backend", "DEFAULT_DEVICE", "platform", "platforms"} & set(names):
            return True
        if isinstance(node, ast.Constant) and node.value in ("gpu", "tpu", "cuda", "rocm") and id(node) not in prose:
            return True
    return False


def test_only_the_table_and_the_lowerings_know_of_a_platform():
    package = CHECKOUT / "gru_jax"
    knowing = {
        str(path.relative_to(package)) for path in package.rglob("*.py") if knows_platforms(ast.parse(path.read_text()))
    }
    assert knowing == {
        "_backends/backend.py",  # what is asked of a backend
        "_backends/platforms.py",  # the table
        "_backends/primitive.py",  # who decides when a program is lowered
        "_backends/states.py",  # the two default lowerings
        "_backends/tangents.py",
        "_backends/fused.py",  # a guess while JAX traces, for chunks
        "_scan/choice.py",  # backend_for
        "export/_stablehlo.py",  # artifacts for several
    }


def test_private_names_of_jax_are_there():
    """What the seam uses of JAX beyond its public interface."""
    from jax._src import dispatch, sharding_impls
    from jax._src.interpreters import mlir

    assert isinstance(dispatch.prim_requires_devices_during_lowering, set)
    assert "for_export" in mlir.LoweringParameters.__dataclass_fields__
    assert {"module_context", "platforms", "avals_in"} <= set(mlir.LoweringRuleContext.__dataclass_fields__)
    devices = tuple(jax.devices())
    assert sharding_impls.GSPMDSharding.get_replicated(devices)._device_assignment == devices
