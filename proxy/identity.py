"""Who a client is: the identity key, signed sandbox tokens, and how a token travels to a proxy.

Tokens are JWTs (RFC 7519) with one algorithm, one type and five claims; everything else is refused.
"""

import base64
import binascii
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from proxy.errors import ConfigError
from proxy.state import PRIVATE, StateDir, create_once, read_private, writing_keys

ANONYMOUS = "local"
"""The sandbox of clients that need no token, and whose placeholders `outgate env` prints for them."""

MAX_TTL = 30 * 24 * 3600
MAX_TOKEN = 2048
_MAX_HEADER = 4096
_CLOCK_SKEW = 60
_KEY_BYTES = 32
_ISSUER = "outgate"
_HEADER = {"alg": "HS256", "typ": "outgate-sandbox+jwt"}
_CLAIMS = ("sub", "pol", "jti", "iat", "exp", "iss", "aud")
_SANDBOX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)
_SCHEME = re.compile(rb"(?i:(basic)|bearer) +([A-Za-z0-9._~+/=-]+) *")


class BadToken(ValueError):
    """The client did not show a valid token. The text says why, never what it sent."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Two independent 32-byte keys derived from the identity key."""

    tokens: bytes = field(repr=False)
    placeholders: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Claims:
    """What a valid token says: sandbox and policy name, a unique id, and seconds since the epoch."""

    sandbox: str
    policy: str
    id: str
    issued: int
    expires: int


def load_or_create_keys(state: StateDir) -> Keys:
    """The keys of this state folder, made on first use.

    Raises `ConfigError` if the identity key is unreadable, of the wrong size, or others can read it;
    it is never replaced, because every token and placeholder that is out there hangs on it.
    """
    path = state.identity_key
    with writing_keys(state):
        if not path.is_symlink() and not path.exists():
            create_once(path, os.urandom(_KEY_BYTES), PRIVATE)
        secret = read_private(path)
    if len(secret) != _KEY_BYTES:
        hint = "restore it from a backup, or remove it: every token and placeholder that was handed out ends then"
        raise ConfigError(f"the identity key is damaged: {len(secret)} bytes instead of {_KEY_BYTES}", hint, str(path))
    return Keys(_derive(secret, b"outgate sandbox tokens v1"), _derive(secret, b"outgate placeholders v1"))


def _derive(secret: bytes, purpose: bytes) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(SHA256(), _KEY_BYTES, salt=None, info=purpose).derive(secret)


def check_sandbox_name(name: str) -> str:
    """The name, if it is one. Raises `ConfigError` for anything else."""
    if not _SANDBOX.fullmatch(name):
        raise ConfigError(
            f"not a sandbox name: {name[:80]!r}",
            "use up to 63 letters, digits, dots, underscores and dashes, a letter or digit first",
        )
    return name


def mint(key: bytes, sandbox: str, policy: str, ttl: int, now: float) -> str:
    """Sign a token that lets `sandbox` use `policy` for `ttl` seconds from `now` (seconds since the epoch).

    Raises `ConfigError` for a sandbox name or a time to live that is out of bounds.
    """
    import jwt

    check_sandbox_name(sandbox)
    if not 0 < ttl <= MAX_TTL:
        raise ConfigError("the time to live is out of bounds", f"use 1s to {MAX_TTL // 86400}d")
    issued = int(now)
    claims = {
        "iss": _ISSUER,
        "aud": _ISSUER,
        "sub": sandbox,
        "pol": policy,
        "jti": os.urandom(12).hex(),
        "iat": issued,
        "exp": issued + ttl,
    }
    token = jwt.encode(claims, key, algorithm="HS256", headers={"typ": _HEADER["typ"]})
    if len(token) > MAX_TOKEN:
        raise ConfigError("the token would be too long", "use a shorter policy name")
    return token


def verify(key: bytes, token: str, now: float) -> Claims:
    """The claims of a token that this key signed and that holds at `now`. Raises `BadToken` for everything else."""
    if len(token) > MAX_TOKEN or not token.isascii():
        raise BadToken("not a token")
    return _claims(_payload(key, token), now)


@lru_cache(maxsize=1024)  # a client without TLS shows its token with every request
def _payload(key: bytes, token: str) -> dict[str, object]:
    """What a token says that this key signed, whether it holds now or not. Raises `BadToken`."""
    import jwt

    if _header(token) != _HEADER:
        raise BadToken("not a sandbox token")
    try:
        # The clock is ours, so the times are compared below.
        payload: dict[str, object] = jwt.decode(
            token,
            key,
            algorithms=["HS256"],
            issuer=_ISSUER,
            audience=_ISSUER,
            options={"require": list(_CLAIMS), "verify_exp": False, "verify_iat": False, "strict_aud": True},
        )
    except jwt.InvalidSignatureError:
        raise BadToken("the token was not signed by this proxy") from None
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        raise BadToken("not a sandbox token") from None
    return payload


def _header(token: str) -> object:
    # Judged before the library sees it: only our own header, whole, gets as far as a signature check.
    part = token.partition(".")[0]
    try:
        return json.loads(base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True))
    except (ValueError, RecursionError):
        return None


def _claims(payload: dict[str, object], now: float) -> Claims:
    sandbox, policy, number = payload["sub"], payload["pol"], payload["jti"]
    issued, expires = payload["iat"], payload["exp"]
    if type(issued) is not int or type(expires) is not int:
        raise BadToken("the token's times are not whole seconds")
    if not isinstance(sandbox, str) or not isinstance(policy, str) or not isinstance(number, str):
        raise BadToken("the token's names are not text")
    if not _SANDBOX.fullmatch(sandbox) or not policy or not number:
        raise BadToken("the token names no sandbox or no policy")
    if issued > now + _CLOCK_SKEW or not 0 < expires - issued <= MAX_TTL:
        raise BadToken("the token's times are out of bounds")
    if now >= expires:
        raise BadToken("the token has expired")
    return Claims(sandbox, policy, number, issued, expires)


def parse_proxy_authorization(values: Sequence[bytes]) -> str:
    """The token in the values of all `Proxy-Authorization` fields of a request, of which there must be one.

    `Basic` (RFC 7617) carries it as the password or, with an empty password, as the user name; a user name
    beside a token only labels it. `Bearer` (RFC 6750) carries it bare. Raises `BadToken` for everything else.
    """
    if len(values) != 1:
        raise BadToken("no token" if not values else "more than one Proxy-Authorization field")
    match = _SCHEME.fullmatch(values[0]) if len(values[0]) <= _MAX_HEADER else None
    if match is None:
        raise BadToken("Proxy-Authorization is neither Basic nor Bearer")
    token = _basic(match[2]) if match[1] else match[2].decode("ascii")
    if not token:
        raise BadToken("no token")
    return token


def _basic(encoded: bytes) -> str:
    try:
        text = base64.b64decode(encoded, validate=True)
        if base64.b64encode(text) != encoded:
            raise BadToken("Proxy-Authorization is not canonical base64")
        user, colon, password = text.decode("ascii").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise BadToken("Proxy-Authorization is not base64 of ASCII") from None
    if not colon:
        raise BadToken("Proxy-Authorization has no colon between user name and password")
    return password or user
