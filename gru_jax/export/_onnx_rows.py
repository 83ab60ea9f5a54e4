"""Nodes around the recurrent ones, for what gru_jax promises of ragged rows and ONNX leaves open.

Seen in onnxruntime 1.31 on CPU: a row of length 0 ends in zeros (GRU, LSTM) or in something else (RNN), whatever its
initial state. GRU and LSTM end the process where there are no rows, or no steps and no lengths. These are right: ys is
0 in the padding, a reversed row begins at its own last step, and NaN in the padding reaches nothing.
"""

import numpy as np

from gru_jax.export._onnx_graph import Graph


class Rows:
    """The rows of one batch, filled up so that the recurrent nodes see at least one row and one step.

    Args:
      graph: where the nodes are added.
      xs: `(T, B, I)`.
      seq_lengths: int32 `(B,)`.
    """

    def __init__(self, graph: Graph, xs: str, seq_lengths: str) -> None:
        self._graph = graph
        self._sizes = graph.add("Shape", [xs], name="steps_and_rows", start=0, end=2)
        least = graph.add("Max", [self._sizes, graph.initializer(np.array([1, 1]))])
        self._missing = graph.add("Sub", [least, self._sizes], name="missing")
        second = self._constant(1), self._constant(2)
        self._rows = graph.add("Slice", [self._sizes, *second], name="rows")
        self._missing_rows = graph.add("Slice", [self._missing, *second], name="missing_rows")
        self.lengths = self._pad(seq_lengths, self._missing_rows, before=0, after=0, fill=np.int32(0))
        none = graph.add("Equal", [self.lengths, graph.initializer(np.int32(0))])
        self._empty = graph.add("Unsqueeze", [none, self._constant(1)], name="empty_rows")

    def fill_xs(self, xs: str) -> str:
        """`(T, B, I)` with at least one step and one row."""
        return self._pad(xs, self._missing, before=0, after=1, fill=np.float32(0))

    def fill_carry(self, state: str) -> str:
        """`(D, B, H)` with at least one row."""
        return self._pad(state, self._missing_rows, before=1, after=1, fill=np.float32(0))

    def finish_carry(self, state: str, start: str) -> str:
        """The final state `(D, B, H)` of the rows that there are; that of an empty row is `start`, "" for zeros."""
        graph = self._graph
        state = graph.add("Where", [self._empty, start or graph.initializer(np.float32(0)), state])
        return graph.add("Slice", [state, self._constant(0), self._rows, self._constant(1)])

    def cut_ys(self, ys: str) -> str:
        """`(T, B, H)` of the steps and rows that there are."""
        return self._graph.add("Slice", [ys, self._graph.initializer(np.array([0, 0])), self._sizes])

    def _pad(self, value: str, missing: str, *, before: int, after: int, fill: np.generic) -> str:
        """`value` with `missing` entries added behind its axes; `before` axes stand before those, `after` behind."""
        graph = self._graph
        axes = 2 if missing == self._missing else 1
        # Pad takes the sizes to add in front of all axes, and then those to add behind them.
        none_in_front = graph.initializer(np.zeros(2 * before + axes + after, np.int64))
        behind = [missing, graph.initializer(np.zeros(after, np.int64))] if after else [missing]
        return graph.add("Pad", [value, graph.add("Concat", [none_in_front, *behind], axis=0), graph.initializer(fill)])

    def _constant(self, number: int) -> str:
        return self._graph.initializer(np.array([number]))
