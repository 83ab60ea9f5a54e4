"""The interface strings of Django as pairs of texts: English, and what its translators made of it."""

import gettext
from pathlib import Path

from experiments.tasks.packages import find

_CONTEXT = "\x04"
"""Stands between the context of a string, which only translators see, and the string."""


def check() -> None:
    """Raise UserError if Django is not installed; nothing is loaded."""
    find("django", "conf/locale", task="translation")


def languages() -> list[str]:
    """The languages that there are targets in, as Django names their folders."""
    folder = find("django", "conf/locale", task="translation")
    return sorted(file.parent.parent.name for file in folder.glob("*/LC_MESSAGES/django.mo"))


def files(language: str) -> list[Path]:
    """The compiled catalogues of a language, always in the same order."""
    folder = find("django", ".", task="translation")
    return sorted(folder.glob(f"**/locale/{language}/LC_MESSAGES/*.mo"))


def pairs(language: str, longest: int) -> list[tuple[str, str]]:
    """Pairs of texts of one line and at most ``longest`` characters, in order of the English ones.

    If a text stands in several catalogues, or texts differ only in capitals, the first one counts. A text with a plural
    counts by its singular.
    """
    texts: dict[str, tuple[str, str]] = {}
    for file in files(language):
        for source, target in catalogue(file).items():
            short = 0 < len(source) <= longest and 0 < len(target) <= longest
            if short and "\n" not in source + target:
                texts.setdefault(source.casefold(), (source, target))
    return [texts[key] for key in sorted(texts)]


def catalogue(file: Path) -> dict[str, str]:
    """Texts and their translations, without contexts and without plurals."""
    with file.open("rb") as stream:
        entries = gettext.GNUTranslations(stream)
    texts: dict[str, str] = {}
    # gettext lists a catalogue nowhere in public. A key is the text, or the text and the number of a plural form.
    for key, target in vars(entries)["_catalog"].items():
        source, form = key if isinstance(key, tuple) else (key, 0)
        if form == 0:
            texts.setdefault(source.rpartition(_CONTEXT)[2], target)
    return texts
