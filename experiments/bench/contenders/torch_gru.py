"""``torch.nn.GRU``, eager: torch's own kernels on a CPU, cuDNN on a GPU."""

import itertools
from typing import Any

import numpy as np
import torch  # pyrefly: ignore[missing-import]
from torch.nn.utils import rnn  # pyrefly: ignore[missing-import]

from experiments.bench.contenders.program import Call
from experiments.bench.problem import Problem
from experiments.bench.schema import Mode


class TorchProgram:
    """See `Program`. Masked rows are packed within the timed call.

    torch has lengths but no resets, so a row is cut at its resets by hand, and the pieces are packed as rows of their
    own. Outputs stay packed, as not every user needs them in rows again.

    The number of threads is never set, not even to what it is: after `torch.set_num_threads` with the default of 2, a
    forward call at (128, 8, 32, 32) on two busy cores took 1 s in place of 16 ms.
    """

    def __init__(self, problem: Problem):
        self.problem, self.weights, self.reset_after = problem, problem.weights, True
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        dtype = getattr(torch, problem.dtype)
        self._module = torch.nn.GRU(problem.in_features, problem.features)
        w_i, w_h, b_i, b_h = (torch.from_numpy(array) for array in problem.weights)
        self._module.load_state_dict(
            {"weight_ih_l0": w_i.T, "weight_hh_l0": w_h.T, "bias_ih_l0": b_i, "bias_hh_l0": b_h}
        )
        self._module.to(self._device, dtype)
        self._xs = torch.from_numpy(problem.xs).to(self._device, dtype).requires_grad_()
        self._lengths = None if problem.lengths is None else torch.from_numpy(problem.lengths)
        self._pieces = pieces(problem) if problem.resets_on else []
        how = {"plain": "", "lengths": "pack_padded_sequence"}.get(problem.option, "cut at the resets, pack_sequence")
        self.note = "; ".join(part for part in (f"{self._device.type}, eager", how) if part)

    def _forward(self) -> tuple[Any, Any]:
        """Outputs, packed if there are masks, and the final state."""
        if self._pieces:
            rows = [self._xs[start:stop, row] for row, start, stop in self._pieces]
            return self._module(rnn.pack_sequence(rows, enforce_sorted=False))
        if self._lengths is not None:
            return self._module(rnn.pack_padded_sequence(self._xs, self._lengths, enforce_sorted=False))
        return self._module(self._xs)

    def _run_forward(self) -> tuple[Any, Any]:
        with torch.no_grad():
            result = self._forward()
        self._wait()
        return result

    def _run_training(self) -> tuple[Any, list[Any]]:
        """The loss of `JaxProgram`, and its gradients; packed outputs contain no padding."""
        self._module.zero_grad(set_to_none=True)
        self._xs.grad = None
        ys, _ = self._forward()
        ys = ys.data if isinstance(ys, rnn.PackedSequence) else ys
        loss = ys.float().square().sum() / self.problem.outputs
        loss.backward()
        self._wait()
        return loss.detach(), [*(parameter.grad for parameter in self._module.parameters()), self._xs.grad]

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize()

    def ys(self, returned: Any) -> np.ndarray:
        """The outputs in what a forward call returned, (T, B, H), unpacked."""
        ys, _ = returned
        if not isinstance(ys, rnn.PackedSequence):
            return _numpy(ys)
        result = np.zeros((*self.problem.xs.shape[:2], self.problem.features), np.float32)
        rows, lengths = rnn.pad_packed_sequence(ys)
        rows = _numpy(rows)
        if not self._pieces:
            result[: len(rows)] = rows
        for piece, (row, start, stop) in enumerate(self._pieces):
            result[start:stop, row] = rows[: lengths[piece], piece]
        return result

    def compile(self, mode: Mode) -> Call:
        """The call for ``mode``; nothing is compiled, and the memory is unknown."""
        run = self._run_forward if mode == "forward" else self._run_training
        return Call(run=run, temporary_bytes=None, compiled=False)


def build(problem: Problem) -> TorchProgram:
    """On a GPU if torch has one, else on the CPU."""
    return TorchProgram(problem)


def pieces(problem: Problem) -> list[tuple[int, int, int]]:
    """(row, start, stop) of each sequence between two resets, or a reset and the end of its row."""
    found = []
    for row in range(problem.batch):
        end = problem.steps if problem.lengths is None else int(problem.lengths[row])
        resets = [] if problem.resets is None else np.flatnonzero(problem.resets[1:end, row]) + 1
        bounds = [0, *map(int, resets), end]
        found += [(row, start, stop) for start, stop in itertools.pairwise(bounds)]
    return found


def _numpy(tensor: Any) -> np.ndarray:
    return tensor.float().cpu().numpy()
