"""An address out of somebody's configuration, as far as a rule can name it. What could be a secret in it is dropped."""

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from proxy.config.texts import read_path_pattern
from proxy.config.wrong import Wrong
from proxy.policy.host import Host, MalformedHost, parse_authority
from proxy.policy.path import AmbiguousPath, PathPattern, read_path
from proxy.review.snippet import path_text

MAX_ADDRESS = 2048
_PORTS = {"https": 443, "http": 80}
# Some registries take a key as a segment of the path. What is no short word and no number is not repeated: it is `*`.
_WORD = re.compile(r"(?:[A-Za-z]{1,15}[._+~-]*)+|v?[0-9]{1,8}", re.ASCII)
_LETTERS = re.compile(r"[A-Za-z]{16}", re.ASCII)
# git help fetch, "GIT URLS": without a slash before its first colon, `host:path` is SSH.
_SCP = re.compile(r"(?:[^@/:\s]+@)?([^@/:\s]+):(?!//)([^:\s]+)")
_LOCAL_NAME = re.compile(r"(?:.+\.)?localhost")


class Unusable(ValueError):
    """An address that no rule can name. The message says why, and repeats nothing of the address."""


@dataclass(frozen=True, slots=True)
class Place:
    """A scheme, host and port, and the part of it that is meant: `path` is empty for all of it, None in it is `*`."""

    scheme: str
    host: Host
    port: int
    path: tuple[str | None, ...] = ()

    def __str__(self) -> str:
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{self.host.url_form}{port}{path_text(PathPattern(self.path)) if self.path else ''}"


@dataclass(frozen=True, slots=True)
class Address:
    """A place, and whether the text held more than a place: a user name, a password, a query. Those are not kept."""

    place: Place
    login: bool = False


def read_address(text: str) -> Address:
    """Read the address of an index or registry. Raises `Unusable`."""
    parts = _split(text)
    path = tuple(segment if _plain(segment) else None for segment in _path(parts.path))
    return _address(parts, path)


def read_remote(text: str) -> tuple[Address, bool]:
    """Read the address of a git remote, and whether it is one for SSH; then the place is its usual form for https.

    Raises `Unusable`.
    """
    scp = _SCP.fullmatch(text)
    ssh = scp is not None or text.startswith(("ssh://", "git+ssh://", "ssh+git://"))
    if scp is not None:
        text = f"https://{scp[1]}/{scp[2].lstrip('/')}"
    elif ssh:
        parts = urlsplit_safely(text)
        text = f"https://{re.sub(r':[0-9]+$', '', parts.netloc.rpartition('@')[2])}{parts.path}"
    parts = _split(text)
    path = _path(parts.path)
    if not path:
        raise Unusable("it names no repository")
    return _address(parts, path), ssh


def urlsplit_safely(text: str) -> SplitResult:
    """Take a URL apart. Raises `Unusable`."""
    if len(text) > MAX_ADDRESS:
        raise Unusable("it is too long")
    if not text.isprintable() or not text.isascii():
        raise Unusable("it holds characters that an address cannot have")
    try:
        return urlsplit(text)
    except ValueError:
        raise Unusable("it is no address") from None


def _split(text: str) -> SplitResult:
    parts = urlsplit_safely(text.strip())
    if parts.scheme == "file" or not parts.scheme:
        raise Unusable("it is a folder or file of this machine, which needs no rule")
    if parts.scheme not in _PORTS:
        raise Unusable("it is no address of http or https")
    # A password with a slash in it would leave its second half in the path.
    if re.search("@|%40", parts.path + parts.query + parts.fragment, re.IGNORECASE):
        raise Unusable("it holds an `@` behind its host")
    return parts


def _address(parts: SplitResult, path: tuple[str | None, ...]) -> Address:
    login, _, rest = parts.netloc.rpartition("@")
    try:
        authority = parse_authority(rest, _PORTS[parts.scheme])
    except MalformedHost:
        raise Unusable("its host is no name or address that a rule can have") from None
    host = authority.host
    if _LOCAL_NAME.fullmatch(host.name) or (host.address is not None and host.address.is_loopback):
        raise Unusable("it is on this machine itself, which a sandbox does not reach through a proxy")
    secret = bool(login or parts.query or "?" in parts.geturl()) or None in path
    return Address(Place(parts.scheme, host, authority.port, path), secret)


def _path(text: str) -> tuple[str, ...]:
    text = text.strip("/")
    if not text:
        return ()
    try:
        segments = read_path("/" + text)
        # As the policy will be read: not every path can be named.
        again = read_path_pattern(path_text(PathPattern(segments)), keep=False, deny=False)
    except (AmbiguousPath, Wrong):
        raise Unusable("its path is one that no rule can name") from None
    if again.segments != segments:
        raise Unusable("its path is one that no rule can name")
    return segments


def _plain(segment: str) -> bool:
    return _WORD.fullmatch(segment) is not None and _LETTERS.search(segment) is None
