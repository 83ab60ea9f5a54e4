"""Finds what YAML reads otherwise than its writer meant: decimal commas, octal and base-60 numbers, keys given twice.

YAML takes ``{learning_rate: 0,001}`` for two entries, ``010`` for 8 and ``1:30`` for 90, without a word. Nothing here
changes what is read: a trap is refused, with its place.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

import yaml

_NUMBER = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_NULL = "tag:yaml.org,2002:null"
_DIGITS = re.compile(r"\d[\d_]*([eE][-+]?\d+)?%?")
_ONE_LINE_ENTRY = re.compile(r"^\s*(\w[\w.]*)\s*(?:=\s*|:|\s)(\S.*)$")


class Trap(NamedTuple):
    """A place that YAML reads otherwise than was meant; ``line`` and ``column`` count from 1."""

    line: int
    column: int
    problem: str


def find(text: str) -> list[Trap]:
    """All traps of a YAML text, in its order; none where it cannot be parsed: whoever parses it tells why."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError):
        return []
    return [] if root is None else list(_walk(root, text, set()))


def problem_of(error: yaml.MarkedYAMLError, text: str) -> tuple[yaml.Mark | None, str]:
    """Where and why ``text`` is no YAML; a common mistake is told in the words of its writer."""
    mark = error.problem_mark or error.context_mark
    lines = text.splitlines()
    context = error.context_mark
    if context and "expected ':'" in str(error.problem) and context.line < len(lines):
        entry = _ONE_LINE_ENTRY.match(lines[context.line])
        if entry:
            return context, f'"{lines[context.line].strip()}" is no entry: write {entry[1]}: {entry[2].strip()}'
    if mark and mark.line < len(lines) and lines[mark.line][: mark.column + 1].endswith("\t"):
        return mark, "found a tab, where YAML takes spaces"
    return mark, ", ".join(part for part in (error.problem, error.context) if part)


def _walk(node: yaml.Node, text: str, seen: set[int]) -> Iterator[Trap]:
    # An alias is the very node that it names, and that may be a node around the alias.
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.ScalarNode):
        yield from _scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _walk(item, text, seen)
    elif isinstance(node, yaml.MappingNode):
        yield from _keys(node, text)
        for _, value in node.value:
            yield from _walk(value, text, seen)


def _scalar(node: yaml.ScalarNode) -> Iterator[Trap]:
    if node.tag not in _NUMBER:
        return
    value = node.value.replace("_", "")
    plain = value.lstrip("+-")
    if ":" in plain:
        reads = float(0)
        for part in plain.split(":"):
            reads = 60 * reads + float(part)
        yield _trap(node, f"YAML reads {node.value} as {reads:g}, in base 60; write that, or quotes around a text")
    elif re.fullmatch("0[0-7]+", plain):
        yield _trap(node, f"YAML reads {node.value} as {int(plain, 8)}, in base 8; write the number without leading 0")


def _keys(mapping: yaml.MappingNode, text: str) -> Iterator[Trap]:
    known: dict[str, int] = {}
    before = None
    for key, value in mapping.value:
        if isinstance(key, yaml.ScalarNode):
            if _DIGITS.fullmatch(key.value) and mapping.flow_style and value.tag == _NULL:
                yield _comma(before, key, text) if before else _trap(key, f"a list is written [{key.value}, ...]")
            elif key.tag in (*_NUMBER, _NULL, "tag:yaml.org,2002:bool"):
                yield _trap(key, f"expected the name of a key, got {key.value}")
            elif key.value in known and key.value != "<<":
                first = known[key.value]
                yield _trap(key, f"duplicate key {key.value}, which line {first} has already; keep one of the two")
            known.setdefault(key.value, key.start_mark.line + 1)
        before = value


def _comma(before: yaml.Node, key: yaml.ScalarNode, text: str) -> Trap:
    """The trap of ``before,key`` in braces: a number with a decimal comma, or a list without brackets."""
    written = text[before.start_mark.index : key.end_mark.index]
    if " " in written:
        return _trap(before, f"{written} is two entries of the mapping; a list is written [{written}]")
    meant = written.replace(",", ".")
    # Only the schema knows which of the two was meant.
    as_list = "" if written.startswith("0") else f", and a list is written [{written.replace(',', ', ')}]"
    return _trap(before, f"{written} is two entries of the mapping; the decimal sign is a point: {meant}{as_list}")


def _trap(node: yaml.Node, problem: str) -> Trap:
    return Trap(node.start_mark.line + 1, node.start_mark.column + 1, problem)
