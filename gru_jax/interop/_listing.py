"""Lists of names for messages, cut short: names in a file may be many and long."""

from collections.abc import Sequence


def listed(names: Sequence[str | bytes], most: int = 4) -> str:
    """The first few names, quoted, and how many more there are."""
    texts = [name if isinstance(name, str) else name.decode(errors="replace") for name in names]
    shown = ", ".join(repr(text[:200]) for text in texts[:most])
    return (shown or "none") + (f" and {len(texts) - most} more" if len(texts) > most else "")
