"""Boxes, which some initialisers return: an array with metadata, such as the names of its axes.

Flax has two kinds: `flax.linen.Partitioned` and its like, and the metadata of an `nnx.Variable`. Functions over params
see arrays only. A module that keeps the metadata asks for the boxes while params are made.
"""

import contextlib
import contextvars
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax

Rebox = Callable[[Any], Any]


class Boxes:
    """The boxes that initialisers returned, by the arrays that came out of them."""

    def __init__(self) -> None:
        # The arrays are kept: once one is gone, another array may get its id.
        self._found: dict[int, tuple[Any, Rebox]] = {}

    def remember(self, array: Any, rebox: Rebox) -> None:
        """Note that this array came out of a box; `rebox` puts an array into a box like that one."""
        self._found[id(array)] = array, rebox

    def rebox_of(self, array: Any) -> Rebox | None:
        """The function that puts an array into a box like the one this array came out of, or None."""
        return self._found[id(array)][1] if id(array) in self._found else None

    def put_back(self, tree: Any) -> Any:
        """The tree, each array in the box that it came out of."""
        return jax.tree.map(lambda leaf: (self.rebox_of(leaf) or (lambda same: same))(leaf), tree)


_watching: contextvars.ContextVar[Boxes | None] = contextvars.ContextVar("boxes", default=None)


@contextlib.contextmanager
def kept_boxes() -> Iterator[Boxes]:
    """The boxes of all params made in this context."""
    boxes = Boxes()
    token = _watching.set(boxes)
    try:
        yield boxes
    finally:
        _watching.reset(token)


def is_box(value: Any) -> bool:
    """Whether this is a box; told by its methods, as Flax is not imported here."""
    return _is_axis_metadata(value) or _is_variable_metadata(value)


def opened(value: Any) -> tuple[Any, Rebox | None]:
    """The content of a box and the function that puts an array into a box like it; for any other value, it and None."""
    if _is_axis_metadata(value):
        # `unbox` would shard this block at once; the whole array need not be sharded in that way.
        return value.value if hasattr(value, "value") else value.unbox(), value.replace_boxed
    if _is_variable_metadata(value):
        return value.raw_value, lambda array: dataclasses.replace(value, raw_value=array)
    return value, None


def unboxed(tree: Any) -> Any:
    """The tree with the arrays alone."""
    return jax.tree.map(lambda leaf: opened(leaf)[0], tree, is_leaf=is_box)


def note_box(array: Any, rebox: Rebox | None) -> None:
    """Tell whoever keeps boxes that this array came out of one."""
    boxes = _watching.get()
    if boxes is not None and rebox is not None:
        boxes.remember(array, rebox)


def note_same_box(array: Any, source: Any) -> None:
    """Tell whoever keeps boxes that this array was made from `source` and belongs into its box."""
    boxes = _watching.get()
    if boxes is not None:
        note_box(array, boxes.rebox_of(source))


def _is_axis_metadata(value: Any) -> bool:
    return hasattr(value, "unbox") and hasattr(value, "replace_boxed")


def _is_variable_metadata(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and hasattr(value, "raw_value") and hasattr(value, "metadata")
