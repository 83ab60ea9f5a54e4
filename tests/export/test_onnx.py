"""Exported ONNX models under onnxruntime: stacks, directions and ragged rows as scan_layers has them.

The reference is NumPy's (tests/reference.py), stacked here layer by layer; a few cases run gru_jax itself as well.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest

import gru_jax
from tests import reference
from tests.cases import EQUATIONS, Case

ONNX_CASES = [Case(*row, "scan") for row in EQUATIONS if row[1].name != "min_gru"]
BY_NAME = {case.name: case for case in ONNX_CASES}
GRUS = [case for case in ONNX_CASES if case.cell.name == "gru"]


def make_stack(case, rng, widths, directions, in_features, scale=0.7):
    """Random float32 params, biases included."""
    kind, gates = {
        "gru": (gru_jax.GRUParams, 3),
        "lstm": (gru_jax.LSTMParams, 4),
        "rnn": (gru_jax.RNNParams, 1),
    }[case.cell.name]
    params = []
    for width in widths:
        shapes = [(rows, gates * width) for rows in (in_features, width)] + [(gates * width,)] * 2
        layer = [
            [rng.normal(scale=scale, size=shape).astype(np.float32) for shape in shapes] for _ in range(directions)
        ]
        params.append(tuple(kind(*leaves) for leaves in layer))
        in_features = width * directions
    return tuple(params)


def make_carry(case, rng, params, rows):
    """initial_carry[layer][state] `(D, B, H)`, float32."""
    count = 2 if case.cell.name == "lstm" else 1
    return [
        [rng.normal(scale=0.5, size=(len(layer), rows, layer[0].w_h.shape[0])).astype(np.float32) for _ in range(count)]
        for layer in params
    ]


def expect(case, params, xs, lengths, carry, reverse=False):
    """The reference in float64: the final carry, nested as `carry`, and ys."""
    if not xs.shape[1]:
        return carry, np.zeros((*xs.shape[:2], sum(own.w_h.shape[0] for own in params[-1])))
    valid = np.arange(len(xs))[:, None] < np.asarray(lengths)
    xs, final = np.where(valid[..., None], xs, 0).astype(np.float64), []
    for layer, states in zip(params, carry, strict=True):
        ends, outs = [], []
        for d, own in enumerate(layer):
            start = tuple(state[d].astype(np.float64) for state in states)
            wide = tuple(leaf.astype(np.float64) for leaf in own)
            start = start if len(start) > 1 else start[0]
            end, ys = reference.run(case.step, wide, xs, start, valid, reverse=reverse or d == 1)
            ends.append(end if isinstance(end, tuple) else (end,))
            outs.append(ys)
        final.append([np.stack(state) for state in zip(*ends, strict=True)])
        xs = np.concatenate(outs, axis=-1)
    return final, xs


def open_session(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run_model(model, xs, lengths=None, carry=None):
    """The final carry, nested, and ys."""
    session = open_session(model)
    names = [output.name for output in session.get_outputs()]
    feeds = {"xs": xs} | ({} if lengths is None else {"seq_lengths": np.asarray(lengths, np.int32)})
    if carry is not None:
        feeds |= dict(zip((f"initial_{name}" for name in names[1:]), itertools.chain(*carry), strict=True))
    ys, *final = session.run(None, feeds)
    states = 2 if "carry_0_c" in names else 1
    return [final[i : i + states] for i in range(0, len(final), states)], ys


def worst(actual, expected):
    """The largest difference; shapes have to be the same."""
    pairs = list(zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True))
    assert [a.shape for a, _ in pairs] == [e.shape for _, e in pairs]
    return max(float(np.max(np.abs(np.asarray(a) - np.asarray(e)), initial=0.0)) for a, e in pairs)


def test_two_hundred_random_stacks_with_ragged_lengths():
    """Weights as wide as trained ones: in deep stacks of wider ones float32 itself strays further than this."""
    rng = np.random.default_rng(5)
    errors = []
    for number in range(200):
        case = GRUS[number % 4]
        directions, reverse = [(1, False), (2, False), (1, True)][number % 3]
        # Few sizes, as JAX compiles something for each new shape; 17 is beyond the width of a vector.
        widths = tuple(int(width) for width in rng.choice([1, 3, 8, 17], rng.integers(1, 5)))
        steps, rows, in_features = *rng.integers(1, 9, 2), int(rng.choice([1, 5]))
        lengths = rng.integers(0, steps + 1, rows)
        if number % 5 == 0:
            lengths[0], lengths[-1] = steps, 0
        params = make_stack(case, rng, widths, directions, in_features, scale=(0.3, 0.5, 0.7)[number % 7 % 3])
        carry = make_carry(case, rng, params, rows)
        xs = rng.normal(size=(steps, rows, in_features)).astype(np.float32)
        model = gru_jax.export.onnx_model(case.cell, params, initial_carry=True, reverse=reverse)
        errors.append(worst(run_model(model, xs, lengths, carry), expect(case, params, xs, lengths, carry, reverse)))
    assert len(errors) == 200
    assert max(errors) < 5e-6


@pytest.mark.parametrize("case", ONNX_CASES, ids=lambda case: case.name)
@pytest.mark.parametrize(("directions", "reverse"), [(1, False), (2, False), (1, True)])
def test_padding_does_not_exist_and_an_empty_row_returns_its_carry(case, directions, reverse):
    rng = np.random.default_rng(1)
    params = make_stack(case, rng, (4, 3), directions, 2)
    session_model = gru_jax.export.onnx_model(case.cell, params, initial_carry=True, reverse=reverse)
    for lengths in ([5, 0, 3, 1], [5, 5, 5, 5], [0, 0, 0, 0], [2]):
        carry = make_carry(case, rng, params, len(lengths))
        xs = rng.normal(size=(5, len(lengths), 2)).astype(np.float32)
        for row, length in enumerate(lengths):
            xs[length:, row] = np.nan
        final, ys = run_model(session_model, xs, lengths, carry)
        assert worst((final, ys), expect(case, params, xs, lengths, carry, reverse)) < 2e-6
        for row, length in enumerate(lengths):
            assert not ys[length:, row].any()
            if not length:
                for states, starts in zip(final, carry, strict=True):
                    np.testing.assert_array_equal([s[:, row] for s in states], [s[:, row] for s in starts])


@pytest.mark.parametrize("case", ONNX_CASES, ids=lambda case: case.name)
@pytest.mark.parametrize(("steps", "rows"), [(0, 3), (3, 0), (0, 0), (1, 1)])
def test_no_steps_and_no_rows(case, steps, rows):
    rng = np.random.default_rng(2)
    params = make_stack(case, rng, (4, 3), 2, 2)
    carry = make_carry(case, rng, params, rows)
    xs = rng.normal(size=(steps, rows, 2)).astype(np.float32)
    model = gru_jax.export.onnx_model(case.cell, params, initial_carry=True)
    lengths = [steps] * rows
    assert worst(run_model(model, xs, lengths, carry), expect(case, params, xs, lengths, carry)) < 2e-6


@pytest.mark.parametrize("case", ONNX_CASES, ids=lambda case: case.name)
def test_equals_gru_jax_itself(case):
    rng = np.random.default_rng(3)
    params = make_stack(case, rng, (5, 4), 2, 3)
    xs, lengths = rng.normal(size=(7, 3, 3)).astype(np.float32), np.array([7, 2, 0], np.int32)
    expected, ys = gru_jax.scan_layers(case.cell, params, xs, seq_lengths=lengths)
    stacked = [[np.stack(state) for state in zip(*map(jax.tree.leaves, layer), strict=True)] for layer in expected]
    model = gru_jax.export.onnx_model(case.cell, params)
    assert worst(run_model(model, xs, lengths), (stacked, ys)) < 2e-6


@pytest.mark.parametrize("with_lengths", [True, False])
def test_batch_major_and_plain_nodes(with_lengths):
    case, rng = BY_NAME["gru-after-keep"], np.random.default_rng(4)
    params = make_stack(case, rng, (5, 4), 2, 3)
    xs = rng.normal(size=(6, 2, 3)).astype(np.float32)
    zeros = [[0 * state for state in layer] for layer in make_carry(case, rng, params, 2)]
    model = gru_jax.export.onnx_model(case.cell, params, seq_lengths=with_lengths, time_major=False)
    lengths = [6, 3] if with_lengths else None
    final, ys = run_model(model, xs.swapaxes(0, 1), lengths)
    assert worst((final, ys.swapaxes(0, 1)), expect(case, params, xs, lengths or [6, 6], zeros)) < 2e-6
    if not with_lengths:
        kinds = {node.op_type for node in model.graph.node}
        assert kinds == {"GRU", "Transpose", "Reshape", "Identity"}


@pytest.mark.parametrize("case", ONNX_CASES, ids=lambda case: case.name)
def test_nodes_inputs_and_metadata(case):
    params = make_stack(case, np.random.default_rng(6), (5, 4, 3), 2, 2)
    model = gru_jax.export.onnx_model(case.cell, params, initial_carry=True)
    onnx.checker.check_model(model, full_check=True)
    assert (model.ir_version, [(o.domain, o.version) for o in model.opset_import]) == (8, [("", 17)])
    nodes = [node for node in model.graph.node if node.op_type == case.cell.name.upper()]
    assert [node.name for node in nodes] == ["layer_0", "layer_1", "layer_2"]
    assert not {"Loop", "Scan", "If"} & {node.op_type for node in model.graph.node}
    for node, width in zip(nodes, (5, 4, 3), strict=True):
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        assert attributes["direction"] == b"bidirectional"
        assert attributes["hidden_size"] == width
        assert attributes.get("linear_before_reset", 0) == int(case.name.startswith("gru-after"))
    shapes = {
        value.name: tuple(dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes["xs"] == ("time", "batch", 2)
    assert shapes["seq_lengths"] == ("batch",)
    assert shapes["ys"] == ("time", "batch", 6)
    states = ("_h", "_c") if case.cell.name == "lstm" else ("",)
    for state in states:
        assert shapes[f"initial_carry_1{state}"] == shapes[f"carry_1{state}"] == (2, "batch", 4)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert model.producer_name == "gru_jax"
    assert metadata["gru_jax.cell"] == case.cell.name
    assert "h' = " in metadata["gru_jax.equations"]
    if case.cell.name == "gru":
        assert metadata["gru_jax.options.reset_after"] == str(case.cell.options.reset_after).lower()
        assert metadata["gru_jax.options.update_gate"] == case.cell.options.update_gate


def test_weights_are_those_that_were_given(tmp_path):
    case = BY_NAME["gru-before-keep"]
    params = make_stack(case, np.random.default_rng(7), (5, 4), 2, 3)
    path = tmp_path / "gru.onnx"
    gru_jax.export.save_onnx(path, case.cell, params, time_major=False)
    for layer, given in enumerate(params):
        cell, found = gru_jax.interop.from_onnx(**gru_jax.interop.read_onnx(path, f"layer_{layer}"))
        assert cell == case.cell
        assert worst(found[0], given) == 0
    assert [file.name for file in tmp_path.iterdir()] == ["gru.onnx"]


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_narrow_floats_are_widened(dtype):
    case, rng = BY_NAME["gru-after-keep"], np.random.default_rng(8)
    narrow = jax.tree.map(lambda leaf: jnp.asarray(leaf).astype(dtype), make_stack(case, rng, (4,), 1, 3))
    wide = jax.tree.map(lambda leaf: np.asarray(leaf).astype(np.float32), narrow)
    models = [gru_jax.export.onnx_model(case.cell, params) for params in (narrow, wide)]
    assert models[0].SerializeToString() == models[1].SerializeToString()


def test_a_graph_with_more_around_the_layers():
    """An embedding below, the mean over valid steps and a read-out above."""
    case, rng = BY_NAME["gru-after-write"], np.random.default_rng(9)
    params = make_stack(case, rng, (4,), 2, 3)
    table, w_out = rng.normal(size=(10, 3)).astype(np.float32), rng.normal(size=(8, 2)).astype(np.float32)
    graph = gru_jax.export.Graph("classifier")
    tokens = graph.input("tokens", np.int64, ("time", "batch"))
    lengths = graph.input("seq_lengths", np.int32, ("batch",))
    xs = graph.add("Gather", [graph.initializer(table, "embeddings"), tokens])
    _, ys = gru_jax.export.add_layers(graph, case.cell, params, xs, seq_lengths=lengths)
    total = graph.add("ReduceSum", [ys, graph.initializer(np.array([0]))], keepdims=0)
    count = graph.add("Cast", [lengths], to=onnx.TensorProto.FLOAT)
    mean = graph.add("Div", [total, graph.add("Unsqueeze", [count, graph.initializer(np.array([1]))])])
    graph.output("logits", graph.add("MatMul", [mean, graph.initializer(w_out)]), np.float32, ("batch", 2))
    model = graph.model({"task": "classify"})
    given, valid = rng.integers(0, 10, (6, 3)), np.array([6, 2, 1], np.int32)
    (logits,) = open_session(model).run(None, {"tokens": given, "seq_lengths": valid})
    zeros = [[np.zeros((2, 3, 4), np.float32)]]
    _, ys = expect(case, params, table[given], valid, zeros)
    np.testing.assert_allclose(logits, ys.sum(0) / valid[:, None] @ w_out, atol=2e-6)
    assert len({node.name for node in model.graph.node}) == len(model.graph.node)


def test_equal_constants_are_one():
    graph = gru_jax.export.Graph()
    assert graph.initializer(np.array([1])) == graph.initializer(np.array([1]))
    assert len({graph.initializer(np.array(value)) for value in ([1], 1, [1.0], [2])}) == 4
    assert graph.initializer(np.array([1]), "one") == "one"
