"""A request for access, read strictly from a body: JSON, a form, or lines `key: value`. Pure."""

import json
import re
from dataclasses import dataclass
from urllib.parse import parse_qsl

from proxy import limits
from proxy.audit.sanitise import sanitise
from proxy.policy.host import MalformedHost, parse_authority

_METHOD = re.compile(r"[A-Z][A-Z0-9_-]{0,31}")
_PATH = re.compile(r"/[\x21-\x7e]{0,199}")
_LINE = re.compile(r"\s*([A-Za-z]+)\s*:(.*)", re.DOTALL)
_KEYS = ("host", "method", "path", "why")


class BadRequest(ValueError):
    """The body is no request for access. The text says why in words, and repeats nothing of it."""


@dataclass(frozen=True, slots=True)
class AccessRequest:
    """What a sandbox asks for. Every text is safe to record; `method` and `path` are None where it did not say."""

    host: str
    port: int
    method: str | None
    path: str | None
    why: str


def read_request(body: bytes) -> AccessRequest:
    """Read a body of at most `limits.MAX_ACCESS` bytes. Raises `BadRequest`."""
    try:
        text = body.decode("utf-8").strip()
    except UnicodeDecodeError:
        raise BadRequest("the body is not UTF-8") from None
    fields = _fields(text)
    host, why = fields.get("host", ""), sanitise(fields.get("why", ""), 2 * limits.MAX_WHY)
    if not host or not why:
        raise BadRequest("host and why must both be there")
    if len(why) > limits.MAX_WHY:
        raise BadRequest(f"why is longer than {limits.MAX_WHY} characters")
    method, path = fields.get("method") or None, (fields.get("path") or "").partition("?")[0] or None
    if method is not None and not _METHOD.fullmatch(method):
        raise BadRequest("method is not an HTTP method in upper case")
    if path is not None and not _PATH.fullmatch(path):
        raise BadRequest("path is not an absolute path of at most 200 visible ASCII characters")
    try:
        place = parse_authority(host, 443)
    except MalformedHost:
        raise BadRequest("host is not a host name, perhaps with a port; no scheme, no path") from None
    return AccessRequest(place.host.name, place.port, method, path, why)


def _fields(text: str) -> dict[str, str]:
    """The four fields by name, whatever the form; which one it is, its first characters tell. Others are ignored."""
    if text.startswith("{"):
        pairs = _json(text)
    elif _LINE.match(text):
        pairs = [(match[1], match[2]) for line in text.splitlines() if (match := _LINE.fullmatch(line))]
    else:
        try:
            pairs = parse_qsl(text, max_num_fields=16, errors="strict")
        except ValueError:
            raise BadRequest("the body is neither JSON, nor a form, nor lines of key: value") from None
    found: dict[str, str] = {}
    for key, value in pairs:
        if key in _KEYS:
            if key in found:
                raise BadRequest(f"{key} is there twice")
            found[key] = value.strip()
    return found


def _json(text: str) -> list[tuple[str, str]]:
    try:
        pairs = json.loads(text, object_pairs_hook=list)
    except (ValueError, RecursionError):
        raise BadRequest("the body begins like JSON and is none that can be read") from None
    if any(key in _KEYS and not isinstance(value, str | None) for key, value in pairs):
        raise BadRequest("host, method, path and why are texts")
    return [(key, value) for key, value in pairs if isinstance(value, str)]
