"""Paths: one reading of a request path, or none.

A path that two servers could read differently has no reading here: it raises `AmbiguousPath`
and is refused where a rule speaks of paths. Nothing is repaired or guessed.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import unquote_to_bytes

from proxy.policy.spelling import folded_text

type Segments = tuple[str, ...]

_ENCODED_SLASH = re.compile(r"%2f", re.IGNORECASE)
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
# Characters with which servers split, end or rewrite a segment; the second kind where a path is decoded twice.
_SPLITTERS = re.compile(r"[\\;?#\x00-\x1f\x7f-\x9f]")
_DOUBLED = re.compile(r"%(?:[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4})")
_PLAIN = re.compile(r"(?:/[A-Za-z0-9_~@:!$&'()*+,=-][A-Za-z0-9._~@:!$&'()*+,=-]*)+/?")
_CONFUSABLE = frozenset("/\\;.%?#")
# Segments of dots, also with spaces around and between them, which Windows drops at the end of a name
# (learn.microsoft.com, "Naming Files, Paths, and Namespaces").
_DOTS = re.compile(r"(?:^|/) *\.[. ]*(?:/|$)")
# What Windows and code pages of Japan and Korea turn into a slash or a backslash, beside NFKC (unicode.org,
# Public/MAPPINGS/VENDORS/MICSFT/WindowsBestFit).
_BEST_FIT = re.compile("[\u00a5\u2044\u20a9\u2215\u2216\u29f5\u29f8\u29f9]")


class AmbiguousPath(ValueError):
    """The path has more than one plausible reading."""


def read_path(raw: str, *, keep_encoded_slash: bool = False) -> Segments:
    """Decode an absolute path (no query) into its segments; `/a/` is `("a", "")`, `/` is `("",)`.

    With `keep_encoded_slash`, `%2F` is an ordinary character of its segment.
    Raises `AmbiguousPath` for segments of dots (also with spaces, or with what is not shown), empty segments, encoded
    separators (`?` and `#` too), `;`, NUL, broken or doubled percent-encoding, bytes that are not UTF-8, and characters
    that compatibility normalisation (NFKC) or a code page turns into any of these.
    """
    if _PLAIN.fullmatch(raw):
        return tuple(raw[1:].split("/"))
    if not raw.startswith("/"):
        raise AmbiguousPath("the path does not start with a slash")
    if "//" in raw:
        raise AmbiguousPath("empty segment")
    if _BAD_PERCENT.search(raw):
        raise AmbiguousPath("broken percent-encoding")
    slashed = _ENCODED_SLASH.search(raw) is not None
    if slashed and not keep_encoded_slash:
        raise AmbiguousPath("encoded slash")
    # Judged as a whole, so that many short segments cost no more than a long one.
    text = _decode(raw)
    _judge(text)
    return tuple(_decode(part) for part in raw[1:].split("/")) if slashed else tuple(text[1:].split("/"))


def split_encoded_slashes(raw: str) -> Segments:
    """The other reading of a path whose only doubt is `%2F`: each one separates. For deny rules.

    Several slashes at once are one, as to many servers.
    """
    *inner, last = "/".join(read_path(raw, keep_encoded_slash=True)).split("/")
    return (*filter(None, inner), last)


def _judge(text: str) -> None:
    """Raise `AmbiguousPath` for a decoded path that some server could decode, split or fold further."""
    if "." in text and _DOTS.search(_shown(text)):
        raise AmbiguousPath("dot segment")
    if _SPLITTERS.search(text):
        raise AmbiguousPath("encoded separator or control character")
    if _DOUBLED.search(text):
        raise AmbiguousPath("doubled percent-encoding")
    if not text.isascii():
        folded = unicodedata.normalize("NFKC", text)
        if _BEST_FIT.search(text) or any(folded.count(char) != text.count(char) for char in _CONFUSABLE):
            raise AmbiguousPath("a character that can turn into a separator")


def _shown(text: str) -> str:
    """The text without the characters that are not shown, or as a space; judged one by one, which costs little."""
    if text.isascii():
        return text
    return text.translate(dict.fromkeys(ord(char) for char in set(text) if not folded_text(char).strip()))


def _decode(part: str) -> str:
    try:
        return unquote_to_bytes(part).decode("utf-8")
    except UnicodeError:  # of text, a lone surrogate
        raise AmbiguousPath("not UTF-8") from None


@dataclass(frozen=True)
class PathPattern:
    """Segments to match; `*` as a whole segment is any one segment, `rest` is a final `**`.

    `/admin/**` matches `/admin` and everything below it.
    """

    segments: tuple[str | None, ...]  # None is `*`
    rest: bool = False

    def matches(self, path: Segments) -> bool:
        """Whether a path is meant; a `*` never stands for an empty segment."""
        count = len(self.segments)
        if len(path) < count or (len(path) > count and not self.rest):
            return False
        for want, have in zip(self.segments, path, strict=False):
            if want != have and (want is not None or have == ""):
                return False
        return True

    @cached_property
    def blind(self) -> "PathPattern":
        """The pattern as a deny rule means it: held against `blind_readings`."""
        return PathPattern(tuple(s if s is None else folded_segment(s) for s in self.segments), self.rest)

    def denies(self, path: Segments) -> bool:
        """As `matches`, for deny rules: blind to what many servers do not see.

        That is case, also with the dotted and dotless i of Turkish, width and other compatibility forms, characters
        that are not shown, a trailing slash, and dots and spaces that end a segment.
        """
        return any(self.blind.matches(each) for each in blind_readings(path))

    def __str__(self) -> str:
        text = "/" + "/".join("*" if s is None else s for s in self.segments)
        return text.rstrip("/") + "/**" if self.rest else text


def blind_readings(path: Segments) -> tuple[Segments, ...]:
    """What deny patterns see of a path: folded, and without an end that is nothing to them."""
    folded = tuple(folded_segment(segment) for segment in path)
    return (folded, folded[:-1]) if folded[-1] == "" else (folded,)


def folded_segment(segment: str) -> str:
    """The segment as deny patterns see it."""
    return folded_text(segment).rstrip(". ")


def parse_pattern(text: str, *, keep_encoded_slash: bool = False) -> PathPattern:
    """Parse `/v1/messages/*` or `/docs/**`. Raises `AmbiguousPath` or `ValueError` with the reason."""
    rest = text.endswith("/**")
    body = text[:-3] if rest else text
    if rest and body.endswith("/"):
        raise ValueError("an empty segment before `**`")
    if rest and not body:
        return PathPattern((), rest=True)
    if "?" in body or "#" in body:
        raise ValueError("a path has no query; use `query: {key: value}`")
    if "%2a" in body.lower():
        raise ValueError("write `*` for any segment; an encoded one matches nothing else")
    segments = read_path(body, keep_encoded_slash=keep_encoded_slash)
    for segment in segments:
        if segment != "*" and "*" in segment:
            raise ValueError("`*` stands for a whole segment, `**` only at the end")
    return PathPattern(tuple(None if s == "*" else s for s in segments), rest)
