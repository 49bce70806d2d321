"""Paths: one reading of a request path, or none.

A path that two servers could read differently has no reading here: it raises `AmbiguousPath`
and is refused where a rule speaks of paths. Nothing is repaired or guessed.
"""

import re
import unicodedata
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

type Segments = tuple[str, ...]

_ENCODED_SLASH = re.compile(r"%2f", re.IGNORECASE)
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
# Characters with which servers split, end or rewrite a segment.
_SPLITTERS = re.compile(r"[/\\;\x00-\x1f\x7f]")
_PLAIN = re.compile(r"(?:/[A-Za-z0-9_~@:!$&'()*+,=-][A-Za-z0-9._~@:!$&'()*+,=-]*)+/?")
# Default_Ignorable_Code_Point of Unicode's DerivedCoreProperties.txt: what NFKC_Casefold leaves out.
_NOT_SHOWN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_CONFUSABLE = frozenset("/\\;.%")


class AmbiguousPath(ValueError):
    """The path has more than one plausible reading."""


def read_path(raw: str, *, keep_encoded_slash: bool = False) -> Segments:
    """Decode an absolute path (no query) into its segments; `/a/` is `("a", "")`, `/` is `("",)`.

    With `keep_encoded_slash`, `%2F` is an ordinary character of its segment.
    Raises `AmbiguousPath` for dot segments, empty segments, encoded separators, `;`, NUL,
    broken or doubled percent-encoding, bytes that are not UTF-8, and characters that
    compatibility normalisation (NFKC) turns into any of these.
    """
    if _PLAIN.fullmatch(raw):
        return tuple(raw[1:].split("/"))
    if not raw.startswith("/"):
        raise AmbiguousPath("the path does not start with a slash")
    parts = raw[1:].split("/")
    if "" in parts[:-1]:
        raise AmbiguousPath("empty segment")
    segments = tuple(_read_segment(part, keep_encoded_slash) for part in parts)
    if not keep_encoded_slash and _ENCODED_SLASH.search(raw):
        raise AmbiguousPath("encoded slash")
    return segments


def split_encoded_slashes(raw: str) -> Segments:
    """The other reading of a path whose only doubt is `%2F`: each one separates. For deny rules."""
    return tuple("/".join(read_path(raw, keep_encoded_slash=True)).split("/"))


def _read_segment(part: str, keep_encoded_slash: bool) -> str:
    if _BAD_PERCENT.search(part):
        raise AmbiguousPath("broken percent-encoding")
    # The slash is taken out while the rest is judged, so that it is the only doubt left.
    text = _decode(_ENCODED_SLASH.sub("%20" if not keep_encoded_slash else "%2F", part))
    judged = text.replace("/", " ") if keep_encoded_slash else text
    if judged in (".", "..") or any(piece in (".", "..") for piece in text.split("/")):
        raise AmbiguousPath("dot segment")
    if _SPLITTERS.search(judged):
        raise AmbiguousPath("encoded separator or control character")
    if re.search(r"%[0-9A-Fa-f]{2}", judged):
        raise AmbiguousPath("doubled percent-encoding")
    if not judged.isascii():
        folded = unicodedata.normalize("NFKC", judged)
        if any(folded.count(char) != judged.count(char) for char in _CONFUSABLE):
            raise AmbiguousPath("a character that can turn into a separator")
    return text


def _decode(part: str) -> str:
    try:
        return unquote_to_bytes(part).decode("utf-8")
    except UnicodeError:  # of text, a lone surrogate
        raise AmbiguousPath("not UTF-8") from None


@dataclass(frozen=True, slots=True)
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
        return all(
            want == have if want is not None else have != "" for want, have in zip(self.segments, path, strict=False)
        )

    def denies(self, path: Segments) -> bool:
        """As `matches`, for deny rules: blind to what many servers do not see.

        That is case, also with the dotted and dotless i of Turkish, width and other compatibility forms, characters
        that are not shown, a trailing slash, and dots and spaces that end a segment.
        """
        folded = tuple(folded_segment(segment) for segment in path)
        pattern = PathPattern(tuple(s if s is None else folded_segment(s) for s in self.segments), self.rest)
        return pattern.matches(folded) or (folded[-1] == "" and pattern.matches(folded[:-1]))

    def __str__(self) -> str:
        text = "/" + "/".join("*" if s is None else s for s in self.segments)
        return text.rstrip("/") + "/**" if self.rest else text


def folded_segment(segment: str) -> str:
    """The segment as deny patterns see it."""
    if segment.isascii():  # where the two steps below change nothing else
        return segment.lower().rstrip(". ")
    shown = _NOT_SHOWN.sub("", unicodedata.normalize("NFKC", segment))
    # By way of capitals: some servers compare those, and the dotless i has one that is shared.
    folded = unicodedata.normalize("NFKC", shown.upper().casefold())
    return folded.replace("i\u0307", "i").rstrip(". ")


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
