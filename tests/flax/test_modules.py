"""Law 8: functions, nnx and linen modules are the same, to the bit; and Flax's own RNN takes our cells."""

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import gru_jax
from tests.cases import assert_close

B, T, I, H = 3, 5, 2, 4  # noqa: E741 - the letters of DESIGN.md
CELLS = [
    gru_jax.gru(),
    gru_jax.gru(reset_after=False, update_gate="write"),
    gru_jax.lstm(),
    gru_jax.rnn(),
    gru_jax.min_gru(),
]
LAYOUTS = [
    {"features": H},
    {"features": H, "num_layers": 2, "bidirectional": True},
    {"features": (3, 4, 5)},
]


def inputs(dtype=np.float32):
    return np.random.default_rng(0).normal(size=(B, T, I)).astype(dtype)


def twins(**layout):
    """An nnx module, and a linen module with its parameters under the same names."""
    module = gru_jax.nnx.GRU(I, rngs=nnx.Rngs(0), **layout)
    variables = {"params": nnx.to_pure_dict(nnx.state(module, nnx.Param))}
    return module, gru_jax.linen.GRU(**layout), variables


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell.name}-{cell.options}")
def test_functions_nnx_and_linen_agree_to_the_bit(cell, layout):
    module, linen, variables = twins(cell=cell, **layout)
    options = {"seq_lengths": np.array([5, 2, 0]), "resets": np.eye(B, T, 1, bool)}
    expected = gru_jax.scan_layers(
        cell, module.params, inputs().swapaxes(0, 1), seq_lengths=options["seq_lengths"], resets=options["resets"].T
    )
    expected = (expected[0], jnp.moveaxis(expected[1], 0, 1))
    assert_close(module(inputs(), **options), expected)
    assert_close(linen.apply(variables, inputs(), **options), expected)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_linen_makes_the_parameters_that_nnx_has(layout):
    _, linen, variables = twins(**layout)
    made = linen.init(jax.random.key(0), inputs())
    assert jax.tree.map(jnp.shape, made) == jax.tree.map(jnp.shape, variables)


def test_time_major_mask_and_initial_carry():
    module, linen, variables = twins(features=H, bidirectional=True)
    mask, resets = np.random.default_rng(1).random((2, B, T)) < 0.6
    start = jax.tree.map(lambda leaf: leaf + 0.5, module(inputs()[:, :0])[0])
    expected_carry, expected = module(inputs(), initial_carry=start, mask=mask, resets=resets)
    for run in (module, lambda *args, **options: linen.apply(variables, *args, **options)):
        carry, ys = run(inputs().swapaxes(0, 1), initial_carry=start, mask=mask.T, resets=resets.T, time_major=True)
        assert_close((carry, jnp.moveaxis(ys, 0, 1)), (expected_carry, expected))


@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_any_batch_rank(batch):
    module, linen, variables = twins(features=H)
    xs = np.random.default_rng(0).normal(size=(*batch, T, I)).astype(np.float32)
    mask = np.random.default_rng(1).random((*batch, T)) < 0.6
    carry, ys = module(xs, mask=mask)
    assert ys.shape == (*batch, T, H)
    assert carry[0][0].shape == (*batch, H)
    assert_close(linen.apply(variables, xs, mask=mask), (carry, ys))
    for index in np.ndindex(batch):
        assert_close(module(xs[index], mask=mask[index])[1], ys[index], atol=1e-6)


def test_dropout_of_nnx_follows_train_and_eval():
    module = gru_jax.nnx.GRU(I, H, num_layers=2, dropout_rate=0.5, rngs=nnx.Rngs(0))
    first, second = module(inputs())[1], module(inputs())[1]
    assert np.any(first != second)
    module.eval()
    calm = module(inputs())[1]
    assert_close(module(inputs())[1], calm)
    assert_close(calm, jnp.moveaxis(gru_jax.scan_layers(module.cell, module.params, inputs().swapaxes(0, 1))[1], 0, 1))
    module.train()
    assert np.any(module(inputs())[1] != calm)
    assert_close(module(inputs(), deterministic=True)[1], calm)
    one, same = (module(inputs(), rngs=nnx.Rngs(dropout=3))[1] for _ in range(2))
    assert_close(one, same)


def test_dropout_of_linen_follows_its_stream():
    model = gru_jax.linen.GRU(H, num_layers=2, dropout_rate=0.5)
    variables = model.init({"params": jax.random.key(0), "dropout": jax.random.key(1)}, inputs())
    run = lambda seed: model.apply(variables, inputs(), rngs={"dropout": jax.random.key(seed)})[1]  # noqa: E731
    calm = model.apply(variables, inputs(), deterministic=True)[1]
    assert_close(run(0), run(0))
    assert np.any(run(0) != run(1))
    assert np.any(run(0) != calm)
    assert_close(model.clone(deterministic=True).apply(variables, inputs())[1], calm)
    with pytest.raises(flax.errors.InvalidRngError, match="dropout"):
        model.apply(variables, inputs())


def test_dtypes_of_modules():
    for run in (
        gru_jax.nnx.GRU(I, H, dtype=jnp.bfloat16, rngs=nnx.Rngs(0)),
        lambda xs: gru_jax.linen.GRU(H, dtype=jnp.bfloat16).init_with_output(jax.random.key(0), xs)[0],
    ):
        carry, ys = run(inputs())
        assert ys.dtype == jnp.bfloat16
        assert carry[0][0].dtype == jnp.float32
    module = gru_jax.nnx.GRU(I, H, param_dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(module.params)} == {jnp.dtype(jnp.bfloat16)}
    assert module(inputs())[1].dtype == jnp.float32
    variables = gru_jax.linen.GRU(H, param_dtype=jnp.bfloat16).init(jax.random.key(0), inputs())
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.bfloat16)}


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell.name}-{cell.options}")
def test_cells_inside_flax_rnn(cell):
    lengths = np.array([5, 2, 1])
    ours = gru_jax.nnx.GRUCell(I, H, cell=cell, rngs=nnx.Rngs(0))
    carry, ys = nnx.RNN(ours, return_carry=True)(inputs(), seq_lengths=lengths)
    expected_carry, expected = gru_jax.scan(cell, ours.params, inputs().swapaxes(0, 1), seq_lengths=lengths)
    valid = np.arange(T) < lengths[:, None]
    if cell.name != "lstm":  # flax.nnx.RNN picks the last valid carry from single arrays only.
        assert_close(carry, expected_carry, atol=1e-6)
    assert_close(np.asarray(ys)[valid], np.asarray(expected).swapaxes(0, 1)[valid], atol=1e-6)

    model = flax.linen.RNN(gru_jax.linen.GRUCell(H, cell=cell))
    variables = {"params": {"cell": nnx.to_pure_dict(nnx.state(ours, nnx.Param))}}
    assert_close(model.apply(variables, inputs()), gru_jax_rows(cell, ours.params), atol=1e-6)
    made = model.init(jax.random.key(0), inputs())
    assert jax.tree.map(jnp.shape, made) == jax.tree.map(jnp.shape, variables)


def gru_jax_rows(cell, params):
    return jnp.moveaxis(gru_jax.scan(cell, params, inputs().swapaxes(0, 1))[1], 0, 1)


def test_linen_draws_absent_parameters_whenever_flax_lets_it():
    """With the collection mutable, apply makes what init makes; without it, Flax says what is missing."""
    carry, x = jnp.zeros((B, H)), jnp.asarray(inputs()[:, 0])
    for model, arguments in ((gru_jax.linen.GRUCell(H), (carry, x)), (gru_jax.linen.GRU(H), (inputs(),))):
        made = model.init(jax.random.key(0), *arguments)
        _, grown = model.apply({}, *arguments, mutable=["params"], rngs={"params": jax.random.key(0)})
        assert_close(grown, made)
        assert all(np.any(leaf) for leaf in jax.tree.leaves(grown) if leaf.ndim > 1)
        with pytest.raises(flax.errors.ScopeCollectionNotFound, match="params"):
            model.apply({}, *arguments)


def test_cells_inside_flax_bidirectional():
    cells = [gru_jax.nnx.GRUCell(I, H, rngs=nnx.Rngs(seed)) for seed in (0, 1)]
    both = nnx.Bidirectional(*(nnx.RNN(cell) for cell in cells))(inputs())
    params = (tuple(cell.params for cell in cells),)
    expected = jnp.moveaxis(gru_jax.scan_layers(gru_jax.gru(), params, inputs().swapaxes(0, 1))[1], 0, 1)
    assert_close(both, expected, atol=1e-6)
    model = flax.linen.Bidirectional(*(flax.linen.RNN(gru_jax.linen.GRUCell(H)) for _ in range(2)))
    leaves = [nnx.to_pure_dict(nnx.state(cell, nnx.Param)) for cell in cells]
    made = model.init(jax.random.key(0), inputs())
    names = sorted(made["params"])
    assert len(names) == 2
    variables = {
        "params": {name: {"cell": leaf} for name, leaf in zip(("forward_rnn", "backward_rnn"), leaves, strict=True)}
    }
    assert sorted(variables["params"]) == names
    assert_close(model.apply(variables, inputs()), expected, atol=1e-6)


def test_our_cell_computes_what_flaxs_own_cell_does():
    """Flax's GRU is ours with reset_after, z kept, and no bias beside the state's r and z."""
    theirs = nnx.GRUCell(I, H, rngs=nnx.Rngs(0))
    ours = gru_jax.nnx.GRUCell(I, H, rngs=nnx.Rngs(1))
    ours.w_i[...], ours.b_i[...] = theirs.dense_i.kernel[...], theirs.dense_i.bias[...] + 0.1
    theirs.dense_i.bias[...] = ours.b_i[...]
    ours.w_h[...] = theirs.dense_h.kernel[...]
    assert_close(nnx.RNN(ours)(inputs()), nnx.RNN(theirs)(inputs()), atol=2e-6)


def test_modules_train_with_optax():
    """Thirty steps on 'is the sum of the first inputs positive' halve the loss, in both Flaxes."""
    xs = np.random.default_rng(0).normal(size=(32, T, I)).astype(np.float32)
    labels = jnp.asarray(xs[:, :, 0].sum(1) > 0, jnp.float32)

    def loss_of(ys):
        return jnp.mean(optax.sigmoid_binary_cross_entropy(4 * ys[:, -1, 0], labels))

    module = gru_jax.nnx.GRU(I, H, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(module, optax.adam(0.05), wrt=nnx.Param)

    @nnx.jit
    def step(module, optimizer):
        loss, gradients = nnx.value_and_grad(lambda m: loss_of(m(xs)[1]))(module)
        optimizer.update(module, gradients)
        return loss

    # optax's own Adam mixes int32 and float32, which strict promotion refuses.
    with jax.numpy_dtype_promotion("standard"):
        losses = [float(step(module, optimizer)) for _ in range(30)]
    assert losses[-1] < 0.5 * losses[0]

    model, tx = gru_jax.linen.GRU(H), optax.adam(0.05)
    variables = model.init(jax.random.key(0), xs)
    state = tx.init(variables)

    @jax.jit
    def update(variables, state):
        loss, gradients = jax.value_and_grad(lambda v: loss_of(model.apply(v, xs)[1]))(variables)
        updates, state = tx.update(gradients, state)
        return optax.apply_updates(variables, updates), state, loss

    losses = []
    with jax.numpy_dtype_promotion("standard"):
        for _ in range(30):
            variables, state, loss = update(variables, state)
            losses.append(float(loss))
    assert losses[-1] < 0.5 * losses[0]


def test_a_module_survives_split_merge_and_jit():
    module = gru_jax.nnx.GRU(I, H, num_layers=2, bidirectional=True, dropout_rate=0.5, rngs=nnx.Rngs(0))
    module.eval()
    graph, state = nnx.split(module)
    again = nnx.merge(graph, state)
    assert_close(again(inputs()), module(inputs()))
    assert_close(nnx.jit(lambda m, x: m(x))(module, inputs()), module(inputs()), atol=1e-6)
