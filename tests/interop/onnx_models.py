"""ONNX models of a GRU node, to be written to files and read again."""

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
from onnx import TensorProto

I, H = 2, 4  # noqa: E741 - the letters of DESIGN.md
RNG = np.random.default_rng(3)


def weights(directions=1, dtype=np.float32):
    shapes = {"W": (directions, 3 * H, I), "R": (directions, 3 * H, H), "B": (directions, 6 * H)}
    return {name: RNG.normal(size=shape).astype(dtype) for name, shape in shapes.items()}


def gru_node(inputs=("X", "W", "R", "B"), name="encoder", outputs=("Y",), **attributes):
    return onnx.helper.make_node("GRU", list(inputs), list(outputs), name=name, **attributes)


def model(nodes, arrays, inputs=("X",)):
    """A model of nodes, with initialisers."""
    initialisers = [
        array if isinstance(array, TensorProto) else onnx.numpy_helper.from_array(array, name)
        for name, array in arrays.items()
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "g",
        [onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in inputs],
        [onnx.helper.make_tensor_value_info("Y", TensorProto.FLOAT, None)],
        initialisers,
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 22)])


def written(path, *args, **options):
    """The path of a file with this model."""
    path.write_bytes(model(*args, **options).SerializeToString())
    return path
