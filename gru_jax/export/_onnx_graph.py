"""Building an ONNX graph: values by name, added one node at a time."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gru_jax._cells.version import __version__
from gru_jax.interop._packages import need

# The oldest with all that we write and that heads around it need: Shape(start, end) is of 15, LayerNormalization of 17.
# onnxruntime reads both from 1.12 on (July 2022). A newer opset or format would only shut out old runtimes.
OPSET = 17
IR_VERSION = 8

_MODULES = ("onnx", "onnx.checker", "onnx.helper", "onnx.numpy_helper", "onnx.shape_inference")

# What protobuf can hold.
_MOST_BYTES = 2**31 - 1


class Graph:
    """An ONNX graph under construction, opset 17.

    A value is its name, a string. A name that is asked for is kept where it is free and numbered where it is not.

    Args:
      name: of the graph.

    Raises:
      ImportError: without the package onnx.

    Example:
      >>> import gru_jax, jax, numpy as np
      >>> cell = gru_jax.gru()
      >>> params = gru_jax.init_layers(cell, jax.random.key(0), 8, 16)
      >>> graph = gru_jax.export.Graph("tagger")
      >>> xs = graph.input("xs", np.float32, ("time", "batch", 8))
      >>> carry, ys = gru_jax.export.add_layers(graph, cell, params, xs)
      >>> logits = graph.add("MatMul", [ys, graph.initializer(np.ones((16, 3), np.float32), "w_out")])
      >>> graph.output("log_probs", graph.add("LogSoftmax", [logits], axis=-1), np.float32, ("time", "batch", 3))
      >>> model = graph.model()
      >>> [node.op_type for node in model.graph.node]
      ['GRU', 'Squeeze', 'MatMul', 'LogSoftmax', 'Identity']
    """

    def __init__(self, name: str = "model") -> None:
        self._onnx = need(*_MODULES, what="ONNX")
        self._name = name
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._nodes: list[Any] = []
        self._initializers: list[Any] = []
        self._taken: set[str] = {""}
        self._constants: dict[tuple[Any, ...], str] = {}

    def input(self, name: str, dtype: Any, shape: Sequence[int | str]) -> str:
        """Add a value that is fed.

        Args:
          name: what it is fed as; nothing else may have it yet.
          dtype: a NumPy dtype.
          shape: a size for each axis, or a string for one that is free.

        Returns:
          The name.

        Raises:
          ValueError: for a name that is taken.
        """
        self._inputs.append(self._describe(self._claim(name), dtype, shape))
        return name

    def output(self, name: str, value: str, dtype: Any, shape: Sequence[int | str]) -> None:
        """Return a value under a name of its own, which nothing else may have yet; the rest as in `input`."""
        self._know([value])
        self._outputs.append(self._describe(self._claim(name), dtype, shape))
        self._nodes.append(self._onnx.helper.make_node("Identity", [value], [name], name=name))

    def initializer(self, array: Any, name: str | None = None) -> str:
        """Add a constant, such as weights; one without a name of its own is shared with its equals."""
        array = np.ascontiguousarray(array) if np.ndim(array) else np.asarray(array)
        key = (str(array.dtype), array.shape, array.tobytes()) if name is None else ()
        if key in self._constants:
            return self._constants[key]
        fresh = self._fresh("constant" if name is None else name)
        self._initializers.append(self._onnx.numpy_helper.from_array(array, fresh))
        if name is None:
            self._constants[key] = fresh
        return fresh

    def add(self, op: str, inputs: Sequence[str], *, name: str | None = None, **attributes: Any) -> str:
        """Add a node; returns its first output.

        Args:
          op: the operator, as ONNX calls it.
          inputs: values; "" for one that is left out.
          name: what to call the output; None: after the operator.
          **attributes: of the operator.

        Raises:
          ValueError: for an input that this graph does not have.
        """
        return self.add_node(op, inputs, [op.lower() if name is None else name], **attributes)[0]

    def add_node(self, op: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> tuple[str, ...]:
        """Add a node; returns all its outputs, named as `outputs` asks. The node has the name of the first."""
        self._know(inputs)
        named = tuple(self._fresh(name) for name in outputs)
        given = list(inputs)
        while given and not given[-1]:
            given.pop()
        self._nodes.append(self._onnx.helper.make_node(op, given, named, name=named[0], **attributes))
        return named

    def model(self, metadata: Mapping[str, str] | None = None) -> Any:
        """The finished `onnx.ModelProto`, opset 17 of format 8, which ONNX's checker has passed.

        Args:
          metadata: strings by name, for `metadata_props`.

        Raises:
          ValueError: for a graph that ONNX's checker refuses, with what it says, or one of more than 2 GiB.
        """
        onnx = self._onnx
        held = sum(len(tensor.raw_data) for tensor in self._initializers)
        if held > _MOST_BYTES - 2**20:
            raise ValueError(f"params: an ONNX file holds 2 GiB, got {held / 2**30:.1f} GiB; export as stablehlo.")
        model = onnx.helper.make_model(
            onnx.helper.make_graph(self._nodes, self._name, self._inputs, self._outputs, self._initializers),
            opset_imports=[onnx.helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="gru_jax",
            producer_version=__version__,
        )
        onnx.helper.set_model_props(model, dict(metadata or {}))
        try:
            onnx.checker.check_model(model, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            raise ValueError(
                f"graph: expected one that ONNX's checker passes, but it says: {str(error).strip()}; "
                "look at the nodes that were added around the layers."
            ) from None
        return model

    def _describe(self, name: str, dtype: Any, shape: Sequence[int | str]) -> Any:
        kind = self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self._onnx.helper.make_tensor_value_info(name, kind, list(shape))

    def _claim(self, name: str) -> str:
        if name in self._taken:
            raise ValueError(f"name: expected one that the graph has not used, got {name!r}; choose another.")
        self._taken.add(name)
        return name

    def _fresh(self, name: str) -> str:
        wanted, number = name, 1
        while name in self._taken:
            name, number = f"{wanted}_{number}", number + 1
        return self._claim(name)

    def _know(self, values: Sequence[str]) -> None:
        for value in values:
            if value not in self._taken:
                raise ValueError(
                    f"inputs: expected names of values that this graph has, got {value!r}; "
                    "pass what input, initializer or add returned."
                )
