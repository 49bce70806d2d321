"""Host patterns and networks as policies write them. Each refusal shows the right form."""

import ipaddress
import re
from collections.abc import Callable
from functools import lru_cache

from proxy.config.tree import shown
from proxy.config.wrong import Wrong
from proxy.policy.address import Network
from proxy.policy.host import INTERNAL, HostPattern, MalformedHost, is_name, parse_host

# In the private section of the public suffix list, and yet one publisher's documentation: nobody receives there what
# a visitor sends. The policy contract names this wildcard as its example.
_SHARED_BUT_ALLOWED = frozenset({"readthedocs.io"})
_PREFIX = re.compile(r"[0-9]{1,3}", re.ASCII)


@lru_cache(maxsize=1024)  # thousands of rules name one host
def read_host(text: str) -> HostPattern:
    """Read `api.example.com` or `*.example.com`. Raises `Wrong` for every other spelling."""
    if _is_plain(text):
        return HostPattern(text)
    _refuse_url_parts(text)
    bare = text.removeprefix("*.")
    _refuse_literal(bare)
    if ":" in text:
        host, _, port = text.rpartition(":")
        port = port if port.isascii() and port.isdigit() else "8443"
        raise Wrong(f"a host has no port: {shown(text)}", f"{_listed(host)} and ports: [{port[:5]}]")
    if text != (lower := text.lower()):
        raise Wrong(f"a host is written in lower case: {shown(text)}", f"write {quoted(lower)}")
    if text.endswith("."):
        raise Wrong(f"a host has no trailing dot: {shown(text)}", f"write {quoted(text.rstrip('.'))}")
    if not text.isascii():
        raise Wrong(f"a host is written in its IDNA form: {shown(text)}", f"write {_idna(text)}")
    if "*" in bare or bare.startswith("."):
        raise Wrong(
            f"a wildcard is `*.` in front of a name: {shown(text)}", f"write {quoted('*.' + _without_wildcards(text))}"
        )
    try:
        name = parse_host(bare).name
    except MalformedHost:
        raise Wrong(f"not a host name: {shown(text)}", 'write `api.example.com` or `"*.example.com"`') from None
    if name == INTERNAL or name.endswith("." + INTERNAL):
        raise Wrong(
            f"{shown(text)} is reserved: Outgate answers there itself", "leave it out; no rule is needed for it"
        )
    if bare == text:
        return HostPattern(name)
    _refuse_public_suffix(name)
    return HostPattern(name, wildcard=True)


def read_network(text: str) -> Network:
    """Read `10.1.2.0/24`, `2001:db8::/32` or one address. Raises `Wrong` where host bits are set."""
    base, slash, prefix = text.partition("/")
    if base.startswith("[") or "%" in base or (slash and not _PREFIX.fullmatch(prefix)):
        raise Wrong(f"not an address or a network: {shown(text)}", "write `10.1.2.0/24`, `10.1.2.3` or `fd00:1::/64`")
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        pass
    try:
        right = ipaddress.ip_network(text, strict=False)
    except ValueError:
        hint = "names stand in `hosts`; an address looks like `10.1.2.3` or `10.1.2.0/24`"
        raise Wrong(f"not an address or a network: {shown(text)}", hint) from None
    one = ipaddress.ip_address(base)
    raise Wrong(f"{shown(text)} has bits set behind its prefix", f"write `{right}` for the network or `{one}` for one")


def quoted(pattern: str) -> str:
    """A host pattern as YAML wants it: a leading `*` in quotes. Cut, for messages."""
    return f'"{pattern[:80]}"' if pattern.startswith("*") else shown(pattern)


def _listed(host: str) -> str:
    cut = host.lower()[:80]
    return f'hosts: ["{cut}"]' if cut.startswith("*") else f"hosts: [{cut}]"


def _is_plain(text: str) -> bool:
    """A quick look for the usual case; what says no may be right as well."""
    return "a" <= text[:1] <= "z" and is_name(text) and not text.endswith(INTERNAL)


def _refuse_url_parts(text: str) -> None:
    if not text or not text.isprintable() or " " in text:
        raise Wrong(f"not a host name: {shown(text)}", "write `api.example.com`")
    rest = text.partition("://")[2] if "://" in text else text
    host = rest.partition("/")[0].rpartition("@")[2] or "api.example.com"
    host = re.sub(":[0-9]*$", "", host)
    if rest != text:
        raise Wrong(f"a host has no scheme: {shown(text)}", f"{_listed(host)}; for http add `schemes: [http]`")
    if "/" in text and _is_network(text):
        raise Wrong(f"a network is not a host: {shown(text)}", f"addresses: [{text}]")
    if "/" in text:
        path = text[text.index("/") :][:80]
        raise Wrong(f"a host has no path: {shown(text)}", f"{_listed(host)} and paths: [{path}]")
    if "@" in text:
        raise Wrong("a host has no user name", f"{_listed(host)} and a credential")


def _refuse_literal(text: str) -> None:
    bare = text.strip("[]")
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        if re.fullmatch(r"[0-9.]+|0x[0-9a-fA-F.x]+", bare):
            raise Wrong(f"a spelling of an IP address is not a host: {shown(text)}", "addresses: [10.1.2.3]") from None
        return
    form = f"addresses: [{address}]" if address.version == 4 else f'addresses: ["{address}"]'
    raise Wrong(f"an IP address is not a host: {shown(text)}", form)


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _without_wildcards(text: str) -> str:
    """The name that a wrong wildcard most likely means: what stands behind the last star, or what it is glued to."""
    behind = text.rpartition("*")[2].lstrip(".")
    return behind if behind.count(".") and ".." not in behind else "example.com"


def _idna(text: str) -> str:
    """The A-label form, where the older and the newer IDNA agree on it."""
    try:
        encoded = text.encode("idna").decode("ascii")
        if encoded.encode("ascii").decode("idna") == text:
            return quoted(encoded)
    except UnicodeError:
        pass
    return "its `xn--` form"


@lru_cache(maxsize=1)
def _is_public_suffix() -> Callable[[str], bool]:
    from publicsuffixlist import PublicSuffixList  # late: it reads 300 kB, and most policies have no wildcard

    is_public: Callable[[str], bool] = PublicSuffixList().is_public
    return is_public


def _refuse_public_suffix(name: str) -> None:
    if name in _SHARED_BUT_ALLOWED:
        return
    if _is_public_suffix()(name):
        raise Wrong(
            f"`*.{name}` is a wildcard on a public suffix, where anybody can own a name",
            f"name the hosts, for example `my-project.{name}`",
        )
