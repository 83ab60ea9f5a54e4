"""Reads the overrides of a command line, ``key.path=value``, and says what was meant by a word that is none."""

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from experiments.config import yaml_traps
from experiments.system.errors import UserError

_FORM = "expected an override of the form key.path=value, e.g. training.steps=500"
_KEY = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


class Override(NamedTuple):
    """An override, or a mistake in its place."""

    key: str
    value: str
    mistake: str = ""
    """One line; "" for what can be read."""

    def __str__(self) -> str:
        """As it is written on a command line."""
        return f"{self.key}={self.value}"


def parse_overrides(words: Sequence[str]) -> list[Override]:
    """The overrides that ``words`` are; words that belong together (``seed = 3``) are one mistake."""
    found: list[Override] = []
    rest = list(words)
    while rest:
        together = _words_of_one_override(rest)
        if together:
            said, meant = " ".join(rest[:together]), "".join(rest[:together])
            meant = meant if "=" in meant else "=".join(word.rstrip(":") for word in rest[:together])
            found.append(_mistake(f"{said}: an override is one word, without spaces: {meant}"))
        else:
            found.append(_read(rest[0]))
        rest = rest[together or 1 :]
    return found


def meant_by_options(words: Sequence[str], options: Sequence[str] = ()) -> str:
    """Says that ``--seed 3`` is written ``seed=3``, or which of ``options`` is nearest; "" if neither fits."""
    if not words or not words[0].startswith("-"):
        return ""
    name, equals, value = words[0].partition("=")
    near = difflib.get_close_matches(name, options, n=1, cutoff=0.75)
    if near:
        return f"did you mean {near[0]}?"
    key = name.lstrip("-").replace("-", "_")
    if not equals:
        value = next(iter(words[1:2]), "VALUE")
    return f"settings are written key=value: {key}={value}" if _KEY.fullmatch(key) else ""


def refuse_before_config(config: str | Path, words: Sequence[str]) -> None:
    """UserError for ``seed=3 configs/adding.yaml``: an override where the config belongs."""
    if not _looks_like_an_override(str(config)) or Path(config).exists():
        return
    file = next((word for word in words if word.endswith((".yaml", ".yml"))), None)
    rest = [word for word in words if word != file]
    meant = " ".join([file or "CONFIG", str(config), *rest])
    raise UserError(f"{config}: an override, where the config belongs; write {meant}")


def _words_of_one_override(words: Sequence[str]) -> int:
    """How many of the first words are one override with spaces in it; 0: the first stands for itself."""
    first, second, third = [*words[:3], "", "", ""][:3]
    key = first.rstrip(":")
    if _KEY.fullmatch(key) and second == "=" and third:
        return 3
    if _KEY.fullmatch(first) and second.startswith("=") and second != "=":
        return 2
    if first.endswith("=") and _KEY.fullmatch(first[:-1]) and second and not _looks_like_an_override(second):
        return 2
    is_value = second and not _looks_like_an_override(second) and not _KEY.fullmatch(second.partition("=")[0])
    return 2 if _KEY.fullmatch(key) and is_value and second != "=" and not second.startswith("-") else 0


def _looks_like_an_override(word: str) -> bool:
    return bool(_KEY.fullmatch(word.partition("=")[0].strip())) and "=" in word


def _read(word: str) -> Override:
    key, equals, value = word.partition("=")
    key = key.strip()
    if word.endswith((".yaml", ".yml")) and not equals:
        return _mistake(f"{word}: a second config; a command takes one, and a file builds on another by base: FILE")
    if key.startswith("-") and (meant := meant_by_options([word])):
        return _mistake(f"{word}: {meant}")
    if not equals:
        entry = re.fullmatch(r"([A-Za-z_][\w.]*)(?::\s*|\s+)(\S.*)", word)
        meant = f"; did you mean {entry[1]}={entry[2]}?" if entry else ""
        return _mistake(f"{word}: {_FORM}{meant}")
    if "[" in key:
        return _mistake(f"{word}: a list is given as a whole: {key.partition('[')[0]}=[8,16]")
    if not all(key.split(".")):
        return _mistake(f"{word}: {_FORM}")
    if any("\ud800" <= letter <= "\udfff" for letter in word):
        return _mistake(f"{word}: expected text in UTF-8; rename the file, or name a link to it")
    if key == "base":
        return _mistake(f"{word}: base belongs into a config file, not on the command line")
    if not value.strip():
        return _mistake(f"{word}: no value behind the sign =; for none, write {key}=null")
    if value.strip() == "???":
        # Merged, it would leave the value of the file as it is.
        return _mistake(
            f'{key}: has the value "???", which stands for one that must be given; give it, or leave {key} out'
        )
    if more := re.search(r"[,;\s]\s*([A-Za-z_][\w.]*=\S.*)", value):
        meant = f"{key}={value[: more.start()].strip()} {more[1]}"
        return _mistake(f"{word}: two overrides in one word; write {meant}")
    traps = yaml_traps.find(value)
    return _mistake(f"{word}: {traps[0].problem}") if traps else Override(key, value)


def _mistake(line: str) -> Override:
    return Override("", "", line)
