"""Names for a message, of which there may be any number of any length: they may stand in a file."""

from collections.abc import Sequence


def listed(names: Sequence[str | bytes], most: int = 4) -> str:
    """The first few of them, quoted."""
    texts = [name if isinstance(name, str) else name.decode(errors="replace") for name in names]
    shown = ", ".join(repr(text[:200]) for text in texts[:most])
    return (shown or "none") + (f" and {len(texts) - most} more" if len(texts) > most else "")
