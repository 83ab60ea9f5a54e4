"""Docstrings of installed packages as pairs of a description and the one-line summary above it; nothing is imported."""

import ast
import functools
import hashlib
import importlib.metadata
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from experiments.tasks import packages

PACKAGES = ("jax", "numpy", "scipy")
SUMMARY_WORDS, DESCRIPTION_WORDS = range(3, 26), 5
"""How many words a summary has, and a description at least."""
PARTS = {"test": 10, "validation": 10}
"""Of 100 names; the others are for training."""
_WORD = re.compile(r"[a-z0-9]+")
_HEADING = re.compile(
    r"(args|arguments|parameters|returns?|yields|raises|examples?|notes?|see also|references|attributes|warnings?|"
    r"usage)\s*:?\s*$|.*\n\s*([-=~^])\2{2,}",
    re.IGNORECASE,
)
_SIGNATURE = re.compile(r"[\w.]+\(.*\)(\s*->.*)?$", re.DOTALL)
_PROSE = re.compile(r"[A-Za-z`\"'(]")
# A role and its backquotes, and the mark of a reference.
_MARKUP = re.compile(r":[a-z:]+:(?=`)|\[\w+\]_|[`*~]")


class Pair(NamedTuple):
    """What a docstring says after its first paragraph, up to its first section, and that paragraph."""

    name: str
    """Qualified, such as "numpy.linalg._linalg.solve"."""
    description: str
    summary: str


def words(text: str) -> list[str]:
    """What ROUGE compares: runs of letters and digits, in lower case."""
    return _WORD.findall(text.lower())


def check() -> None:
    """Raise UserError if a package is not installed; nothing is read."""
    for package in PACKAGES:
        packages.find(package, "__init__.py", task="summarise")


@functools.cache
def read() -> tuple[dict[str, list[Pair]], dict[str, object]]:
    """Pairs by part, and facts: versions, and a hash over all pairs. Takes seconds, once a process."""
    found = [pair for package in PACKAGES for pair in _of_package(package)]
    digest = hashlib.sha256("\0".join(field for pair in found for field in pair).encode()).hexdigest()
    return split(found), {
        "versions": {package: importlib.metadata.version(package) for package in PACKAGES},
        "sha256": digest,
    }


def split(pairs: list[Pair]) -> dict[str, list[Pair]]:
    """Pairs by part, by a hash of the last name: `jax.numpy.fft.ifft` stays with `numpy.fft.ifft`, which it retells.

    A summary or a description stands in one part alone, and no pair twice.
    """
    parts: dict[str, list[Pair]] = {"test": [], "validation": [], "train": []}
    drawn = [(part_of(pair.name), pair) for pair in pairs]
    elsewhere: set[str] = set()
    for part, there in parts.items():
        here: set[str] = set()
        seen: set[tuple[str, str]] = set()
        for drawn_part, pair in drawn:
            description, summary = " ".join(words(pair.description)), " ".join(words(pair.summary))
            if drawn_part != part or {description, summary} & elsewhere or (description, summary) in seen:
                continue
            there.append(pair)
            seen.add((description, summary))
            here |= {description, summary}
        elsewhere |= here
    return parts


def part_of(name: str) -> str:
    """The part that a qualified name falls into, whatever others there are."""
    place = int.from_bytes(hashlib.sha256(name.rpartition(".")[2].encode()).digest()[:8]) % 100
    for part, share in PARTS.items():
        if place < share:
            return part
        place -= share
    return "train"


def pair_of(name: str, docstring: str) -> Pair | None:
    """The pair in a docstring (with its indentation removed), or None where there is none."""
    paragraphs = [paragraph.strip() for paragraph in re.split(r"\n\s*\n", docstring.strip())]
    if _SIGNATURE.match(paragraphs[0]):
        del paragraphs[0]
    prose: list[str] = []
    for paragraph in paragraphs:
        if _HEADING.match(paragraph) or _HEADING.match(paragraph.partition("\n")[0]):
            break
        if _PROSE.match(paragraph):
            prose.append(" ".join(_MARKUP.sub("", paragraph).split()))
        elif not prose:
            break
    if len(prose) < 2:
        return None
    pair = Pair(name, " ".join(prose[1:]), prose[0])
    fits = len(words(pair.summary)) in SUMMARY_WORDS and len(words(pair.description)) >= DESCRIPTION_WORDS
    return pair if fits else None


def first_sentence(text: str) -> str:
    """Up to the first full stop (or other end) that a space and a capital, or nothing, follows."""
    return re.split(r"(?<=[.!?:])\s+(?=[A-Z(])", text, maxsplit=1)[0]


def _of_package(package: str) -> Iterator[Pair]:
    root = packages.find(package, "__init__.py", task="summarise").parent
    for file in sorted(root.rglob("*.py")):
        if not any("test" in part for part in file.relative_to(root).parts):
            yield from _of_file(file, ".".join((package, *file.relative_to(root).with_suffix("").parts)))


def _of_file(file: Path, module: str) -> Iterator[Pair]:
    waiting: list[tuple[str, ast.AST]] = [(module, ast.parse(file.read_text(encoding="utf-8")))]
    while waiting:
        name, node = waiting.pop()
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                own = f"{name}.{child.name}"
                pair = pair_of(own, ast.get_docstring(child) or "")
                if pair is not None:
                    yield pair
                waiting.append((own, child))
            elif isinstance(child, ast.If | ast.Try | ast.With):
                waiting.append((name, child))
