"""What the command says of the files that it wrote."""

from collections.abc import Iterator, Sequence

from rich.console import Console

from experiments.export.run import Written
from experiments.export.signature import Signature, Value
from experiments.system import terminal


def show(console: Console, files: Sequence[Written]) -> None:
    """Each file with its size, its use and its note, and what goes in and comes out."""
    for file in files:
        terminal.say(console, f"\n{file.path}  {file.path.stat().st_size / 2**10:.0f} KiB\n  {file.use}")
        if file.note:
            terminal.say(console, f"  note: {file.note}")
        if file.signature is not None:
            for line in _lines(file.signature):
                terminal.say(console, f"  {line}")


def _lines(signature: Signature) -> Iterator[str]:
    sides = [("in", value) for value in signature.inputs] + [("out", value) for value in signature.outputs]
    rows = [(side, value.name, value.dtype, _shape(value), value.meaning) for side, value in sides]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _shape(value: Value) -> str:
    return f"({', '.join(map(str, value.shape))}{',' if len(value.shape) == 1 else ''})"
