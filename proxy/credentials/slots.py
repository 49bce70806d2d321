"""Slots: every place of a request head in which a credential can stand; how each is read and cleared.

A reading errs on one side: what it does not understand is somebody's own key.
"""

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from urllib.parse import unquote

from proxy.credentials.providers import provider_of
from proxy.policy.credential import CredentialSpec, Inject

type Headers = tuple[tuple[bytes, bytes], ...]
"""Names and values as on the wire, names in any case."""

# Slots of every request that gets a credential, whatever service it goes to: an allowed host that takes a second
# form of key must not become a drop through it.
_HEADERS = frozenset(
    {b"authorization", b"x-authorization", b"x-forwarded-authorization", b"x-api-key", b"api-key", b"x-goog-api-key"}
    | {b"x-auth-token", b"x-access-token", b"private-token", b"gitlab-token", b"job-token", b"dpop"}
    | {b"x-amz-security-token"}
)
# The first is RFC 6750 section 2.3; the last line is AWS Signature Version 4 in a query.
_QUERIES = frozenset(
    {"access_token", "api_key", "apikey", "private_token", "job_token", "oauth_token", "token", "client_secret"}
    | {"subscription_key"}
    | {"x_amz_signature", "x_amz_credential", "x_amz_security_token"}
)
# Google APIs take `?key=` beside a header; elsewhere the word is too common to be a slot.
_GOOGLE = "googleapis.com"
# Cleared without a word: a cookie is often the infrastructure's own, and the second is this proxy's business.
_DROPPED = frozenset({b"cookie", b"cookie2", b"proxy-authorization"})
_SUBPROTOCOLS = b"sec-websocket-protocol"
# OpenAI, "Realtime API with WebSockets": a browser cannot set headers, so its key is one of the offered subprotocols.
_SUBPROTOCOL_KEY = b"openai-insecure-api-key."
_SEPARATOR = re.compile(r"([&;])")


class Content(Enum):
    """What stands in a slot."""

    EMPTY = "empty"
    FAKE = "fake"
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True)
class Slots:
    """The slots of one credential: header names in lower case, normalised query keys, and its own header's format."""

    headers: frozenset[bytes]
    queries: frozenset[str]
    inject: Inject | None


@dataclass(frozen=True, slots=True)
class Found:
    """One slot that occurs in a request: its name for people, header and scheme (empty for none), and content."""

    slot: str
    header: bytes
    scheme: bytes
    content: Content


@lru_cache(maxsize=1024)
def slots_of(spec: CredentialSpec) -> Slots:
    """Every slot that counts where the credential is injected. Raises `ConfigError` for an unknown provider."""
    provider = provider_of(spec)
    forms = provider.forms if provider else (spec.inject,) if spec.inject else ()
    headers = {form.header.lower().encode() for form in forms if form.header}
    queries = {_normal_key(form.query) for form in forms if form.query}
    if provider:
        queries |= provider.queries
    if any(pattern.name == _GOOGLE or pattern.name.endswith("." + _GOOGLE) for pattern in spec.hosts):
        queries.add("key")
    return Slots(_HEADERS | headers, _QUERIES | queries, spec.inject)


def header_name(name: bytes) -> bytes:
    """A header's name for comparison. `_` counts as `-`: CGI and WSGI cannot tell the two apart (RFC 3875 4.1.18)."""
    return name.strip().lower().replace(b"_", b"-")


def read_slots(slots: Slots, headers: Headers, target: str, fakes: frozenset[bytes]) -> Iterator[Found]:
    """Each slot that occurs, once per occurrence. `fakes` are the values that are nobody's key."""
    for raw_name, value in headers:
        name = header_name(raw_name)
        if name == _SUBPROTOCOLS:
            for protocol in filter(_is_subprotocol_key, value.split(b",")):
                held = protocol.strip()[len(_SUBPROTOCOL_KEY) :]
                yield Found(name.decode(), name, b"", _content(held, fakes))
        elif name in slots.headers and name not in _DROPPED:
            scheme, content = _read_value(value.strip(b" \t"), fakes, _own_format(slots, name))
            yield Found(name.decode("latin-1"), name, scheme, content)
    for part in _SEPARATOR.split(target.partition("?")[2])[::2]:
        raw_key, _, value_text = part.partition("=")
        if (key := _query_key(raw_key)) in slots.queries:
            decoded = unquote(value_text.replace("+", " "), errors="replace").strip()
            yield Found(f"query {key}", b"", b"", _content(decoded.encode(), fakes))


def clear_slots(slots: Slots, headers: Headers, target: str) -> tuple[list[tuple[bytes, bytes]], str]:
    """The head without any of the slots. Everything else stays as it was, byte for byte."""
    kept = []
    for raw_name, value in headers:
        name = header_name(raw_name)
        if name == _SUBPROTOCOLS and any(map(_is_subprotocol_key, value.split(b","))):
            others = [protocol.strip() for protocol in value.split(b",") if not _is_subprotocol_key(protocol)]
            if any(others):
                kept.append((raw_name, b", ".join(others)))
        elif name not in slots.headers and name not in _DROPPED:
            kept.append((raw_name, value))
    return kept, _clear_query(slots.queries, target)


def _clear_query(queries: frozenset[str], target: str) -> str:
    path, _, query = target.partition("?")
    pieces = ["", *_SEPARATOR.split(query)]
    pairs = list(zip(pieces[::2], pieces[1::2], strict=True))
    kept = [(separator, part) for separator, part in pairs if _query_key(part.partition("=")[0]) not in queries]
    if len(kept) == len(pairs):
        return target
    rest = "".join(separator + part for separator, part in kept)
    return f"{path}?{rest[len(kept[0][0]) :]}" if kept else path


def _own_format(slots: Slots, name: bytes) -> tuple[bytes, bytes] | None:
    inject = slots.inject
    if inject is None or inject.header is None or inject.header.lower().encode() != name:
        return None
    prefix, _, suffix = inject.format.partition("{secret}")
    return prefix.lower().encode(), suffix.encode()


def _read_value(value: bytes, fakes: frozenset[bytes], own: tuple[bytes, bytes] | None) -> tuple[bytes, Content]:
    if not value or value in fakes:
        return b"", _content(value, fakes)
    if own and value.lower().startswith(own[0]) and value.endswith(own[1]):
        if value[len(own[0]) : len(value) - len(own[1])] in fakes:
            return b"", Content.FAKE
    scheme, _, rest = value.replace(b"\t", b" ").partition(b" ")
    scheme, rest = scheme.lower(), rest.strip(b" ")
    if scheme in (b"bearer", b"token"):
        return scheme, _content(rest, fakes)
    if scheme == b"basic":
        return scheme, _read_basic(rest, fakes)
    return b"", Content.FOREIGN


def _read_basic(encoded: bytes, fakes: frozenset[bytes]) -> Content:
    if not encoded:
        return Content.EMPTY
    try:
        user, colon, password = base64.b64decode(encoded, validate=True).partition(b":")
    except binascii.Error:
        return Content.FOREIGN
    if not colon:
        return Content.FOREIGN
    if password in fakes:
        return Content.FAKE
    if user in fakes and password in (b"", b"x-oauth-basic"):  # the second is git's old way to send a token to GitHub
        return Content.FAKE
    return Content.FOREIGN if user or password else Content.EMPTY


def _content(value: bytes, fakes: frozenset[bytes]) -> Content:
    if not value:
        return Content.EMPTY
    return Content.FAKE if value in fakes else Content.FOREIGN


def _is_subprotocol_key(protocol: bytes) -> bool:
    return protocol.strip().lower().startswith(_SUBPROTOCOL_KEY)


def _query_key(raw: str) -> str:
    return _normal_key(unquote(raw.replace("+", " "), errors="replace"))


def _normal_key(key: str) -> str:
    # PHP reads `api.key`, ` api key` and `api_key[]` as api_key (php.net, "Variables from external sources"),
    # other servers ignore case; a key that any of them could mean counts.
    return re.sub(r"[-. ]", "_", re.split(r"[\[\0]", key)[0].strip().lower())
