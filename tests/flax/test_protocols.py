"""What Flax and JAX expect of a module: views, random streams, tables, abstract modules, modes, single steps."""

import subprocess
import sys
import warnings

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gru_jax
from tests.cases import assert_close

B, T, I, H = 3, 5, 2, 4  # noqa: E741 - the letters of DESIGN.md
KEY = jax.random.key(0)
XS = np.random.default_rng(0).normal(size=(B, T, I)).astype(np.float32)
LENGTHS = np.array([5, 3, 0])


class Model(nnx.Module):
    """Ours beside Flax's own."""

    def __init__(self, rngs):
        self.rnn = gru_jax.nnx.GRU(I, H, num_layers=2, dropout_rate=0.5, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, xs):
        return self.dropout(self.rnn(xs)[1])


def test_views_turn_all_dropout_of_a_model_off_and_on():
    model = Model(nnx.Rngs(0))
    calm = nnx.view(model, deterministic=True)
    assert_close(calm(XS), calm(XS))
    assert np.any(model(XS) != model(XS))
    params = model.rnn.params
    ys = gru_jax.scan_layers(gru_jax.gru(), params, XS.swapaxes(0, 1))[1]
    assert_close(calm(XS), jnp.moveaxis(ys, 0, 1))
    loud = nnx.view(calm, deterministic=False)
    assert np.any(loud(XS) != loud(XS))
    only = nnx.view(model, only=gru_jax.nnx.GRU, deterministic=True)
    assert (only.rnn.deterministic, only.dropout.deterministic) == (True, False)
    assert nnx.with_attributes(model, deterministic=True).rnn.deterministic
    told = nnx.view_info(model)
    assert "GRU:\n  deterministic: bool | None = None\n    if True, disables dropout between layers." in told


@pytest.mark.parametrize(
    "make",
    [
        lambda: gru_jax.nnx.GRU(I, H, rngs=nnx.Rngs(0)),
        lambda: gru_jax.nnx.EncoderDecoder(I, I, H, 7, rngs=nnx.Rngs(0)),
        lambda: gru_jax.nnx.EncoderDecoder(I, I, H, 7, dropout_rate=0.5, rngs=nnx.Rngs(0)),
    ],
)
def test_a_module_alone_has_a_view(make):
    assert nnx.view(make(), deterministic=True).deterministic
    assert "EncoderDecoder:" in nnx.view_info(make()) or "GRU:" in nnx.view_info(make())


def differ(one, other):
    return any(np.any(a != b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))


DROPPING = [
    (lambda **options: gru_jax.nnx.GRU(I, H, num_layers=2, dropout_rate=0.5, **options), (XS,)),
    (lambda **options: gru_jax.nnx.EncoderDecoder(I, I, H, 7, dropout_rate=0.5, **options), (XS, XS)),
]


@pytest.mark.parametrize(("make", "inputs"), DROPPING)
def test_a_call_draws_from_what_flaxs_dropout_draws_from(make, inputs):
    module = make(rngs=nnx.Rngs(0))
    for draws in (
        lambda: nnx.Rngs(1),
        lambda: nnx.Rngs(dropout=1),
        lambda: nnx.Rngs(1).dropout,
        lambda: jax.random.key(1),
        lambda: jax.random.PRNGKey(1),
    ):
        assert_close(module(*inputs, rngs=draws()), module(*inputs, rngs=draws()))
        assert differ(module(*inputs, rngs=draws()), module(*inputs))
    with pytest.raises(TypeError, match=r"rngs: expected an nnx.Rngs.*got 0"):
        module(*inputs, rngs=0)
    with pytest.raises(ValueError, match=r'rngs: expected a stream "dropout" or a default one, got params'):
        module(*inputs, rngs=nnx.Rngs(params=0))


@pytest.mark.parametrize(("make", "inputs"), DROPPING)
def test_the_stream_of_dropout_may_come_with_the_call(make, inputs):
    module = make(rngs=nnx.Rngs(params=0))
    with pytest.raises(ValueError, match=r'rngs: expected a stream "dropout".*rngs=nnx.Rngs\(dropout=0\).*eval\(\)'):
        module(*inputs)
    assert differ(module(*inputs, rngs=KEY), module(*inputs, deterministic=True))
    assert_close(make(rngs=nnx.Rngs(0).params).params, make(rngs=nnx.Rngs(0)).params)


def test_dropout_of_a_single_layer_is_told():
    for make in (
        lambda **options: gru_jax.nnx.GRU(I, H, **options, rngs=nnx.Rngs(0)),
        lambda **options: gru_jax.linen.GRU(H, **options),
        lambda **options: gru_jax.linen.GRU((H,), **options),
    ):
        with pytest.warns(UserWarning, match=r"dropout_rate: .*num_layers=1.*dropout_rate=0.9") as caught:
            make(dropout_rate=0.9)
        assert {warning.filename for warning in caught} == {__file__}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gru_jax.nnx.GRU(I, H, num_layers=2, dropout_rate=0.9, rngs=nnx.Rngs(0))
        gru_jax.linen.GRU((H, H), dropout_rate=0.9)
        # Before the read-out there is dropout with one layer, too.
        gru_jax.nnx.EncoderDecoder(I, I, H, 7, dropout_rate=0.9, rngs=nnx.Rngs(0))


def test_tables_and_abstract_modules():
    whole = gru_jax.nnx.EncoderDecoder(I, I, H, 7, rngs=nnx.Rngs(0))
    assert "GRU Summary" in nnx.tabulate(gru_jax.nnx.GRU(I, H, rngs=nnx.Rngs(0)), XS)
    assert "rnn" in nnx.tabulate(Model(nnx.Rngs(0)), XS)
    assert "EncoderDecoder Summary" in nnx.tabulate(whole, XS, XS)
    for make in (
        lambda: gru_jax.nnx.GRU(I, H, num_layers=2, bidirectional=True, rngs=nnx.Rngs(0)),
        lambda: gru_jax.nnx.GRUCell(I, H, rngs=nnx.Rngs(0)),
        lambda: gru_jax.nnx.EncoderDecoder(I, I, H, 7, rngs=nnx.Rngs(0)),
        lambda: gru_jax.nnx.AttentionPooling(I, H, rngs=nnx.Rngs(0)),
    ):
        shapes = nnx.eval_shape(make).params
        assert jax.tree.map(lambda leaf: leaf.shape, shapes) == jax.tree.map(jnp.shape, make().params)
        assert " at 0x" not in repr(make())
    assert " at 0x" not in repr(gru_jax.linen.GRU(H))


@pytest.mark.parametrize("cell", [gru_jax.gru(), gru_jax.lstm()], ids=lambda cell: cell.name)
def test_steps_are_the_sequence(cell):
    module = gru_jax.nnx.GRU(I, (H, 3), cell=cell, rngs=nnx.Rngs(0))
    model = gru_jax.linen.GRU((H, 3), cell=cell)
    variables = gru_jax.linen.as_variables(module.params)
    resets = np.random.default_rng(1).random((B, T)) < 0.4
    expected = module(XS, resets=resets)
    # The module is an argument of the compiled function, by which it is as fast as its params are.
    by_nnx = jax.jit(lambda module, x, carry, reset: module.step(x, carry, reset=reset))
    by_linen = jax.jit(lambda variables, *args, reset: model.apply(variables, *args, reset=reset, method="step"))
    carries, ys = [module.initial_carry((B,)), model.initial_carry((B,))], []
    assert_close(carries[0], carries[1])
    for t in range(T):
        carries[0], y = by_nnx(module, XS[:, t], carries[0], resets[:, t])
        carries[1], same = by_linen(variables, XS[:, t], carries[1], reset=resets[:, t])
        assert_close(y, same)
        ys.append(y)
    assert_close((carries[0], jnp.stack(ys, axis=1)), expected, atol=1e-6)
    made = model.init(KEY, XS[:, 0], model.initial_carry((B,)), method="step")
    assert jax.tree.map(jnp.shape, made) == jax.tree.map(jnp.shape, model.init(KEY, XS))


def test_a_step_says_what_does_not_fit():
    both = gru_jax.nnx.GRU(I, H, bidirectional=True, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="one direction"):
        both.step(XS[:, 0], both.initial_carry((B,)))
    module = gru_jax.nnx.GRU(I, H, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"x: expected shape \(\*B, 2\).*\(3, 9\)"):
        module.step(jnp.zeros((B, 9)), module.initial_carry((B,)))
    with pytest.raises(TypeError, match=r"x: expected a float array, got complex64"):
        module.step(jnp.zeros((B, I), jnp.complex64), module.initial_carry((B,)))
    with pytest.raises(TypeError, match=r"batch_shape: expected a tuple of sizes, got 3"):
        gru_jax.linen.GRU(H).initial_carry(3)


def test_a_state_to_restore_may_differ_by_step():
    module = gru_jax.nnx.GRU(I, H, rngs=nnx.Rngs(0))
    rng = np.random.default_rng(2)
    resets, restored = rng.random((B, T)) < 0.5, rng.normal(size=(B, T, H)).astype(np.float32)
    ys = module(XS, resets=resets, reset_carry=((restored,),))[1]
    carry = module.initial_carry((B,))
    for t in range(T):
        carry = ((jnp.where(resets[:, t, None], restored[:, t], carry[0][0]),),)
        carry, y = module.step(XS[:, t], carry)
        assert_close(ys[:, t], y, atol=1e-6)


PADDED = np.where((np.arange(T) < LENGTHS[:, None])[..., None], XS, np.nan)


def running():
    """Each module's outputs and gradients on a sequence with NaN in its padding."""
    options = {"num_layers": 2, "bidirectional": True}
    module, model = gru_jax.nnx.GRU(I, H, **options, rngs=nnx.Rngs(0)), gru_jax.linen.GRU(H, **options)
    variables = gru_jax.linen.as_variables(module.params)

    def loss(module, xs):
        return jnp.sum(module(xs, seq_lengths=LENGTHS)[1])

    by_nnx = lambda xs: (loss(module, xs), jax.grad(loss, argnums=(0, 1))(module, xs))  # noqa: E731
    apply = lambda variables, xs: jnp.sum(model.apply(variables, xs, seq_lengths=LENGTHS)[1])  # noqa: E731
    by_linen = lambda xs: (apply(variables, xs), jax.grad(apply, argnums=(0, 1))(variables, xs))  # noqa: E731
    return by_nnx, by_linen


@pytest.mark.parametrize("which", [0, 1], ids=["nnx", "linen"])
def test_nan_in_the_padding_passes_the_checks_of_jax(which):
    run = running()[which]
    expected = run(XS)
    on_device = jax.device_put(PADDED)
    with jax.debug_nans(True):
        for xs in (PADDED, on_device):
            assert_close(run(xs)[1], expected[1], atol=1e-6)


@pytest.mark.parametrize("which", [0, 1], ids=["nnx", "linen"])
def test_modules_run_uncompiled_and_without_promotion_of_ranks(which):
    run = running()[which]
    expected = run(XS)
    with jax.numpy_rank_promotion("raise"):
        assert_close(run(XS * 1)[1], expected[1], atol=1e-6)
        with jax.disable_jit():
            assert_close(run(XS)[1], expected[1], atol=1e-6)


def test_transforms_of_flax():
    module, model = gru_jax.nnx.GRU(I, H, rngs=nnx.Rngs(0)), gru_jax.linen.GRU(H)
    expected = module(XS)[1]
    assert_close(nnx.remat(lambda module, xs: module(xs)[1])(module, XS), expected, atol=1e-6)

    @nnx.scan(in_axes=(None, nnx.Carry, 1), out_axes=(nnx.Carry, 1))
    def over_time(module, carry, x):
        return module.step(x, carry)

    assert_close(over_time(module, module.initial_carry((B,)), XS)[1], expected, atol=1e-6)
    many = nnx.vmap(lambda key: gru_jax.nnx.GRU(I, H, rngs=nnx.Rngs(key)))(jax.random.split(KEY, 2))
    assert nnx.vmap(lambda module, xs: module(xs)[1], in_axes=(0, None))(many, XS).shape == (2, B, T, H)

    class Scanned(nn.Module):
        @nn.compact
        def __call__(self, xs):
            rnn = gru_jax.linen.GRU(H)
            step = lambda rnn, carry, x: rnn.step(x, carry)  # noqa: E731
            scanned = nn.scan(step, variable_broadcast="params", split_rngs={"params": False}, in_axes=1, out_axes=1)
            return scanned(rnn, rnn.initial_carry((B,)), xs)

    tree = {"params": {"GRU_0": gru_jax.linen.as_variables(module.params)["params"]}}
    assert_close(Scanned().apply(tree, XS)[1], expected, atol=1e-6)
    assert jax.tree.map(jnp.shape, Scanned().init(KEY, XS)) == jax.tree.map(jnp.shape, tree)
    ensemble = nn.vmap(type(model), variable_axes={"params": 0}, split_rngs={"params": True}, in_axes=None, axis_size=2)
    assert ensemble(H).init_with_output(KEY, XS)[0][1].shape == (2, B, T, H)


def test_without_flax_the_modules_say_what_to_install():
    code = """
import sys
sys.modules["flax"] = None
import gru_jax
for name in ("nnx", "linen"):
    try:
        getattr(gru_jax, name)
    except ImportError as error:
        print(error)
"""
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.count('pip install "gru_jax[flax]"') == 2
