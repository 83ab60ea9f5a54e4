"""Reading the weights of a GRU node of an ONNX model."""

import os
from typing import Any

from gru_jax.interop._listing import listed
from gru_jax.interop._onnx import DIRECTIONS, check_attributes
from gru_jax.interop._onnx_activations import read_activations
from gru_jax.interop._onnx_constants import read_weights
from gru_jax.interop._packages import need
from gru_jax.interop._paths import blaming, check_path, foreign, read_beginning


def read_onnx(path: Any, node: str | None = None) -> dict[str, Any]:
    """The weights of a GRU node in the main graph of an ONNX model, as `from_onnx` takes them.

    The weights have to be constants of the file, as exporters write them. Tensors beside the model, in its folder, are
    read too. The node's inputs, its initial state and its `layout` say nothing about weights and are ignored.

    Args:
      path: where the model is, `*.onnx`.
      node: the name of the GRU node, or of its first output; None: the only one.

    Returns:
      `{"W": (D, 3H, I), "R": (D, 3H, H), "B": (D, 6H) or None, "direction": str, "linear_before_reset": int}`, NumPy
      arrays of the model's dtype, D 2 for "bidirectional" and 1 for "forward" and "reverse"; and `activations`,
      `activation_alpha` and `activation_beta` where the node names others than Sigmoid and Tanh.

    Raises:
      TypeError, ValueError: for a file that is no model or a damaged one, without such a node or with several, and for
        a node that computes something else than a GRU or whose weights are not in the file.
      OSError: as Python raises it, for a file that is missing or may not be read.
      ImportError: without the package onnx.

    Example:
      >>> import os, tempfile, numpy as np, onnx.helper, onnx.numpy_helper
      >>> shapes = {"W": (1, 12, 2), "R": (1, 12, 4)}
      >>> weights = [onnx.numpy_helper.from_array(np.ones(s, np.float32), name) for name, s in shapes.items()]
      >>> node = onnx.helper.make_node("GRU", ["X", "W", "R"], ["Y"], name="encoder", hidden_size=4)
      >>> graph = onnx.helper.make_graph([node], "model", [], [], weights)
      >>> path = os.path.join(tempfile.mkdtemp(), "model.onnx")
      >>> onnx.save(onnx.helper.make_model(graph), path)
      >>> cell, params = gru_jax.interop.from_onnx(**gru_jax.interop.read_onnx(path))
      >>> cell.options.reset_after, params[0][0].w_i.shape
      (False, (2, 12))
    """
    if node is not None and not isinstance(node, str):
        raise TypeError(f"node: expected the name of a GRU node, got {type(node).__name__}; pass a string, or None.")
    name = check_path(path)
    graph = _read_graph(name)
    with blaming(name):
        found = _find(graph, node)
    with blaming(f"{name}: GRU {_name_of(found)!r}"):
        attributes = _read_attributes(found)
        folder = os.path.dirname(os.path.abspath(name))
        weights = read_weights(graph, found, folder, DIRECTIONS[attributes["direction"]])
        hidden_size = _single(found, "hidden_size", "INT", None)
        if hidden_size not in (None, weights["R"].shape[-1]):
            raise ValueError(
                f"hidden_size: expected {weights['R'].shape[-1]}, the width of R, got {hidden_size}; {_REMEDY}."
            )
    return weights | attributes


_REMEDY = "the file is damaged: export or copy it again"


def _read_graph(name: str) -> Any:
    """The main graph of the model."""
    onnx = need("onnx", what="ONNX")
    what = foreign(read_beginning(name, "an ONNX"))
    if what is None and os.path.getsize(name) > _LARGEST:
        what = "larger than the 2 GiB that protobuf allows: keep the weights in a file beside it"
    if what is not None:
        raise ValueError(f"path: expected an ONNX model, got {name!r}, {what}.")
    with open(name, "rb") as file:
        data = file.read()
    try:
        # Not by onnx.load: it would read every tensor beside the model too, and take a file named *.json for text.
        model = onnx.ModelProto.FromString(data)
    except Exception as error:
        model, reason = None, str(error).partition("\n")[0]
    else:
        reason = "it has no graph, or names no set of operators"
    if model is None or not model.HasField("graph") or not any(_is_onnx(entry.domain) for entry in model.opset_import):
        raise ValueError(
            f"path: expected an ONNX model, got {name!r}, which is none, or a damaged one ({reason}); "
            "export or copy it again."
        )
    return model.graph


_LARGEST = 2**31 - 1


def _is_onnx(domain: str) -> bool:
    return domain in ("", "ai.onnx")


def _find(graph: Any, node: str | None) -> Any:
    """The GRU node that has this name, or whose first output has it; the only one for None."""
    every = [candidate for candidate in graph.node if candidate.op_type == "GRU" and _is_onnx(candidate.domain)]
    if not every:
        kinds = sorted({_text(candidate.op_type) for candidate in graph.node})
        raise ValueError(
            f"expected a GRU node in the model's graph, found {listed(kinds, 20)}; export a model that has one."
        )
    names = listed([_name_of(candidate) for candidate in every], 20)
    found = [candidate for candidate in every if node in (None, candidate.name, *candidate.output[:1])]
    if not found:
        raise ValueError(f"node: expected the name of a GRU node, {names}, got {node!r}; pass one of them.")
    if len(found) > 1:
        raise ValueError(f"node: expected the name of one GRU node of {len(found)}, {names}, got {node!r}; pass one.")
    return found[0]


def _name_of(node: Any) -> str:
    """A node's name; that of its first output where it has none."""
    return _text(node.name or (node.output[0] if node.output else ""))


def _text(name: str | bytes) -> str:
    # A name that is not UTF-8 comes as bytes.
    return (name if isinstance(name, str) else name.decode(errors="replace"))[:200]


def _read_attributes(node: Any) -> dict[str, Any]:
    """The attributes that say which GRU a node computes; raises where there is no cell for it."""
    for attribute in node.attribute:
        if attribute.name not in _ATTRIBUTES:
            raise ValueError(
                f"expected the attributes of ONNX's GRU, got {_text(attribute.name)!r}; "
                "gru_jax does not know what this node computes."
            )
    direction = _single(node, "direction", "STRING", b"forward").decode(errors="replace")
    reset_after = _single(node, "linear_before_reset", "INT", 0)
    check_attributes(direction, reset_after, _single(node, "clip", "FLOAT", None))
    activations = _single(node, "activations", "STRINGS", None)
    names = None if activations is None else [name.decode(errors="replace") for name in activations]
    alpha, beta = (_single(node, f"activation_{letter}", "FLOATS", None) for letter in ("alpha", "beta"))
    functions = read_activations(names, alpha, beta, DIRECTIONS[direction])
    told = {"activations": names, "activation_alpha": alpha, "activation_beta": beta}
    kept = {} if functions is None else {name: list(value) for name, value in told.items() if value is not None}
    return {"direction": direction, "linear_before_reset": reset_after} | kept


# `layout` and `output_sequence` are about inputs and outputs.
_ATTRIBUTES = (
    *("direction", "hidden_size", "linear_before_reset", "activations", "activation_alpha", "activation_beta"),
    *("clip", "layout", "output_sequence"),
)
_FIELDS = {"INT": "i", "FLOAT": "f", "FLOATS": "floats", "STRING": "s", "STRINGS": "strings"}


def _single(node: Any, name: str, kind: str, default: Any) -> Any:
    """An attribute's value, checked to be of this kind and given once; `default` where it is absent."""
    found = [attribute for attribute in node.attribute if attribute.name == name]
    if not found:
        return default
    if (
        len(found) > 1
        or found[0].type != getattr(need("onnx", what="ONNX").AttributeProto, kind)
        or found[0].ref_attr_name
    ):
        raise ValueError(f"{name}: expected one attribute of type {kind}, got something else; {_REMEDY}.")
    return getattr(found[0], _FIELDS[kind])
