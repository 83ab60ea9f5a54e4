"""Law 12: a user's mistake is named, with what was expected, what came, and the way out; never a raw XLA error."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gru_jax
from tests.refusals import refused

T, B, I, H = 5, 3, 2, 4  # noqa: E741 - the letters of DESIGN.md
GRU = gru_jax.gru()
KEY = jax.random.key(0)
PARAMS = GRU.init(KEY, I, H)
XS = np.zeros((T, B, I), np.float32)
STACK = gru_jax.init_layers(GRU, KEY, I, H, num_layers=2, bidirectional=True)
LSTM = gru_jax.lstm()
DEEP = gru_jax.init_layers(GRU, KEY, I, H, num_layers=2)


def scan(xs=XS, cell=GRU, params=PARAMS, **options):
    return gru_jax.scan(cell, params, xs, **options)


def layers(params=STACK, xs=XS, **options):
    return gru_jax.scan_layers(GRU, params, xs, **options)


# what is done, the error, and the words it must have: the argument, what was expected, what came, the way out.
MISTAKES = {
    "width": (
        lambda: scan(np.zeros((T, B, 7), np.float32)),
        ValueError,
        ["xs:", "(T, *B, 2)", "(5, 3, 7)", "in_features=7"],
    ),
    "rank": (lambda: scan(np.zeros(I, np.float32)), ValueError, ["xs:", "(T, *B, 2)", "(2,)", "add the missing axes"]),
    "no array": (lambda: scan([[1.0, 2.0]]), TypeError, ["xs:", "array", "list", "jnp.asarray"]),
    "integers": (lambda: scan(XS.astype(int)), TypeError, ["xs:", "float", "int", "astype"]),
    "complex": (lambda: scan(XS.astype(complex)), TypeError, ["xs:", "float", "complex", ".imag]"]),
    "maker for cell": (
        lambda: scan(cell=gru_jax.gru),
        TypeError,
        ["cell:", "gru_jax.Cell", "function", "gru_jax.gru()"],
    ),
    "params of another cell": (
        lambda: scan(params=LSTM.init(KEY, I, H)),
        TypeError,
        ["params:", "GRUParams", "LSTMParams", "init"],
    ),
    "params of another width": (
        lambda: scan(params=PARAMS._replace(w_h=np.zeros((5, 12), np.float32))),
        ValueError,
        ["params.w_h", "(H, 3H)", "(5, 12)", "init"],
    ),
    "bias of another width": (
        lambda: scan(params=PARAMS._replace(b_h=np.zeros(9, np.float32))),
        ValueError,
        ["params.b_h", "(3H,)", "(9,)", "init"],
    ),
    "params of no third": (
        lambda: scan(params=PARAMS._replace(w_i=np.zeros((2, 13), np.float32))),
        ValueError,
        ["params.w_i", "(I, 3H)", "(2, 13)", "init"],
    ),
    "stacked params": (
        lambda: scan(params=jax.tree.map(lambda p: jnp.stack([p, p]), PARAMS)),
        ValueError,
        ["params.w_i", "(I, 3H)", "(2, 2, 12)", "jax.vmap"],
    ),
    "params of lists": (
        lambda: scan(params=PARAMS._replace(b_i=[0.0] * 12)),
        TypeError,
        ["params.b_i", "array", "list", "jnp.asarray"],
    ),
    "integer params": (
        lambda: scan(params=jax.tree.map(lambda p: p.astype(int), PARAMS)),
        TypeError,
        ["params.w_i", "float", "int", "astype"],
    ),
    "carry shape": (
        lambda: scan(carry=np.zeros((B, 5), np.float32)),
        ValueError,
        ["carry:", "(3, 4)", "(3, 5)", "cell.carry(params, batch_shape=(3,))"],
    ),
    "carry without batch": (
        lambda: scan(carry=np.zeros(B, np.float32)),
        ValueError,
        ["carry:", "(3, 4)", "(3,)", "batch_shape"],
    ),
    "carry dtype": (
        lambda: scan(carry=jnp.zeros((B, H), jnp.bfloat16)),
        TypeError,
        ["carry:", "float32", "bfloat16", "astype"],
    ),
    "carry of another cell": (
        lambda: scan(carry=LSTM.carry(LSTM.init(KEY, I, H), batch_shape=(B,))),
        TypeError,
        ["carry:", "one array", "LSTMCarry(h, c)", "cell.carry"],
    ),
    "a plain array for an LSTM": (
        lambda: scan(cell=LSTM, params=LSTM.init(KEY, I, H), carry=np.zeros((B, H), np.float32)),
        TypeError,
        ["carry:", "LSTMCarry(h, c)", "one array", "cell.carry"],
    ),
    "half an LSTM carry": (
        lambda: scan(
            cell=LSTM,
            params=LSTM.init(KEY, I, H),
            carry=gru_jax.LSTMCarry(np.zeros((B, H), np.float32), np.zeros((B, 1), np.float32)),
        ),
        ValueError,
        ["carry.c:", "(3, 4)", "(3, 1)", "batch_shape"],
    ),
    "reset carry shape": (
        lambda: scan(resets=np.zeros((T, B), bool), reset_carry=np.zeros((2, H), np.float32)),
        ValueError,
        ["reset_carry:", "(3, 4)", "(2, 4)", "batch_shape"],
    ),
    "mask shape": (
        lambda: scan(mask=np.ones((B, T), bool)),
        ValueError,
        ["mask:", "(5, 3)", "(3, 5)", "time axis first"],
    ),
    "mask dtype": (lambda: scan(mask=np.ones((T, B), int)), TypeError, ["mask:", "bool", "int", "astype(bool)"]),
    "resets shape": (lambda: scan(resets=np.ones(T, bool)), ValueError, ["resets:", "(5, 3)", "(5,)", "broadcast"]),
    "resets dtype": (
        lambda: scan(resets=np.ones((T, B), np.float32)),
        TypeError,
        ["resets:", "bool", "float32", "astype(bool)"],
    ),
    "lengths shape": (lambda: scan(seq_lengths=np.array([1, 2])), ValueError, ["seq_lengths:", "(3,)", "(2,)", "mask"]),
    "lengths scalar": (lambda: scan(seq_lengths=np.array(3)), ValueError, ["seq_lengths:", "(3,)", "()", "mask"]),
    "lengths dtype": (lambda: scan(seq_lengths=np.ones(B)), TypeError, ["seq_lengths:", "integers", "float", "astype"]),
    "lengths list": (lambda: scan(seq_lengths=[1, 2, 3]), TypeError, ["seq_lengths:", "array", "list", "jnp.asarray"]),
    "lengths too long": (
        lambda: scan(seq_lengths=np.array([1, 6, 5])),
        ValueError,
        ["seq_lengths:", "0..5", "1..6", "pad xs"],
    ),
    "lengths negative": (
        lambda: scan(seq_lengths=np.array([1, -1, 5])),
        ValueError,
        ["seq_lengths:", "0..5", "-1..5", "clip"],
    ),
    "lengths and mask": (
        lambda: scan(seq_lengths=np.ones(B, int), mask=np.ones((T, B), bool)),
        ValueError,
        ["mask and seq_lengths", "at most one", "both", "fold"],
    ),
    "backend": (lambda: scan(backend="cuda"), ValueError, ["backend:", '"scan"', "'cuda'", '"auto"']),
    "backend type": (lambda: scan(backend=None), ValueError, ["backend:", '"scan"', "None", '"auto"']),
    "unroll": (lambda: scan(unroll=0), ValueError, ["unroll:", ">= 1", "0", "one step at a time"]),
    "unroll type": (lambda: scan(unroll=True), TypeError, ["unroll:", "integer", "True", "one step at a time"]),
    "remat": (lambda: scan(remat=0), ValueError, ["remat:", ">= 1", "0", "None"]),
    "remat type": (lambda: scan(remat=2.5), TypeError, ["remat:", "integer", "2.5", "None"]),
    "reverse": (lambda: scan(reverse=1), TypeError, ["reverse:", "True or False", "1", "Python bool"]),
    "precision": (lambda: scan(precision="sharp"), ValueError, ["precision:", "highest", "'sharp'", "pass one"]),
    "step width": (
        lambda: GRU(PARAMS, jnp.zeros((B, H)), jnp.zeros((B, 9))),
        ValueError,
        ["x:", "(*B, 2)", "(3, 9)", "in_features=9"],
    ),
    "step carry": (
        lambda: GRU(PARAMS, jnp.zeros((2, H)), jnp.zeros((B, I))),
        ValueError,
        ["carry:", "(3, 4)", "(2, 4)", "cell.carry"],
    ),
    "lengths under jit": (
        lambda: jax.jit(lambda xs: scan(xs, seq_lengths=np.array([1, 9, 5])))(XS),
        ValueError,
        ["seq_lengths:", "0..5", "1..9", "clip"],
    ),
    "strings": (lambda: scan(np.full((T, B, I), "x")), TypeError, ["xs:", "array of numbers", "<U1", "convert"]),
    "backend array": (lambda: scan(backend=np.ones(2)), ValueError, ["backend:", '"scan"', "array", '"auto"']),
    "backend for a name": (
        lambda: gru_jax.backend_for("gru"),
        TypeError,
        ["cell:", "gru_jax.Cell", "'gru'", "gru_jax.gru()"],
    ),
    "options that do not hash": (
        lambda: scan(cell=GRU.replace(options={})),
        TypeError,
        ["cell:", "hashable", "dict", "NamedTuple"],
    ),
    "many keys": (
        lambda: GRU.init(jax.random.split(KEY, 3), I, H),
        ValueError,
        ["key:", "one random key", "(3,)", "key[0]"],
    ),
    "many old keys": (
        lambda: gru_jax.init_layers(GRU, np.zeros((3, 2), np.uint32), I, H),
        ValueError,
        ["key:", "one random key", "(3,)", "key[0]"],
    ),
    "dtype None": (lambda: GRU.init(KEY, I, H, None), TypeError, ["dtype:", "float dtype", "None", "jnp.float32"]),
    "carry of nothing": (lambda: GRU.carry(None), TypeError, ["params:", "NoneType", "init"]),
    "min_gru carry of gru params": (
        lambda: gru_jax.min_gru().carry(PARAMS),
        TypeError,
        ["params:", "MinGRUParams", "GRUParams", "init"],
    ),
    "initialiser of nothing": (
        lambda: gru_jax.gru(kernel_init=lambda key, shape, dtype: None).init(KEY, I, H),
        TypeError,
        ["kernel_init:", "array", "NoneType"],
    ),
    "layers that do not fit": (
        lambda: layers((DEEP[0], DEEP[0])),
        ValueError,
        ["params[1][0]:", "width 4", "one for 2", "init_layers"],
    ),
    "reverse array": (
        lambda: layers(reverse=np.ones(2)),
        TypeError,
        ["reverse:", "True or False", "array", "Python bool"],
    ),
    "features": (lambda: GRU.init(KEY, I, 0), ValueError, ["features:", ">= 1", "0", "width"]),
    "features type": (lambda: GRU.init(KEY, I, 2.0), TypeError, ["features:", "integer", "2.0", "width"]),
    "in_features": (lambda: GRU.init(KEY, -1, H), ValueError, ["in_features:", ">= 1", "-1", "width"]),
    "key": (lambda: GRU.init(0, I, H), TypeError, ["key:", "random key", "0", "jax.random.key"]),
    "param dtype": (
        lambda: GRU.init(KEY, I, H, jnp.int32),
        TypeError,
        ["dtype:", "float dtype", "int32", "jnp.float32"],
    ),
    "no dtype": (lambda: GRU.init(KEY, I, H, "fast"), TypeError, ["dtype:", "float dtype", "'fast'", "jnp.float32"]),
    "float64 in 32 bits": (
        lambda: GRU.init(KEY, I, H, np.float64),
        TypeError,
        ["dtype:", "float64", "32 bits", "jax_enable_x64"],
    ),
    "batch shape": (lambda: GRU.carry(PARAMS, batch_shape=4), TypeError, ["batch_shape:", "tuple", "4", "(4,)"]),
    "update gate": (
        lambda: gru_jax.gru(update_gate="forget"),
        ValueError,
        ["update_gate:", '"keep"', "'forget'", "pass one"],
    ),
    "min_gru update gate": (
        lambda: gru_jax.min_gru(update_gate=None),
        ValueError,
        ["update_gate:", '"write"', "None", "pass one"],
    ),
    "reset_after": (
        lambda: gru_jax.gru(reset_after="yes"),
        TypeError,
        ["reset_after:", "True or False", "'yes'", "bool"],
    ),
    "kernel_init": (
        lambda: gru_jax.gru(kernel_init=0.1),
        TypeError,
        ["kernel_init:", "function", "0.1", "jax.nn.initializers"],
    ),
    "recurrent_init": (
        lambda: gru_jax.rnn(recurrent_init="orthogonal"),
        TypeError,
        ["recurrent_init:", "function", "orthogonal", "jax.nn"],
    ),
    "initialiser shape": (
        lambda: gru_jax.lstm(bias_init=lambda key, shape, dtype: jnp.zeros(1)).init(KEY, I, H),
        ValueError,
        ["bias_init:", "(4,)", "(1,)", "once per gate"],
    ),
    "chrono span": (lambda: gru_jax.gru(chrono_span=1), ValueError, ["chrono_span:", "above 2", "1", "None"]),
    "chrono type": (lambda: gru_jax.lstm(chrono_span="long"), TypeError, ["chrono_span:", "number", "'long'", "float"]),
    "two biases": (
        lambda: gru_jax.gru(update_bias=1.0, chrono_span=9),
        ValueError,
        ["update_bias and chrono_span", "one", "1.0", "leave"],
    ),
    "bias nan": (lambda: gru_jax.lstm(forget_bias=np.nan), TypeError, ["forget_bias:", "finite", "nan", "float"]),
    "layers": (
        lambda: gru_jax.init_layers(GRU, KEY, I, H, num_layers=0),
        ValueError,
        ["num_layers:", ">= 1", "0", "stacked"],
    ),
    "layer widths": (
        lambda: gru_jax.init_layers(GRU, KEY, I, (4, 5), num_layers=3),
        ValueError,
        ["features:", "num_layers=3", "(4, 5)", "leave num_layers out"],
    ),
    "layer width": (
        lambda: gru_jax.init_layers(GRU, KEY, I, (4, -5)),
        ValueError,
        ["features[1]:", ">= 1", "-5", "width"],
    ),
    "no layer": (lambda: gru_jax.init_layers(GRU, KEY, I, ()), ValueError, ["features:", "one width", "()", "leave"]),
    "bidirectional": (
        lambda: gru_jax.init_layers(GRU, KEY, I, H, bidirectional=2),
        TypeError,
        ["bidirectional:", "True or False", "2", "Python bool"],
    ),
    "bare params": (
        lambda: layers(PARAMS),
        TypeError,
        ["params:", "params[layer][direction]", "GRUParams", "((params,),)"],
    ),
    "bare carry": (
        lambda: layers(carry=np.zeros((B, H))),
        TypeError,
        ["carry:", "carry[layer][direction]", "ndarray", "((carry,),)"],
    ),
    "carry of one layer": (
        lambda: layers(carry=((np.zeros((B, H)),) * 2,)),
        ValueError,
        ["carry:", "[2, 2]", "[2]", "params[layer][direction]"],
    ),
    "carry inside": (
        lambda: layers(carry=((np.zeros((B, H), np.float32), np.zeros((B, 9), np.float32)),) * 2),
        ValueError,
        ["carry[0][1]:", "(3, 4)", "(3, 9)", "cell.carry"],
    ),
    "reset carry inside": (
        lambda: layers(DEEP, reset_carry=((np.zeros(H, np.float32),), (np.zeros(9, np.float32),))),
        ValueError,
        ["reset_carry[1][0]:", "(3, 4)", "(9,)", "cell.carry"],
    ),
    "reverse of both": (lambda: layers(reverse=True), ValueError, ["reverse:", "two directions", "True", "flip xs"]),
    "dropout rate": (lambda: layers(dropout_rate=1.0), ValueError, ["dropout_rate:", "[0, 1)", "1.0", "0 turns"]),
    "dropout type": (lambda: layers(dropout_rate="half"), TypeError, ["dropout_rate:", "number", "'half'", "float"]),
    "dropout key": (
        lambda: layers(dropout_rate=0.5),
        ValueError,
        ["dropout_key:", "random key", "None", "dropout_rate=0.0"],
    ),
    "dropout no key": (
        lambda: layers(dropout_rate=0.5, dropout_key=1),
        TypeError,
        ["dropout_key:", "random key", "1", "jax.random.key"],
    ),
    "stack width": (
        lambda: layers(xs=np.zeros((T, B, 9), np.float32)),
        ValueError,
        ["xs:", "(T, *B, 2)", "(5, 3, 9)", "in_features=9"],
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named(name):
    mistake, kind, words = MISTAKES[name]
    with refused(kind, words):
        mistake()


@pytest.mark.parametrize("name", ["width", "carry shape", "mask shape", "lengths shape", "resets dtype", "stack width"])
def test_the_same_under_jit_and_vmap(name):
    mistake, kind, words = MISTAKES[name]
    for wrapped in (jax.jit(lambda _: mistake()), jax.vmap(lambda _: mistake())):
        with pytest.raises(kind, match=words[0].replace("[", r"\[")):
            wrapped(jnp.zeros(2))


def test_float64_does_not_mix(x64):
    params = GRU.init(KEY, I, H, np.float32)
    with pytest.raises(
        TypeError, match=r"xs: expected the precision of the params.*float32.*got float64.*cast one side"
    ):
        gru_jax.scan(GRU, params, np.zeros((T, B, I)))
    with pytest.raises(TypeError, match=r"float64.*got bfloat16"):
        gru_jax.scan(GRU, GRU.init(KEY, I, H, np.float64), jnp.zeros((T, B, I), jnp.bfloat16))


def test_a_public_name_that_does_not_exist():
    with pytest.raises(AttributeError, match="has no attribute 'GRU'"):
        _ = gru_jax.GRU
