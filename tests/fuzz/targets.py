"""Every parser of ours as a function of bytes: it takes the input or raises its one error.

What it took reads again as the same. Whatever else comes out of a target is a finding. Used by hypothesis, by the kept
corpus, and by the coverage-guided run.
"""

import tempfile
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from mitmproxy.net.http import http1
from mitmproxy.proxy.layers.http._http1 import make_body_reader

from proxy.answer import coding_of, returned
from proxy.audit.sanitise import sanitise
from proxy.config.load import load_policy
from proxy.credentials.decode import FREE_OUTPUT, MAX_RATIO, DecodeError, decoder_for
from proxy.credentials.forms import forms_of
from proxy.credentials.inject import check_client, find_misplaced, inject
from proxy.credentials.placeholder import placeholder
from proxy.credentials.scrub import Mask, Scrubber
from proxy.credentials.secret import Secret
from proxy.credentials.slots import clear_slots, read_slots, slots_of
from proxy.credentials.sources import parse_source
from proxy.endpoint import ConnectTo, Listen
from proxy.errors import ConfigError
from proxy.head import BadHead, Head, forwarded, read_connect, read_head
from proxy.hello import BadHello, hello_complete, read_hello
from proxy.hellos import Hellos
from proxy.identity import BadToken, parse_proxy_authorization, verify
from proxy.policy.credential import CredentialSpec, Inject
from proxy.policy.host import Authority, HostPattern, MalformedHost, parse_authority, parse_host
from proxy.policy.path import AmbiguousPath, parse_pattern, read_path
from proxy.policy.query import Query, read_query

HOST = parse_host("good.example")
TUNNEL = Authority(HOST, 443)
SPEC = CredentialSpec(
    name="key",
    source="env:KEY",
    hosts=(HostPattern("good.example"),),
    inject=Inject(query="key"),
)
FAKE = placeholder(b"k" * 32, "sandbox", "policy", SPEC)
VALUE = b"canary-value-0123456789-abcdef"
MASK = Mask([Secret(VALUE)])


def text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def host(data: bytes) -> None:
    try:
        read = parse_host(text(data))
    except MalformedHost:
        return
    assert parse_host(read.name if read.address is None or read.address.version == 4 else f"[{read.name}]") == read


def authority(data: bytes) -> None:
    for port in (None, 443):
        try:
            read = parse_authority(text(data), port)
        except MalformedHost:
            continue
        assert 1 <= read.port <= 65535
        assert parse_authority(f"{read.host.url_form}:{read.port}", None) == read


def path(data: bytes) -> None:
    """A path comes as the bytes of a head, so any other character cannot stand in it."""
    for keep in (False, True):
        try:
            segments = read_path(data.decode("latin-1"), keep_encoded_slash=keep)
        except AmbiguousPath:
            continue
        assert "" not in segments[:-1]
        assert not {".", ".."} & set(segments)
        assert keep or not any("/" in segment for segment in segments)


def pattern(data: bytes) -> None:
    for keep in (False, True):
        try:
            parse_pattern(text(data), keep_encoded_slash=keep)
        except ValueError:
            continue


def query(data: bytes) -> None:
    raw = data.decode("latin-1")
    read_query(raw, "&;")
    wanted = (("state", "open"),)
    asked = Query(raw)
    if asked.matches(wanted):
        assert asked.denied(wanted), "what an allow rule takes for the pair, a deny rule must too"


def head(data: bytes) -> None:
    """The lines of an HTTP/1 request, as the engine reads them."""
    try:
        request = http1.read_request_head(data.split(b"\n"))
        make_body_reader(http1.expected_http_body_size(request))
    except (ValueError, IndexError):
        return
    raw = request.data
    read = Head(raw.method, raw.path, raw.http_version, raw.headers.fields, raw.scheme, raw.authority)
    for tunnel, tls in ((TUNNEL, True), (TUNNEL, False), (None, False)):
        try:
            judged = read_head(read, tunnel=tunnel, tls=tls)
        except BadHead:
            continue
        kept = forwarded(raw.headers.fields, Authority(judged.host, judged.port), judged.scheme, websocket=False)
        assert [name.lower() for name, _ in kept].count(b"host") == 1
        assert not any(mark in name + value for name, value in kept for mark in (b"\r", b"\n", b"\0"))
    with suppress(BadHead):
        read_connect(read)


def hello(data: bytes) -> None:
    try:
        if hello_complete(data):
            read_hello(data)
    except BadHello:
        pass


def hellos(data: bytes) -> None:
    """A client and a server that say the same: what passes is what was sent, however it comes in pieces."""
    for size in (1, 7, len(data) or 1):
        gathered, passed = Hellos(lambda _: None), b""
        with suppress(BadHello):
            for at in range(0, len(data), size):
                passed += gathered.from_client(data[at : at + size])
                gathered.from_server(data[at : at + size])
        assert data.startswith(passed)


def token(data: bytes) -> None:
    for values in ([data], data.split(b"\n")):
        try:
            found = parse_proxy_authorization(values)
        except BadToken:
            continue
        try:
            verify(b"t" * 32, found, 0.0)
        except BadToken:
            continue
        raise AssertionError("nobody signed this")


def policy(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "policy.yaml"
        file.write_bytes(data)
        try:
            load_policy(file)
        except ConfigError as error:
            if not error.problems:
                raise AssertionError("an error that says nothing") from error


def slots(data: bytes) -> None:
    """Fakes and keys of the client's own, wherever they stand: cleared means that none is left."""
    first, _, rest = data.partition(b"\n")
    target = "/" + first.decode("latin-1")
    headers = tuple((name.strip(), value) for name, _, value in (line.partition(b":") for line in rest.split(b"\n")))
    check_client(SPEC, {"key": FAKE}, headers, target, HOST)
    find_misplaced({"key": FAKE}, {"key": SPEC}, headers, target, parse_host("evil.example"))
    kept, cleared = clear_slots(slots_of(SPEC), headers, target)
    assert not [found for found in read_slots(slots_of(SPEC), tuple(kept), cleared, frozenset()) if found.content.value]
    _, sent = inject(SPEC, Inject(query="key"), Secret(VALUE), headers, target)
    assert sent.count(VALUE.decode()) == 1 + target.count(VALUE.decode()) - (target.count("=" + VALUE.decode()))


def coded(data: bytes) -> None:
    """The first byte picks a coding, the rest is the body."""
    names = ("gzip", "deflate", "br", "zstd")
    decoder = decoder_for(names[data[0] % 4]) if data else None
    if decoder is None:
        return
    given = 0
    try:
        for at in range(1, len(data), 7):
            given += sum(map(len, decoder.feed(data[at : at + 7])))
        decoder.finish()
    except DecodeError:
        pass
    assert given <= FREE_OUTPUT + MAX_RATIO * len(data)


def masked(data: bytes) -> None:
    """Any chunks of any body: what comes out is as long, and no form of the secret is in it."""
    scrubber, size = Scrubber(MASK), 1 + (data[0] if data else 0)
    pieces = [piece for at in range(0, len(data), size) for piece in scrubber.feed(data[at : at + size])]
    out = b"".join([*pieces, *scrubber.flush()])
    assert len(out) == len(data)
    assert not any(form in out for form in forms_of(VALUE))


def answer(data: bytes) -> None:
    headers = tuple((name, value) for name, _, value in (line.partition(b":") for line in data.split(b"\n")))
    for mask in (None, MASK):
        kept = returned(headers, mask, upgrade=False)
        assert returned(kept, mask, upgrade=False) == kept or b"connection" in data.lower()
    coding_of(headers)


def settings(data: bytes) -> None:
    for parse in (Listen.parse, ConnectTo.parse):
        try:
            parse(text(data))
        except ValueError:
            continue
    with suppress(ConfigError):
        parse_source(text(data))


def shown(data: bytes) -> None:
    """Text for the audit log is safe for a terminal, short, and stays as it is when it is made safe again."""
    once = sanitise(text(data))
    assert not {unicodedata.category(character) for character in once} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    once.encode()


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (
        host,
        authority,
        path,
        pattern,
        query,
        head,
        hello,
        hellos,
        token,
        policy,
        slots,
        coded,
        masked,
        answer,
        settings,
        shown,
    )
}
