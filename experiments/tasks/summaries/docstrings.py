"""Docstrings of installed packages as pairs of a description and the one-line summary above it; nothing is imported."""

import ast
import functools
import hashlib
import importlib.metadata
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from experiments.tasks import packages
from experiments.tasks.summaries.connected_components import components
from experiments.tasks.text import tf_idf

PACKAGES = ("jax", "numpy", "scipy")
DATA = (
    packages.DataSet("docstrings of JAX", "jax", "", "Apache-2.0"),
    packages.DataSet("docstrings of NumPy", "numpy", "", "BSD-3-Clause"),
    packages.DataSet("docstrings of SciPy", "scipy", "", "BSD-3-Clause"),
)
SUMMARY_WORDS, DESCRIPTION_WORDS = range(3, 26), 5
"""How many words a summary has, and how many a description has at least."""
PARTS = {"test": 10, "validation": 10}
"""How many of 100 groups of near-twins a part gets; the others are for training."""
ALIKE = {"description": 0.4, "summary": 0.6}
"""Two pairs are near-twins beyond this tf-idf cosine of their descriptions, or of their summaries."""
LARGEST = 20
"""Groups of more pairs are for training, lest one family make up much of a held-out part."""
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
    """A docstring's first paragraph, the summary, and what follows up to its first section, the description."""

    name: str
    """Qualified, such as "numpy.linalg._linalg.solve"."""
    description: str
    summary: str


class Docstrings(NamedTuple):
    """All pairs, by part."""

    parts: dict[str, list[Pair]]
    nearest: dict[str, list[Pair]]
    """For each pair, the training pair of another group of near-twins whose description is most like its own."""
    facts: Mapping[str, object]
    """Versions, and a hash over all pairs."""


def words(text: str) -> list[str]:
    """What ROUGE compares: runs of letters and digits, in lower case."""
    return _WORD.findall(text.lower())


def check(task: str) -> None:
    """Raise UserError if a package is not installed; nothing is read. ``task``: the task to name in the message."""
    for package in PACKAGES:
        packages.find(package, "__init__.py", task=task)
    packages.check_scikit_learn(task)


@functools.cache
def read() -> Docstrings:
    """The pairs of the installed packages. Takes seconds, once a process."""
    found = [pair for package in PACKAGES for pair in _of_package(package)]
    digest = hashlib.sha256("\0".join(field for pair in found for field in pair).encode()).hexdigest()
    versions = {package: importlib.metadata.version(package) for package in PACKAGES}
    return split(found, {"versions": versions, "sha256": digest})


def split(found: Iterable[Pair], facts: Mapping[str, object] = MappingProxyType({})) -> Docstrings:
    """Pairs by part, none twice; groups of near-twins stay together, and a hash of a group's first name draws its part.

    Two pairs are near-twins if they have the same last name (`jax.numpy.fft.ifft` retells `numpy.fft.ifft`), or if
    their descriptions or summaries are alike beyond `ALIKE`. Near-twins of near-twins are in the same group.
    """
    texts = {(" ".join(words(pair.description)), " ".join(words(pair.summary))): pair for pair in found}
    pairs = list(texts.values())
    alike = tf_idf.likeness([words(pair.description) for pair in pairs])
    said_alike = tf_idf.likeness([words(pair.summary) for pair in pairs])
    groups = np.array(components(len(pairs), _links(pairs, alike, said_alike)))
    drawn = _parts_of_groups(pairs, groups.tolist())
    parts: dict[str, list[Pair]] = {part: [] for part in ("train", *PARTS)}
    for pair, part in zip(pairs, drawn, strict=True):
        parts[part].append(pair)
    return Docstrings(parts, _nearest(pairs, drawn, groups, alike), facts)


def _links(pairs: Sequence[Pair], alike: np.ndarray, said_alike: np.ndarray) -> Iterator[tuple[int, int]]:
    named: dict[str, int] = {}
    for place, pair in enumerate(pairs):
        yield place, named.setdefault(pair.name.rpartition(".")[2], place)
    both = np.nonzero((alike > ALIKE["description"]) | (said_alike > ALIKE["summary"]))
    yield from zip(*(places.tolist() for places in both), strict=True)


def _parts_of_groups(pairs: Sequence[Pair], groups: Sequence[int]) -> list[str]:
    """The part of each pair."""
    names: dict[int, list[str]] = {}
    for pair, group in zip(pairs, groups, strict=True):
        names.setdefault(group, []).append(pair.name)
    parts = {group: part_of(min(there)) if len(there) <= LARGEST else "train" for group, there in names.items()}
    return [parts[group] for group in groups]


def _nearest(
    pairs: Sequence[Pair], drawn: Sequence[str], groups: np.ndarray, alike: np.ndarray
) -> dict[str, list[Pair]]:
    trained = np.array([part == "train" for part in drawn])
    nearest: dict[str, list[Pair]] = {part: [] for part in ("train", *PARTS)}
    for place, part in enumerate(drawn):
        allowed = np.where(trained & (groups != groups[place]), alike[place], -1)
        nearest[part].append(pairs[int(allowed.argmax())])
    return nearest


def part_of(name: str) -> str:
    """The part that a name falls into, by its hash alone."""
    place = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) % 100
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
    """The text up to the first of . ! ? : that a space and then a capital or bracket follow, or all of it."""
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
