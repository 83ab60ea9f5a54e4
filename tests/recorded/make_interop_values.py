"""Write interop_*.npz: what PyTorch, Keras, ONNX Runtime, Flax, Haiku and Equinox store as a GRU, and what it computes.

Run it from the checkout where those libraries are installed, all of them or some by name:

    python -m tests.recorded.make_interop_values [torch keras onnx linen nnx haiku equinox]

The keys of a file: CASE/weights/<the library's own key>, CASE/xs, CASE/lengths (where the library was told lengths),
CASE/initial, CASE/ys, CASE/final; for PyTorch and Keras also CASE/w_ys, CASE/w_final and CASE/gradient/... of
sum(w_ys * ys) + sum(w_final * final). `versions` says who computed it. Each case is proven before it is written
(interop_check.py), and the conventions that were proven are printed.
"""

import importlib
import os
import sys

# Keras computes with PyTorch here: its gradients come from autograd, and float64 needs no switch.
os.environ["KERAS_BACKEND"] = "torch"

FAMILIES = ("torch", "keras", "onnx", "linen", "nnx", "haiku", "equinox")


def main(names):
    """Record the named families and print the table of what was proven."""
    rows = [("format", "gates", "matrices", "reset", "z near 1", "padded ys", "biases")]
    for name in names:
        family = importlib.import_module(f"tests.recorded.make_interop_{name}")
        family.main()
        facts = family.FACTS
        for key, row in facts.items() if isinstance(facts, dict) else [(name, facts)]:
            matrices = "(3H, in)" if row.transposed else "(in, 3H)"
            reset = "after" if row.reset_after else "before"
            rows.append((key, ", ".join(row.gates), matrices, reset, row.update_gate, row.padding, row.biases))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))


if __name__ == "__main__":
    main(sys.argv[1:] or FAMILIES)
