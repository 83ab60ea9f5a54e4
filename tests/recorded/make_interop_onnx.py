"""interop_onnx.npz: the GRU operator of ONNX as ONNX Runtime computes it. Run by make_interop_values.py.

Time-major, as the operator is by default: xs (T, B, I), ys (T, D, B, H), initial and final (D, B, H). In the cases
named zero_length a row has no valid step, and not every row is as ONNX asks: `final` there is what came, proven only in
its other rows (see `prove`).
"""

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from tests.recorded import interop_check as check
from tests.recorded.interop_check import LENGTHS, B, H, I, T

BIASES = "B (D, 6H): Wb[z, r, n], Rb[z, r, n]; or none"
FACTS = {
    f"onnx linear_before_reset={after}": check.Facts(
        gates="zrn", transposed=True, reset_after=bool(after), update_gate="keep", biases=BIASES
    )
    for after in (1, 0)
}
DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}


def model(direction, after, names):
    """A model of one GRU node whose inputs are all fed."""
    wanted = ["xs", "W", "R", "B", "lengths", "initial"]
    inputs = [name if name in names else "" for name in wanted]
    node = helper.make_node(
        "GRU", inputs, ["ys", "final"], hidden_size=H, direction=direction, linear_before_reset=after
    )
    types = {"lengths": TensorProto.INT32}
    graph = helper.make_graph(
        [node],
        "gru",
        [helper.make_tensor_value_info(name, types.get(name, TensorProto.FLOAT), None) for name in inputs if name],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("ys", "final")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    return onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])


def record(seed, direction, after, *, bias=True, lengths=LENGTHS, factor=1):
    """What ONNX Runtime computes for random weights."""
    draw, count = check.Draw(seed), DIRECTIONS[direction]
    shapes = {"W": (count, 3 * H, I), "R": (count, 3 * H, H)} | ({"B": (count, 6 * H)} if bias else {})
    weights = draw.like({key: np.zeros(shape, np.float32) for key, shape in shapes.items()}, factor=factor)
    fed = {"xs": draw(T, B, I, scale=1), "initial": draw(count, B, H, scale=1)}
    fed |= {} if lengths is None else {"lengths": lengths}
    session = model(direction, after, {*weights, *fed})
    ys, final = session.run(["ys", "final"], weights | fed)
    return {f"weights/{key}": a for key, a in weights.items()} | fed | {"ys": ys, "final": final}


def outputs(facts, arrays, direction):
    """The same by the reference: ys (T, D, B, H), final (D, B, H)."""
    weights = check.weights_of(arrays)
    runs = []
    for d, (w_i, w_h) in enumerate(zip(weights["W"], weights["R"], strict=True)):
        biases = np.split(weights["B"][d], 2) if "B" in weights else (None, None)
        params = check.layer(facts, w_i, w_h, *biases)
        reverse = direction == "reverse" or d == 1
        runs.append(check.unroll(facts, params, arrays["xs"], arrays["initial"][d], arrays.get("lengths"), reverse))
    return np.stack([ys for ys, _ in runs], axis=1), np.stack([final for _, final in runs])


def prove(case, facts, arrays, direction):
    """Hold a case against the reference; for rows of length 0 print what ONNX Runtime gave."""
    ys, final = outputs(facts, arrays, direction)
    lengths = arrays.get("lengths", np.full(B, T))
    check.agree(case, arrays, {"ys": ys}, "saturated" in case)
    some = lengths > 0
    check.agree(case, {"final": arrays["final"][:, some]}, {"final": final[:, some]}, "saturated" in case)
    if not some.all():
        kinds = {"zeros": np.zeros_like(final), "initial_h": arrays["initial"], "else": arrays["final"]}
        rest = {k: np.array_equal(a[:, ~some], arrays["final"][:, ~some]) for k, a in kinds.items()}
        print(f"onnx {case}: Y of a row of length 0 is zero, its Y_h is {next(k for k in rest if rest[k])}")
    if case.startswith("forward-") and case.endswith("-bias"):
        check.only_these_facts(facts, arrays["ys"], lambda other: outputs(other, arrays, direction))


def cases():
    """Every case, proven."""
    found = {}

    def add(case, facts, direction, **how):
        found[case] = record(len(found), direction, int(facts.reset_after), **how)
        prove(case, facts, found[case], direction)

    for facts in FACTS.values():
        order = "after" if facts.reset_after else "before"
        for direction in DIRECTIONS:
            add(f"{direction}-{order}-bias", facts, direction)
            add(f"{direction}-{order}-nobias", facts, direction, bias=False)
        add(f"saturated-{order}", facts, "bidirectional", factor=check.SATURATED)
        add(f"no_lengths-{order}", facts, "bidirectional", lengths=None)
        add(f"zero_length-{order}", facts, "bidirectional", lengths=np.array([T, 0, 2], np.int32))
    return found


def main():
    check.write("onnx", {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}, cases())
