"""The tensors W, R and B of an ONNX GRU node, taken from the constants of its graph."""

import math
import warnings
from typing import Any

import numpy as np

from gru_jax.interop._listing import listed

_SLOTS = {"W": 1, "R": 2, "B": 3}
_LETTERS = {"W": "(D, 3H, I)", "R": "(D, 3H, H)", "B": "(D, 6H)"}
_ITEM_SIZES = {"FLOAT": 4, "DOUBLE": 8, "FLOAT16": 2, "BFLOAT16": 2}


def read_weights(graph: Any, node: Any, folder: str, directions: int) -> dict[str, Any]:
    """W, R and B of a GRU node, B None where it has none.

    Shapes and dtypes are checked before any number is read, so that a file cannot ask for more memory than its weights.

    Args:
      graph: the graph that the node is in.
      node: the node.
      folder: the folder of the model, where tensors beside it may be.
      directions: D.

    Raises:
      TypeError, ValueError: naming the tensor that is not in the file, or of another shape or type.
    """
    tensors: dict[str, Any] = {}
    for letter, slot in _SLOTS.items():
        source = node.input[slot] if slot < len(node.input) else ""
        if source:
            tensors[letter] = _constant(graph, letter, source)
        elif letter != "B":
            raise ValueError(f"{letter}: expected it among the node's inputs, found none; export the model again.")
    kinds = {letter: _kind_of(letter, tensor) for letter, tensor in tensors.items()}
    for letter, kind in kinds.items():
        if kind != kinds["W"]:
            raise TypeError(f"{letter}: expected {kinds['W']}, as W has, got {kind}; export the model in one type.")
    _check_shapes({letter: tuple(tensor.dims) for letter, tensor in tensors.items()}, directions)
    return {"B": None} | {letter: _read(letter, tensor, kinds[letter], folder) for letter, tensor in tensors.items()}


def _constant(graph: Any, letter: str, name: Any) -> Any:
    """The tensor of this name: an initialiser, or what a Constant node holds; Identity nodes are looked through."""
    makers: dict[Any, list[Any]] = {}
    for tensor in graph.initializer:
        makers.setdefault(tensor.name, []).append(tensor)
    for node in graph.node:
        for output in node.output:
            makers.setdefault(output, []).append(node)
    # Popped, so that the loop ends for Identity nodes in a ring.
    while len(found := makers.pop(name, [])) == 1:
        (maker,) = found
        if not hasattr(maker, "op_type"):
            return maker
        if maker.op_type == "Constant" and [attribute.name for attribute in maker.attribute] == ["value"]:
            return maker.attribute[0].t
        if maker.op_type != "Identity" or len(maker.input) != 1:
            raise ValueError(
                f"{letter}: expected a constant of the file, got what a node {listed([maker.op_type])} computes; "
                "export the model with its constants folded."
            )
        name = maker.input[0]
    if len(found) > 1:
        raise ValueError(f"{letter}: expected one tensor {listed([name])}, found {len(found)}; export the model again.")
    what = "an input of the graph" if any(value.name == name for value in graph.input) else "no such tensor"
    raise ValueError(
        f"{letter}: expected a constant of the file named {listed([name])}, found {what}; "
        "export the model with its weights in it, or hand them to gru_jax.interop.from_onnx."
    )


def _kind_of(letter: str, tensor: Any) -> str:
    """The name of the tensor's type, checked to be a float's."""
    import onnx

    types = onnx.TensorProto.DataType
    kind = types.Name(tensor.data_type) if tensor.data_type in types.values() else str(tensor.data_type)
    if kind not in _ITEM_SIZES:
        raise TypeError(f"{letter}: expected {' or '.join(_ITEM_SIZES)}, got {kind}; export the model in floats.")
    return kind


def _check_shapes(shapes: dict[str, tuple[int, ...]], directions: int) -> None:
    features = shapes["R"][-1] if shapes["R"] else 0
    in_features = shapes["W"][-1] if shapes["W"] else 0
    wanted = {
        "R": (directions, 3 * features, features),
        "W": (directions, 3 * features, in_features),
        "B": (directions, 6 * features),
    }
    for letter, shape in wanted.items():
        if letter in shapes and (shapes[letter] != shape or min(shape) < 1):
            known = f"D = {directions}" + ("" if letter == "R" else f", H = {features}")
            raise ValueError(
                f"{letter}: expected shape {_LETTERS[letter]} with {known}, got {shapes[letter]}; "
                "it is not a GRU's: export the model again."
            )


def _read(letter: str, tensor: Any, kind: str, folder: str) -> np.ndarray:
    from onnx import numpy_helper

    count = math.prod(tensor.dims)
    if all(entry.key != "length" for entry in tensor.external_data):
        # Without a length, all of the file beside the model would be read, whatever is in it.
        tensor.external_data.add(key="length", value=str(count * _ITEM_SIZES[kind]))
    try:
        with warnings.catch_warnings():
            # onnx warns of entries about the file beside the model that it does not know and ignores.
            warnings.simplefilter("ignore")
            # A copy: else the array would be a read-only view of the whole model.
            return np.array(numpy_helper.to_array(tensor, folder))
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(
            f"{letter}: expected {count} numbers of type {kind}, found something else ({reason}); export or copy the "
            "model again, with the file of its weights beside it, if it has one."
        ) from None
