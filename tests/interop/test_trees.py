"""Parameters of flax.linen, flax.nnx, Haiku and Equinox, against what those libraries computed with them."""

import dataclasses

import flax.linen
import flax.nnx as nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gru_jax
from gru_jax import interop
from tests.interop.weight_cases import load, run, same_bits, worst

FAMILIES = {family: load(family) for family in ("linen", "nnx", "haiku", "equinox")}
CASES = [(family, name) for family, cases in FAMILIES.items() for name in cases]
FROM = {family: getattr(interop, f"from_{family}") for family in FAMILIES}
LAYOUTS = {
    "fused": "dense",
    "rnn": "dense",
    "fused_bias": "dense_with_hidden_bias",
    "fused_hn_bias": "dense_with_hn_bias",
    "separate": "separate",
    "separate_no_bias": "separate_without_hidden_bias",
}
KEY = jax.random.key(0)


def nest(flat):
    """The tree as its library has it: Haiku's module names are one key, whatever slashes they have."""
    tree = {}
    for key, array in flat.items():
        *path, leaf = key.split("/")
        node = tree
        for name in path:
            node = node.setdefault(name, {})
        node[leaf] = array
    return tree


def options_of(family, name):
    return {"prefix": ("gru", "gru_1")} if (family, name) == ("haiku", "deep") else {}


def arrange(family, case):
    """xs and ys time-major, the states of each layer."""
    swap = (lambda a: np.moveaxis(a, 0, 1)) if family in ("linen", "nnx") else (lambda a: a)
    states = [tuple((leaf,) for leaf in a) if a.ndim == 3 else ((a,),) for a in (case["initial"], case["final"])]
    return swap(case["xs"]), *states, swap(case["ys"])


@pytest.mark.parametrize("backend", ["scan", "fused"])
@pytest.mark.parametrize(("family", "name"), CASES)
def test_a_cell_computes_what_its_library_did(family, name, backend, x64):
    case = FAMILIES[family][name]
    cell, params = FROM[family](nest(case.under("weights")), **options_of(family, name))
    xs, initial, final, ys = arrange(family, case)
    lengths = case.get("lengths")
    found = run(cell, params, xs, initial, seq_lengths=lengths, backend=backend)
    if lengths is not None:
        # These libraries compute on over the padding; what gru_jax promises is 0.
        ys = np.where((np.arange(len(ys))[:, None] < lengths)[..., None], ys, 0)
    tolerance = 1e-12 if xs.dtype == np.float64 else 5e-5 if "saturated" in name else 2e-6
    assert worst(found, (final, ys)) < tolerance


def back(family, name, cell, params):
    """The library's tree, flat."""
    if family == "linen":
        tree = interop.to_linen(cell, params)
    elif family == "nnx":
        layouts = [layout for start, layout in LAYOUTS.items() if name.startswith(start)]
        tree = interop.to_nnx(cell, params, layout=LAYOUTS.get(name, layouts[0]))
    elif family == "haiku":
        tree = interop.to_haiku(cell, params, name=["gru", "gru_1"] if name == "deep" else "gru")
    else:
        tree = interop.to_equinox(cell, params, bias="nobias" not in name)
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {"/".join(entry.key for entry in path): leaf for path, leaf in leaves}


@pytest.mark.parametrize(("family", "name"), CASES)
def test_and_back_to_the_bit(family, name, x64):
    weights = FAMILIES[family][name].under("weights")
    cell, params = FROM[family](nest(weights), **options_of(family, name))
    found = back(family, name, cell, params)
    inside = {key.removeprefix("cell/"): array for key, array in weights.items()}
    assert same_bits(dict(sorted(found.items())), dict(sorted(inside.items())))


@pytest.mark.parametrize("update_gate", ["keep", "write"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_cell_of_ours_goes_there_and_back(family, update_gate, x64):
    """Biases of both kinds and the other sign, through a format that has one of each."""
    cell = gru_jax.gru(
        reset_after=family != "haiku", update_gate=update_gate, bias_init=jax.nn.initializers.normal(1.0)
    )
    params = cell.init(KEY, 3, 4, "float64")
    if family == "nnx":
        params = params._replace(b_h=params.b_h.at[8:].set(0))
    to = getattr(interop, f"to_{family}")
    other, again = FROM[family](to(cell, params))
    xs = np.asarray(jax.random.normal(KEY, (6, 2, 3), "float64"))
    assert worst(run(cell, ((params,),), xs, None), run(other, again, xs, None)) < 1e-12


def test_modules_and_their_states_are_read_alike():
    """What a user of nnx has at hand: the module, its state, and the plain tree of it; and a model around it."""

    class Model(nnx.Module):
        def __init__(self):
            self.encoder = nnx.RNN(nnx.GRUCell(3, 4, rngs=nnx.Rngs(0)), rngs=nnx.Rngs(1))
            self.head = nnx.Linear(4, 2, rngs=nnx.Rngs(0))

    model = Model()
    module = model.encoder.cell
    state = nnx.state(module)
    expected = interop.to_nnx(*interop.from_nnx(state))
    for given in (module, nnx.to_pure_dict(state), {"cell": nnx.to_pure_dict(state)}):
        assert jax.tree.all(jax.tree.map(np.array_equal, interop.to_nnx(*interop.from_nnx(given)), expected))
    for given in (model, nnx.state(model)):
        found = interop.to_nnx(*interop.from_nnx(given, prefix="encoder/cell"))
        assert jax.tree.all(jax.tree.map(np.array_equal, found, expected))
    with pytest.raises(ValueError, match="one GRU and nothing else, got 5 arrays; pass prefix='encoder/cell'"):
        interop.from_nnx(model)


@dataclasses.dataclass(frozen=True)
class EquinoxCell:
    """The fields of an `equinox.nn.GRUCell`, which is a frozen dataclass as this is."""

    weight_ih: jax.Array
    weight_hh: jax.Array
    bias: jax.Array
    bias_n: jax.Array
    input_size: int
    hidden_size: int
    use_bias: bool = True

    @classmethod
    def of_sizes(cls, inputs, hidden):
        shapes = ((3 * hidden, inputs), (3 * hidden, hidden), (3 * hidden,), (hidden,))
        keys = jax.random.split(KEY, 4)
        arrays = [jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True)]
        return cls(*arrays, input_size=inputs, hidden_size=hidden)


def test_cells_in_lists_and_private_attributes():
    """Where models keep them: a list of layers, an attribute that others are not to touch."""

    @dataclasses.dataclass(frozen=True)
    class Model:
        layers: list
        _last: EquinoxCell

    layers = [EquinoxCell.of_sizes(*sizes) for sizes in ((3, 4), (4, 4), (4, 5))]
    model = Model(layers[:2], layers[2])
    cell, params = interop.from_equinox(model, prefix=["layers/0", "layers/1", "_last"])
    for layer, own in zip(layers, params, strict=True):
        assert jax.tree.all(jax.tree.map(np.array_equal, own, interop.from_equinox(layer)[1][0]))
    in_mappings = {"layers": [interop.to_equinox(cell, layer[0]) for layer in params]}
    _, again = interop.from_equinox(in_mappings, prefix=["layers/0", "layers/1", "layers/2"])
    assert jax.tree.all(jax.tree.map(np.array_equal, params, again))
    with pytest.raises(ValueError, match="pass prefix='_last' or 'layers/0' or 'layers/1'"):
        interop.from_equinox(model)

    class Private(nnx.Module):
        def __init__(self):
            self._cell = nnx.GRUCell(3, 4, rngs=nnx.Rngs(0))

    module = Private()
    one, other = (interop.from_nnx(given, prefix="_cell")[1] for given in (module, nnx.state(module)))
    assert jax.tree.all(jax.tree.map(np.array_equal, one, other))


def test_two_arrays_of_one_name_are_refused():
    weights = FAMILIES["haiku"]["gru"].under("weights")
    tree = {f"a/{key}": value for key, value in weights.items()} | {"a": nest(weights)}
    with pytest.raises(ValueError, match=r"a/gru/.*: expected one array of this name, found two"):
        interop.from_haiku(tree)


def test_trees_of_linen_in_any_wrapping():
    module = flax.linen.GRUCell(4)
    variables = module.init(KEY, jnp.zeros(4), jnp.ones(3))
    for tree in (variables, variables["params"], {"params": {"rnn": {"cell": variables["params"]}}}):
        cell, params = interop.from_linen(tree)
        assert jax.tree.all(jax.tree.map(np.array_equal, interop.to_linen(cell, params), variables["params"]))


def test_layers_and_directions_by_their_prefixes():
    trees = [nest(FAMILIES["linen"]["cell"].under("weights")) for _ in range(2)]
    big = {"fwd": trees[0], "bwd": trees[1], "head": {"kernel": np.ones((4, 2), np.float32)}}
    _, params = interop.from_linen(big, prefix=[["fwd", "bwd"]])
    assert [len(layer) for layer in params] == [2]
    with pytest.raises(ValueError, match=r"params\['bwd/ir/kernel'\]: expected shape \(4, 4\), got \(2, 4\)"):
        interop.from_linen(big, prefix=["fwd", "bwd"])


LINEN = FAMILIES["linen"]["cell"].under("weights")
HAIKU = FAMILIES["haiku"]["gru"].under("weights")
EQUINOX = FAMILIES["equinox"]["bias-float32"].under("weights")


@pytest.mark.parametrize(
    ("family", "tree", "options", "message"),
    [
        ("linen", 3, {}, "params: expected a tree of arrays by name, got int"),
        ("linen", [LINEN], {}, "params: expected a tree of arrays by name, got list"),
        (
            "linen",
            {},
            {},
            "params: expected arrays under '', got none among 0; pass the parameters of a GRU of flax.linen",
        ),
        (
            "linen",
            nest(HAIKU),
            {},
            "expected the keys of a GRU of flax.linen, but missing 'ir/kernel', .*unexpected 'gru/",
        ),
        ("linen", nest(LINEN), {"prefix": "rnn"}, "expected arrays under 'rnn', got none among 10; pass prefix=''"),
        ("linen", nest(LINEN), {"prefix": 3}, "prefix: expected a string, or a list of one for each layer, got 3"),
        ("linen", nest(LINEN), {"prefix": [["a", "b", "c"]]}, r"prefix: expected one string or two a layer, got \['a'"),
        ("linen", nest(LINEN | {"hr/bias": LINEN["hn/bias"]}), {}, "unexpected 'hr/bias'"),
        ("linen", nest({k: v for k, v in LINEN.items() if k != "hn/bias"}), {}, "missing 'hn/bias'"),
        (
            "linen",
            nest(LINEN | {"hz/kernel": np.ones((4, 5), np.float32)}),
            {},
            r"'hz/kernel'.: expected shape \(4, 4\)",
        ),
        (
            "linen",
            nest(LINEN | {"hr/kernel": np.ones((4, 5), np.float32)}),
            {},
            r"'hr/kernel'.: expected shape \(H, H\)",
        ),
        (
            "linen",
            nest(LINEN | {"in/kernel": np.ones((3, 4), np.float32)}),
            {},
            r"'in/kernel'.: expected shape \(2, 4\), got \(3, 4\)",
        ),
        ("linen", nest(LINEN | {"in/bias": np.ones(4)}), {}, r"'in/bias'.: expected float32, .* got float64"),
        ("haiku", nest(HAIKU) | {"linear": {"w": np.ones(3)}}, {}, "got 4 arrays; pass prefix='gru'"),
        ("haiku", {"gru": {"w_i": HAIKU["gru/w_i"]}}, {}, "missing 'w_i', 'w_h', 'b' and unexpected 'gru/w_i'"),
        ("equinox", nest(EQUINOX | {"bias_n": None}), {}, "missing 'bias_n'"),
        ("equinox", nest(EQUINOX | {"bias_n": np.ones(3, np.float32)}), {}, r"'bias_n'.: expected shape \(4,\)"),
    ],
)
def test_what_is_no_gru_is_refused(family, tree, options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        FROM[family](tree, **options)


def test_what_cannot_be_exact_is_refused():
    after = gru_jax.gru(bias_init=jax.nn.initializers.ones)
    params = after.init(KEY, 3, 4)
    with pytest.raises(ValueError, match=r"b_h: the candidate's bias .* is not 0, and flax.nnx holds none there"):
        interop.to_nnx(after, params)
    with pytest.raises(ValueError, match=r"Haiku computes reset_after=False, this cell reset_after=True: no weights"):
        interop.to_haiku(after, params)
    for to in (interop.to_linen, interop.to_nnx, interop.to_equinox):
        with pytest.raises(ValueError, match="computes reset_after=True, this cell reset_after=False: no weights"):
            to(gru_jax.gru(reset_after=False), params)
    with pytest.raises(ValueError, match=r"layout: expected one of 'dense', .*got 'six'"):
        interop.to_nnx(after, params, layout="six")
    with pytest.raises(ValueError, match="expected zeros, as Equinox is to hold no biases"):
        interop.to_equinox(after, params, bias=False)
    two = gru_jax.init_layers(gru_jax.gru(reset_after=False), KEY, 3, 4, num_layers=2)
    with pytest.raises(ValueError, match="name: expected a name for each of 1 layers, got 2"):
        interop.to_haiku(gru_jax.gru(reset_after=False), two[:1], name=["a", "b"])
    with pytest.raises(ValueError, match=r"haiku.GRU holds 1 layer, got 2"):
        interop.to_haiku(gru_jax.gru(reset_after=False), two)
    both = gru_jax.init_layers(after, KEY, 3, 4, bidirectional=True)
    with pytest.raises(ValueError, match=r"flax.linen.GRUCell holds 1 direction, got 2"):
        interop.to_linen(after, both)


def test_a_conversion_inside_jit_says_so():
    cell = gru_jax.gru()
    with pytest.raises(TypeError, match=r"params\[0\]\[0\].w_i: expected an array, .*outside of jit"):
        jax.jit(lambda p: interop.to_linen(cell, p))(cell.init(KEY, 3, 4))
