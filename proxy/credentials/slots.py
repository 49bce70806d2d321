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
from proxy.policy.spelling import folded_field, folded_name, folded_names

type Headers = tuple[tuple[bytes, bytes], ...]
"""Names and values as on the wire, names in any case."""

# Slots of every request that gets a credential, whatever service it goes to: an allowed host that takes a second
# form of key must not become a drop through it. Each in one of its spellings.
_HEADERS = folded_names(
    "authorization x-authorization x-forwarded-authorization x-original-authorization x-proxy-authorization"
    " x-serverless-authorization x-http-authorization http-authorization redirect-http-authorization"
    " x-ms-authorization-auxiliary authentication auth x-auth token x-token x-auth-token x-access-token"
    " x-auth-key x-access-key api-key apikey x-api-key x-apikey x-goog-api-key x-functions-key"
    " ocp-apim-subscription-key private-token gitlab-token deploy-token job-token x-vault-token"
    " x-amz-security-token x-goog-iam-authorization-token x-goog-iap-jwt-assertion x-jwt x-jwt-assertion dpop"
    " x-api-token access-token auth-token cf-access-client-secret x-auth-user-service-key"
)
# The first is RFC 6750 section 2.3; the last lines are signatures of AWS, CloudFront and Google in a query, and keys
# of HubSpot, SharePoint and others.
_QUERIES = folded_names(
    "access_token accesstoken auth_token oauth_token private_token job_token deploy_token id_token token jwt"
    " api_key apikey access_key subscription_key client_secret authorization bearer_token"
    " x_amz_signature x_amz_credential x_amz_security_token awsaccesskeyid x_goog_signature x_goog_credential"
    " googleaccessid key_pair_id api_token hapikey tempauth"
)
# Azure, "Create a service SAS": a signature beside what it allows; elsewhere the word is too common to be a slot.
_SIGNATURE = folded_names("sig")
_SIGNED = folded_names("sv se sp si")
# Google APIs take these beside a header (cloud.google.com, "System parameters"; the third holds any header); elsewhere
# the first word is too common to be a slot. The last is a session of an upload, which needs no other key
# (cloud.google.com, "Resumable uploads").
_GOOGLE = "googleapis.com"
_GOOGLE_QUERIES = folded_names("key $key $httpHeaders $access_token upload_id")
# Cleared without a word: a cookie is often the infrastructure's own, and the second is this proxy's business.
_DROPPED = folded_names("cookie cookie2 proxy-authorization")
_SUBPROTOCOLS = folded_name("sec-websocket-protocol")
# A browser cannot set headers, so the key is one of the offered subprotocols. OpenAI, "Realtime API with WebSockets";
# Kubernetes, staging/src/k8s.io/apiserver/pkg/authentication/request/websocket/protocol.go, there in base64url.
_SUBPROTOCOL_KEY = b"openai-insecure-api-key."
_SUBPROTOCOL_CODED = b"base64url.bearer.authorization.k8s.io."
_SEPARATOR = re.compile(r"([&;])")
_SHORT = 64  # characters of a query key that is worth to be remembered


class Content(Enum):
    """What stands in a slot."""

    EMPTY = "empty"
    FAKE = "fake"
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True)
class Slots:
    """The slots of one credential: names of headers and query keys, folded, and its own header's format."""

    headers: frozenset[str]
    queries: frozenset[str]
    inject: Inject | None


@dataclass(frozen=True, slots=True)
class Found:
    """One slot that occurs in a request: its name for people, header (folded) and scheme or "", and content."""

    slot: str
    header: str
    scheme: bytes
    content: Content


@lru_cache(maxsize=1024)
def slots_of(spec: CredentialSpec) -> Slots:
    """Every slot that counts where the credential is injected. Raises `ConfigError` for an unknown provider."""
    provider = provider_of(spec)
    forms = provider.forms if provider else (spec.inject,) if spec.inject else ()
    headers = {folded_name(form.header) for form in forms if form.header}
    queries = {folded_name(form.query) for form in forms if form.query}
    if provider:
        queries |= set(map(folded_name, provider.queries))
    if any(pattern.name == _GOOGLE or pattern.name.endswith("." + _GOOGLE) for pattern in spec.hosts):
        queries |= _GOOGLE_QUERIES
    return Slots(_HEADERS | headers, _QUERIES | queries, spec.inject)


def read_slots(slots: Slots, headers: Headers, target: str, fakes: frozenset[bytes]) -> Iterator[Found]:
    """Each slot that occurs, once per occurrence. `fakes` are the values that are nobody's key."""
    for raw_name, value in headers:
        name = folded_field(raw_name)
        if name == _SUBPROTOCOLS:
            for held in filter(None, map(_subprotocol_key, value.split(b","))):
                yield Found(_shown(name), name, b"", _content(held[0], fakes))
        elif _is_slot(name, slots.headers) and name not in _DROPPED:
            scheme, content = _read_value(value.strip(b" \t"), fakes, _own_format(slots, name))
            yield Found(_shown(name), name, scheme, content)
    parts = _SEPARATOR.split(target.partition("?")[2])[::2]
    queries = _query_slots(slots.queries, parts)
    for part in parts:
        if part and _is_slot(key := _key_of(part), queries):
            value_text = part.partition("=")[2]
            decoded = unquote(value_text.replace("+", " "), errors="replace").strip()
            yield Found(
                f"query {key}" if key else "a query key with several readings",
                "",
                b"",
                _content(decoded.encode(), fakes),
            )


def clear_slots(slots: Slots, headers: Headers, target: str) -> tuple[list[tuple[bytes, bytes]], str]:
    """The head without any of the slots. Everything else stays as it was, byte for byte."""
    kept = []
    for raw_name, value in headers:
        name = folded_field(raw_name)
        if name == _SUBPROTOCOLS and any(map(_subprotocol_key, value.split(b","))):
            others = [protocol.strip() for protocol in value.split(b",") if not _subprotocol_key(protocol)]
            if any(others):
                kept.append((raw_name, b", ".join(others)))
        elif not _is_slot(name, slots.headers) and name not in _DROPPED:
            kept.append((raw_name, value))
    return kept, _clear_query(slots.queries, target)


def _query_slots(queries: frozenset[str], parts: list[str]) -> frozenset[str]:
    """The query keys that are slots where these pairs stand side by side."""
    keys = {_key_of(part) for part in parts} if len(parts) > 1 else frozenset()
    return queries if _SIGNATURE.isdisjoint(keys) or _SIGNED.isdisjoint(keys) else queries | _SIGNATURE


def _is_slot(name: str, slots: frozenset[str]) -> bool:
    # A name that could be any could be one of them.
    return name in slots or not name


def _shown(name: str) -> str:
    return name.replace("_", "-") or "a header with an encoded name"


def _clear_query(queries: frozenset[str], target: str) -> str:
    path, _, query = target.partition("?")
    pieces = ["", *_SEPARATOR.split(query)]
    queries = _query_slots(queries, pieces[1::2])
    pairs = list(zip(pieces[::2], pieces[1::2], strict=True))
    kept = [(separator, part) for separator, part in pairs if not part or not _is_slot(_key_of(part), queries)]
    if len(kept) == len(pairs):
        return target
    rest = "".join(separator + part for separator, part in kept)
    return f"{path}?{rest[len(kept[0][0]) :]}" if kept else path


def _own_format(slots: Slots, name: str) -> tuple[bytes, bytes] | None:
    inject = slots.inject
    if inject is None or inject.header is None or folded_name(inject.header) != name:
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


def _subprotocol_key(protocol: bytes) -> tuple[bytes] | None:
    """The key that a subprotocol holds, which may be empty; None for one that is not there to hold a key."""
    protocol = protocol.strip()
    lower = protocol.lower()
    if lower.startswith(_SUBPROTOCOL_KEY):
        return (protocol[len(_SUBPROTOCOL_KEY) :],)
    if lower.startswith(_SUBPROTOCOL_CODED):
        held = protocol[len(_SUBPROTOCOL_CODED) :]
        return (loose_base64(held) or held,)
    return None


def loose_base64(encoded: bytes) -> bytes:
    """What base64 of either alphabet holds, padded or not; nothing if it is none."""
    encoded = encoded.strip().rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
    try:
        return base64.b64decode(encoded + b"=" * (-len(encoded) % 4))
    except binascii.Error:
        return b""


def _key_of(part: str) -> str:
    return _query_key(part.partition("=")[0])


def _query_key(raw: str) -> str:
    return (_known_key if len(raw) <= _SHORT else _read_key)(raw)


def _read_key(raw: str) -> str:
    return folded_name(unquote(raw.replace("+", " "), errors="replace"))


_known_key = lru_cache(maxsize=1024)(_read_key)
