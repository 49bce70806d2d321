"""Spellings: what a lenient server takes for one and the same word. One folding for names, one for path segments.

Names are query keys and header fields, wherever they count: conditions of rules, slots of credentials, fields that are
dropped. Both foldings are idempotent.
"""

import re
import unicodedata

# Default_Ignorable_Code_Point of Unicode's DerivedCoreProperties.txt: what NFKC_Casefold leaves out.
_NOT_SHOWN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
# One more decoding, a C string's end, or bytes that are no UTF-8 make another name of it.
_UNCLEAR = re.compile("[\x00-\x1f\x7f\ufffd]|%(?:[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4})")
_SIMPLE = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_SIGN = re.compile(r"\W")
_SHORT = 64  # bytes of a name that is worth to be remembered
_MANY = 1024  # such names
_STEPS = 4  # one is enough for almost every text, two for every single character


def folded_name(name: str) -> str:
    """A decoded query key or a header's name as the most lenient server reads it; empty if it could be any name.

    Case, width and characters that are not shown do not count, and each sign is `_`: CGI and WSGI cannot tell `-` from
    it (RFC 3875 section 4.1.18), PHP not ` ` and `.` (php.net, "Variables from external sources"). Rack skips brackets
    at the start, URLSearchParams a `?`, and both Rack and PHP end the name at the next bracket; where that one is never
    closed they do not agree on the name.
    """
    if _SIMPLE.fullmatch(name):
        return name.lower().replace("-", "_")
    if _UNCLEAR.search(name):
        return ""
    text = folded_text(name).lstrip("[]? ")
    head, bracket, rest = text.partition("[")
    if bracket and "]" not in rest:
        return ""
    return _SIGN.sub("_", head.partition("]")[0].strip())


class _Fields(dict[bytes, str]):
    """Headers' names as on the wire, folded as `folded_name` does; short ones are remembered, a number of them."""

    def __missing__(self, name: bytes) -> str:
        folded = folded_name(name.decode("latin-1"))
        if len(name) <= _SHORT:
            if len(self) >= _MANY:
                self.clear()
            self[name] = folded
        return folded


folded_field = _Fields().__getitem__
"""A header's name as on the wire, folded as `folded_name` does. Asked for every header several times."""


def folded_names(words: str) -> frozenset[str]:
    """Names, written with spaces between them, in one of their spellings each."""
    return frozenset(map(folded_name, words.split()))


def folded_text(text: str) -> str:
    """The text without what many servers do not see: case, also of the Turkish i, width and other compatibility forms,
    characters that are not shown.
    """
    for _ in range(_STEPS):
        if text.isascii():
            break
        shown = _NOT_SHOWN.sub("", unicodedata.normalize("NFKC", text))
        # By way of capitals: some servers compare those, and the dotless i has one that is shared.
        folded = unicodedata.normalize("NFKC", shown.upper().casefold()).replace("i\u0307", "i")
        if folded == text:
            return text
        text = folded
    return text.lower()
