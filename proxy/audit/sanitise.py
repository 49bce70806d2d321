"""Text from outside, made safe to record: no control characters, no surrogates, bounded length."""

import unicodedata

MAX_TEXT = 2048
# Controls, format characters (directions, marks of no width), surrogates, line and paragraph separators: what could
# forge a line or hide text in a terminal.
_UNSAFE = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))


def sanitise(text: str, limit: int = MAX_TEXT) -> str:
    """Escape every unsafe character as `\\xNN` or `\\uNNNN` and cut the text at `limit` characters."""
    if text.isascii() and text.isprintable() and len(text) <= limit:
        return text
    begin = text[: limit + 1]  # what comes after is cut in any case
    safe = "".join(ascii(each)[1:-1] if unicodedata.category(each) in _UNSAFE else each for each in begin)
    return safe if len(safe) <= limit else safe[: limit - 1] + "…"
