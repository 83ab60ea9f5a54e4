"""Suggests what may have been meant by a value of the wrong type, and only what would be right in its place."""

import re
import unicodedata
from collections.abc import Iterator
from typing import Annotated, Any

import pydantic
from pydantic import ConfigDict, TypeAdapter
from pydantic.fields import FieldInfo

_POINT = "the decimal sign is a point"
_SEPARATORS = "numbers are written without separators"
_QUOTES = "numbers are written without quotes"
_NOTHING = "nothing is written null"
_TRUTH = "truth is written true or false"
_LIST = "a list is written in brackets"
_MINUS = dict.fromkeys(map(ord, "\N{MINUS SIGN}\N{EN DASH}\N{EM DASH}\N{HYPHEN}\N{NON-BREAKING HYPHEN}"), "-")
_WORDS = {
    **dict.fromkeys(("y", "yes", "on", "true", "1"), True),
    **dict.fromkeys(("n", "no", "off", "false", "0"), False),
    **dict.fromkeys(("none", "null", "nil", "~"), None),
}


def hint(value: Any, field: FieldInfo) -> str:
    """``; why: what to write`` for the first reading of ``value`` that the field takes, or ""."""
    if _fits(value, field):
        # The value is wrong only beside other fields, which no reading mends.
        return ""
    for why, meant in _readings(value):
        # None stands for no reading, except where null itself is the reading.
        if (meant is not None or why == _NOTHING) and _fits(meant, field):
            return f"; {why}: {_written(meant)}"
    return ""


def _readings(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, str):
        yield from _readings_of_text(value)
    elif isinstance(value, bool):
        yield "YAML reads yes, no, on and off as true or false; in quotes it is text", "yes" if value else "no"
    elif isinstance(value, int):
        if value in (0, 1):
            yield _TRUTH, bool(value)
        yield "in quotes it is text", str(value)
    elif isinstance(value, float):
        if value.is_integer():
            yield "an integer is written without a point or an exponent", int(value)
        yield "in quotes it is text", repr(value)
    elif isinstance(value, list) and len(value) == 1:
        yield "without brackets", value[0]


def _readings_of_text(text: str) -> Iterator[tuple[str, Any]]:
    plain = unicodedata.normalize("NFKC", text).translate(_MINUS).strip()
    if plain != text:
        yield "it has characters that only look like these", _number(plain)
    yield _QUOTES, _number(plain)
    bare = plain.rstrip(",;").strip("\"'")
    if bare != plain:
        yield "without what stands around it", _number(bare)
    if re.fullmatch(r"[-+]?\d*,\d+([eE][-+]?\d+)?", bare):
        yield _POINT, _number(bare.replace(",", "."))
    if re.fullmatch(r"[-+]?\d{1,3}([ ,.'_]\d{3})+", bare):
        yield _SEPARATORS, _number(re.sub(r"[ ,.'_]", "", bare))
    yield "a number has no spaces", _number(bare.replace(" ", "")) if re.search(r"[eE.]", bare) else None
    if fraction := re.fullmatch(r"(\d+)\s*/\s*([1-9]\d*)", bare):
        yield "a number is written out", int(fraction[1]) / int(fraction[2])
    if bare.endswith("%"):
        share = _number(bare.removesuffix("%"))
        yield "a share is written as a number", None if share is None else share / 100
    parts = [_number(part) for part in re.split(r"[\s,;x×]+", bare.strip("()[]{}")) if part]
    if len(parts) > 1 and None not in parts:
        yield _LIST, parts
    if plain.lower() in _WORDS:
        word = _WORDS[plain.lower()]
        yield (_NOTHING if word is None else _TRUTH), word
    yield "in lower case", plain.lower()


def _number(text: str) -> int | float | None:
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return None


def _fits(value: Any, field: FieldInfo) -> bool:
    """Whether ``field`` would take ``value``."""
    annotation: Any = field.annotation
    for extra in field.metadata:
        annotation = Annotated[annotation, extra]
    strict = ConfigDict(strict=True, allow_inf_nan=False)
    try:
        try:
            adapter: TypeAdapter[Any] = TypeAdapter(annotation, config=strict)
        except pydantic.PydanticUserError:
            # Models bring their own strictness, and allow no other.
            adapter = TypeAdapter(annotation)
        adapter.validate_python(value)
    except (pydantic.ValidationError, ValueError, TypeError):
        return False
    return True


def _written(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{', '.join(map(_written, value))}]"
    if isinstance(value, str):
        # A word stays without quotes where YAML reads it as text again.
        return f'"{value}"' if _number(value) is not None or value.lower() in _WORDS else value
    return repr(value)
