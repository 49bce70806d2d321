"""Forms: every way in which a server is likely to repeat a secret. Data about encoders."""

import base64
import json
import re
from collections.abc import Callable, Iterator
from itertools import product
from urllib.parse import quote

type _Style = Callable[[str], str]

# The characters that common encoders leave alone beside letters, digits and `-._~`: Python's quote(safe="") and
# quote(), JavaScript's encodeURIComponent and encodeURI (ECMA-262 section 19.2.6).
_SAFE = ("", "/", "!*'()", ";,/?:@&=+$#!*'()")
# What JSON encoders write as `\\uXXXX`: none; Go and PHP's JSON_HEX_TAG with _AMP; Newtonsoft without and with quotes;
# .NET's JavaScriptEncoder; Gson; serialize-javascript.
_JSON_ESCAPED = ("", "<>&", "<>&'", "<>&'\"", "<>&'\"+`", "<>&='", "<>/")
# What HTML and XML encoders write for a character, raw where it is left alone: Python, Jinja, PHP, XML, Go, .NET,
# Mustache.
_HTML_QUOTE = ('"', "&quot;", "&#34;")
_HTML_APOSTROPHE = ("'", "&#39;", "&#x27;", "&#039;", "&apos;")
_HTML_PLUS = ("+", "&#43;", "&#x2B;")
_HTML_MORE: tuple[dict[str, str], ...] = ({}, {"/": "&#x2F;"}, {"/": "&#x2F;", "=": "&#x3D;", "`": "&#x60;"})
_STYLES: tuple[_Style, ...] = (
    lambda char: f"\\u{ord(char):04x}",
    lambda char: f"\\u{ord(char):04X}",
    lambda char: f"\\x{ord(char):02x}",
    lambda char: f"\\x{ord(char):02X}",
    lambda char: f"&#{ord(char)};",
    lambda char: f"&#{ord(char):03};",
    lambda char: f"&#x{ord(char):x};",
    lambda char: f"&#x{ord(char):X};",
)


def forms_of(value: bytes) -> frozenset[bytes]:
    """Each form in which the value can come back: raw, base64, hex, percent-encoded, escaped for JSON, scripts, HTML.

    Base64 broken into lines, double encodings and compression inside the body are not among them.
    """
    text, hexed = value.decode("ascii"), value.hex()
    written = {text, hexed, hexed.upper(), *_percent_forms(text), *_json_forms(text), *_html_forms(text)}
    return frozenset({form.encode() for form in {*written, *_escaped_forms(text)}} | set(_base64_forms(value)))


def _base64_forms(value: bytes) -> Iterator[bytes]:
    """The characters that the value wholly determines, for each of its three alignments (RFC 4648 sections 4 and 5).

    The secret in Basic, base64 of `user:secret`, is one of these.
    """
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + value + bytes(3))
        piece = encoded[-(-8 * before // 6) : 8 * (before + len(value)) // 6]
        yield piece
        yield piece.translate(bytes.maketrans(b"+/", b"-_"))


def _percent_forms(text: str) -> Iterator[str]:
    encoded = {quote(text, safe=safe) for safe in _SAFE}
    encoded.add(quote(text, safe="*").replace("~", "%7E"))  # WHATWG URL, application/x-www-form-urlencoded
    encoded.add("".join(f"%{ord(character):02X}" for character in text))
    for form in encoded:
        yield form
        yield re.sub("%..", lambda match: match[0].lower(), form)


def _json_forms(text: str) -> Iterator[str]:
    escaped = json.dumps(text)[1:-1]
    for style, chosen in product(_STYLES[:2], _JSON_ESCAPED):
        # The quote is escaped already, with a backslash, unless it is among the chosen.
        base = escaped.replace('\\"', '"') if '"' in chosen else escaped
        form = _with(base, {char: style(char) for char in chosen})
        yield form
        yield form.replace("/", "\\/")


def _html_forms(text: str) -> Iterator[str]:
    for quotes, apostrophe, plus, more in product(_HTML_QUOTE, _HTML_APOSTROPHE, _HTML_PLUS, _HTML_MORE):
        escapes = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': quotes, "'": apostrophe, "+": plus}
        yield _with(text, escapes | more)


def _escaped_forms(text: str) -> Iterator[str]:
    """Every character in one style, or every sign that an encoder could mind."""
    for style in _STYLES:
        yield "".join(map(style, text))
        yield "".join(char if char.isalnum() or char in "-._~" else style(char) for char in text)


def _with(text: str, escapes: dict[str, str]) -> str:
    return text.translate({ord(char): escape for char, escape in escapes.items()})
