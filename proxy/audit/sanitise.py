"""Text from outside, made safe to record: no control characters, no surrogates, bounded length."""

import re

MAX_TEXT = 2048
# C0, DEL, C1, line separators, bidirectional controls, surrogates: what could forge a line or hide text in a terminal.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def sanitise(text: str, limit: int = MAX_TEXT) -> str:
    """Escape every unsafe character as `\\xNN` or `\\uNNNN` and cut the text at `limit` characters."""
    if text.isascii() and text.isprintable() and len(text) <= limit:
        return text
    safe = _UNSAFE.sub(lambda match: ascii(match[0])[1:-1], text)
    return safe if len(safe) <= limit else safe[: limit - 1] + "…"
