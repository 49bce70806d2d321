"""What really happened to others, tried on the running proxy: nothing may reach an upstream, and each try is on record.

The cases follow the bypasses that peers of Outgate published: spoofed names, protocol escapes, parsing tricks,
address spellings, credentials on the wrong way.
"""

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import answers
from tests.support.outgate import Outgate
from tests.support.pki import Authority
from tests.support.rawclient import ClosedError, RawClient
from tests.support.upstream import Upstream

SECRET = "canary-value-0123456789-abcdef"
POLICY = """
version: 1
name: attacked
allow:
  - id: good
    why: the only good host
    hosts: [good.example]
    access: any
    credential: good
  - id: npm
    why: scoped packages need an encoded slash
    hosts: [packages.example]
    paths: ["/@scope%2Fname", /plain]
    encoded_slash: keep
  - id: plain
    why: plain too, and ours
    hosts: [plain.example]
    schemes: [http, https]
    trace_context: keep
  - {id: keyed, why: files of the key, hosts: [dav.example], access: any, paths: [/keyed/**], credential: dav}
  - {id: open, why: files of everybody, hosts: [dav.example], access: any, paths: [/open/**]}
  - id: private
    why: a name that resolves to this machine
    hosts: [localhost]
    ports: [443]
credentials:
  good:
    from: env:SECRET
    hosts: [good.example]
    inject: {bearer: true}
    placeholder: GOOD
  dav:
    from: env:SECRET
    hosts: [dav.example]
    inject: {bearer: true}
"""


TRACE = {"Traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "tracestate": "ours=1", "Baggage": "customer=7,tenant=ours"}


@dataclass
class World:
    """One proxy and one upstream for all cases; `upstream` counts what reached it."""

    outgate: Outgate
    upstream: Upstream

    def reached(self) -> int:
        return len(self.upstream.record.connections)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("attacks")
    authority = Authority(folder)
    with Upstream(folder, authority=authority) as upstream:
        hosts = (
            "good.example:443",
            "packages.example:443",
            "dav.example:443",
            "plain.example:443",
            "plain.example:80",
            "evil.example:443",
        )
        proxy = Outgate(
            folder / "proxy",
            POLICY,
            connect_to=dict.fromkeys(hosts, upstream.port),
            upstream_ca=(authority.ca_file,),
            environ={"SECRET": SECRET},
        )
        with proxy:
            yield World(proxy, upstream)


def outcome(client: RawClient, method: str = "GET") -> str:
    """The reason of the refusal that comes back, or `closed`, or the status of whatever else it is."""
    try:
        answer = client.read(method)
    except (ClosedError, OSError):
        return "closed"
    if answer.header("proxy-status") is None:
        return str(answer.status)
    return str(answer.json()["reason"])


def new_event(world: World, before: int) -> dict[str, object]:
    events = world.outgate.wait_for_events(lambda found: len(found) > before)
    assert len(events) == before + 1, "not exactly one event"
    return dict(events[-1])


INSIDE = {
    "another Host": (b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", "authority_mismatch"),
    "a Host with another port": (b"GET / HTTP/1.1\r\nHost: good.example:8443\r\n\r\n", "authority_mismatch"),
    "two Hosts": (b"GET / HTTP/1.1\r\nHost: good.example\r\nHost: evil.example\r\n\r\n", "malformed_request"),
    "two equal Hosts": (b"GET / HTTP/1.1\r\nHost: good.example\r\nHost: good.example\r\n\r\n", "malformed_request"),
    "no Host": (b"GET / HTTP/1.1\r\n\r\n", "malformed_request"),
    "an empty Host": (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", "malformed_request"),
    "user information in Host": (b"GET / HTTP/1.1\r\nHost: good.example@evil.example\r\n\r\n", "malformed_request"),
    "NUL in Host": (b"GET / HTTP/1.1\r\nHost: evil.example\x00.good.example\r\n\r\n", "malformed_request"),
    "an absolute URL": (b"GET https://evil.example/ HTTP/1.1\r\nHost: good.example\r\n\r\n", "authority_mismatch"),
    "an absolute http URL": (b"GET http://good.example/ HTTP/1.1\r\nHost: good.example\r\n\r\n", "authority_mismatch"),
    "CONNECT inside": (b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example\r\n\r\n", "protocol_not_allowed"),
    "CL and TE": (
        b"POST / HTTP/1.1\r\nHost: good.example\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "malformed_request",
    ),
    "two lengths": (
        b"POST / HTTP/1.1\r\nHost: good.example\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcd",
        "malformed_request",
    ),
    "a signed length": (
        b"POST / HTTP/1.1\r\nHost: good.example\r\nContent-Length: +4\r\n\r\nabcd",
        "malformed_request",
    ),
    "TE with a space": (
        b"POST / HTTP/1.1\r\nHost: good.example\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "malformed_request",
    ),
    "two codings": (
        b"POST / HTTP/1.1\r\nHost: good.example\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "malformed_request",
    ),
    "a folded line": (b"GET / HTTP/1.1\r\nHost: good.example\r\nX: a\r\n b\r\n\r\n", "malformed_request"),
    "a bare CR": (
        b"GET / HTTP/1.1\r\nHost: good.example\r\nX: a\rTransfer-Encoding: chunked\r\n\r\n",
        "malformed_request",
    ),
    "NUL in a value": (b"GET / HTTP/1.1\r\nHost: good.example\r\nX: a\x00b\r\n\r\n", "malformed_request"),
    "a control in the path": (b"GET /\x01 HTTP/1.1\r\nHost: good.example\r\n\r\n", "malformed_request"),
    "UTF-8 in the path": ("GET /\u00fc HTTP/1.1\r\nHost: good.example\r\n\r\n".encode(), "malformed_request"),
    "a fragment": (b"GET /#x HTTP/1.1\r\nHost: good.example\r\n\r\n", "malformed_request"),
    "HTTP/1.2": (b"GET / HTTP/1.2\r\nHost: good.example\r\n\r\n", "malformed_request"),
    "HTTP/2.0 on HTTP/1": (b"GET / HTTP/2.0\r\nHost: good.example\r\n\r\n", "malformed_request"),
    "HTTP/0.9": (b"GET /\r\n\r\n", "malformed_request"),
    "the HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "malformed_request"),
    "TRACE": (b"TRACE / HTTP/1.1\r\nHost: good.example\r\n\r\n", "method_not_allowed"),
    "a strange method": (b"GE\x01T / HTTP/1.1\r\nHost: good.example\r\n\r\n", "malformed_request"),
    "a method in lower case": (b"get / HTTP/1.1\r\nHost: good.example\r\n\r\n", "malformed_request"),
    "an expectation": (b"GET / HTTP/1.1\r\nHost: good.example\r\nExpect: 200-ok\r\n\r\n", "malformed_request"),
    "rubbish": (b"\x80\x81\x82\r\n\r\n", "malformed_request"),
    "an SSH banner": (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "malformed_request"),
    "TLS in TLS": (b"\x16\x03\x01\x02\x00\x01\x00", "protocol_not_allowed"),
    "an endless head": (b"GET / HTTP/1.1\r\nHost: good.example\r\n" + b"X: y\r\n" * 11_000, "limit_exceeded"),
    "too many fields": (b"GET / HTTP/1.1\r\nHost: good.example\r\n" + b"X: y\r\n" * 300 + b"\r\n", "limit_exceeded"),
}


@pytest.mark.parametrize("case", INSIDE, ids=str)
def test_nothing_but_the_judged_request_leaves_an_intercepted_tunnel(world: World, case: str) -> None:
    attack, expected = INSIDE[case]
    reached, before = world.reached(), len(world.outgate.events())
    with world.outgate.tunnel("good.example:443") as client:
        client.send(attack)
        assert outcome(client) == expected
        if expected == "malformed_request":
            assert client.closed(), "what follows a malformed head cannot be told from its body"
    assert world.reached() == reached
    event = new_event(world, before)
    assert (event["verdict"], event["reason"]) == ("deny", expected)


TARGETS = {
    "decimal": "2130706433:443",
    "hexadecimal": "0x7f000001:443",
    "octal": "0177.0.0.1:443",
    "short": "127.1:443",
    "a zone": "[fe80::1%25lo]:443",
    "no port": "good.example",
    "port 0": "good.example:0",
    "a port with a zero in front": "good.example:0443",
    "port 65536": "good.example:65536",
    "full-width digits": "good.example:\uff14\uff14\uff13",
    "user information": "good.example@evil.example:443",
    "a path": "good.example/x:443",
    "an empty label": "good..example:443",
    "a leading dot": ".good.example:443",
    "NUL": "evil.example\x00.good.example:443",
    "a percent": "good%2eexample:443",
    "a long label": "a" * 64 + ".example:443",
    "a star": "*",
    "a slash": "/",
}


@pytest.mark.parametrize("case", TARGETS, ids=str)
def test_a_target_in_any_but_the_one_spelling_is_malformed(world: World, case: str) -> None:
    reached, before = world.reached(), len(world.outgate.events())
    with world.outgate.client() as client:
        client.send(f"CONNECT {TARGETS[case]} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert outcome(client) == "malformed_request"
    assert world.reached() == reached
    assert new_event(world, before)["reason"] == "malformed_request"


PORTS = {"ssh": "good.example:22", "dns": "evil.example:53", "mail": "evil.example:25", "mdns": "good.example:5353"}


@pytest.mark.parametrize("case", PORTS, ids=str)
def test_a_port_that_no_rule_opens_is_refused_at_connect(world: World, case: str) -> None:
    with world.outgate.client() as client:
        client.send(f"CONNECT {PORTS[case]} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert outcome(client) == "port_not_allowed"


@pytest.mark.parametrize("name", ["GOOD.Example", "good.example.", "Good.Example."])
def test_case_and_one_trailing_dot_are_the_same_name(world: World, name: str) -> None:
    with world.outgate.client() as client:
        assert client.connect(f"{name}:443").status == 200
        client.tls("good.example", ca_file=world.outgate.ca_file)
        assert client.request("GET", "/", "good.example").status == 200
    assert world.upstream.record.last.header("host") == "good.example"


LITERALS = [
    "127.0.0.1",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "169.254.169.254",
    "10.0.0.1",
    "[64:ff9b::7f00:1]",
    "93.184.216.34",
]


@pytest.mark.parametrize("literal", LITERALS)
def test_an_address_matches_no_host_rule(world: World, literal: str) -> None:
    reached = world.reached()
    with world.outgate.client() as client:
        assert client.connect(f"{literal}:443").status == 200
        client.tls(None)
        client.send(f"GET / HTTP/1.1\r\nHost: {literal}\r\n\r\n".encode())
        assert outcome(client) == "address_not_allowed"
    assert world.reached() == reached


def test_a_name_that_resolves_to_this_machine_is_not_dialled(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.settimeout(0.2)
        with world.outgate.tunnel("localhost:443") as client:
            client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = client.read()
    assert answer.json()["reason"] == "address_is_private"
    assert "127.0.0.1" not in answer.body.decode(), "the address is for the audit log, not for the sandbox"


@pytest.mark.parametrize("name", ["evil.example", "good.example.evil.example"])
def test_another_server_name_is_refused_readably(world: World, name: str) -> None:
    reached = world.reached()
    with world.outgate.client() as client:
        assert client.connect("good.example:443").status == 200
        client.tls(name)
        client.send(b"GET / HTTP/1.1\r\nHost: good.example\r\n\r\n")
        assert outcome(client) == "authority_mismatch"
    assert world.reached() == reached


def test_no_server_name_is_fine(world: World) -> None:
    with world.outgate.client() as client:
        assert client.connect("good.example:443").status == 200
        client.tls(None)
        assert client.request("GET", "/", "good.example").status == 200


ESCAPES = {
    "ssh": (b"SSH-2.0-OpenSSH_9.6\r\n", "closed"),
    "binary": (b"\x00\x01\x02\x03", "protocol_not_allowed"),
    "dns over tcp": (b"\x00\x1d\x12\x34\x01\x00\x00\x01", "protocol_not_allowed"),
    "broken tls": (b"\x16\x09\x09\x00\x05hello", "protocol_not_allowed"),
}


@pytest.mark.parametrize("case", ESCAPES, ids=str)
def test_only_tls_and_http_pass_inside_connect(world: World, case: str) -> None:
    attack, expected = ESCAPES[case]
    reached, before = world.reached(), len(world.outgate.events())
    with world.outgate.client() as client:
        assert client.connect("good.example:443").status == 200
        client.send(attack)
        if case == "ssh":
            client.end()
        assert outcome(client) == expected
    assert world.reached() == reached
    assert new_event(world, before)["verdict"] == "deny"


PLAIN = {
    "origin form": (b"GET / HTTP/1.1\r\nHost: plain.example\r\n\r\n", "malformed_request"),
    "another Host": (b"GET http://plain.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n", "authority_mismatch"),
    "the spoofed other way": (
        b"GET http://evil.example/ HTTP/1.1\r\nHost: plain.example\r\n\r\n",
        "authority_mismatch",
    ),
    "no Host": (b"GET http://plain.example/ HTTP/1.1\r\n\r\n", "malformed_request"),
    "https in plain": (b"GET https://good.example/ HTTP/1.1\r\nHost: good.example\r\n\r\n", "protocol_not_allowed"),
    "a credential in plain": (b"GET http://good.example/ HTTP/1.1\r\nHost: good.example\r\n\r\n", "scheme_not_allowed"),
    "user information": (b"GET http://u:p@plain.example/ HTTP/1.1\r\nHost: plain.example\r\n\r\n", "malformed_request"),
    "ftp": (b"GET ftp://plain.example/ HTTP/1.1\r\nHost: plain.example\r\n\r\n", "malformed_request"),
    "connect in mixed case": (b"Connect good.example:443 HTTP/1.1\r\nHost: good.example\r\n\r\n", "malformed_request"),
    "the proxy itself": (b"GET http://127.0.0.1:8899/ HTTP/1.1\r\nHost: 127.0.0.1:8899\r\n\r\n", "address_not_allowed"),
    "mitmproxy's page": (b"GET http://mitm.it/ HTTP/1.1\r\nHost: mitm.it\r\n\r\n", "host_not_allowed"),
    "tls to the proxy": (b"\x16\x03\x01\x00\x05hello", "protocol_not_allowed"),
}


@pytest.mark.parametrize("case", PLAIN, ids=str)
def test_plain_requests_are_held_to_the_same_names(world: World, case: str) -> None:
    attack, expected = PLAIN[case]
    reached, before = world.reached(), len(world.outgate.events())
    with world.outgate.client() as client:
        client.send(attack)
        assert outcome(client) == expected
    assert world.reached() == reached
    assert new_event(world, before)["reason"] == expected


PATHS = [
    "/@scope%2fname/..%2fx",
    "/plain/../x",
    "/%2e%2e/plain",
    "//plain",
    "/plain;x",
    "/plain%00",
    "/plain%5cx",
    "/%70lain%",
]


@pytest.mark.parametrize("path", PATHS)
def test_a_path_with_two_readings_is_refused(world: World, path: str) -> None:
    with world.outgate.tunnel("packages.example:443") as client:
        client.send(f"GET {path} HTTP/1.1\r\nHost: packages.example\r\n\r\n".encode())
        assert outcome(client) == "ambiguous_path"


def test_an_encoded_slash_passes_unchanged_where_a_rule_keeps_it(world: World) -> None:
    with world.outgate.tunnel("packages.example:443") as client:
        assert client.request("GET", "/@scope%2fname", "packages.example").status == 200
        assert world.upstream.record.last.target == "/@scope%2fname"
        client.send(b"GET /@scope/name HTTP/1.1\r\nHost: packages.example\r\n\r\n")
        assert outcome(client) == "path_not_allowed"


def test_hop_by_hop_and_override_headers_stay_behind(world: World) -> None:
    headers = {
        "Connection": "close, X-Named, Authorization, Host",
        "X-Named": "1",
        "Proxy-Authorization": "Basic eDp5",
        "Proxy-Connection": "keep-alive",
        "TE": "trailers",
        "Upgrade": "h2c",
        "HTTP2-Settings": "x",
        "X-HTTP-Method-Override": "DELETE",
        **TRACE,
        "X-Kept": "1",
    }
    with world.outgate.tunnel("good.example:443") as client:
        assert client.request("GET", "/", "good.example", headers).status == 200
    names = {name.lower() for name, _ in world.upstream.record.last.headers}
    assert names == {"host", "x-kept", "authorization", "accept-encoding"}
    assert world.upstream.record.last.values("authorization") == [f"Bearer {SECRET}"]


def test_trace_headers_pass_as_sent_where_a_rule_keeps_them(world: World) -> None:
    with world.outgate.tunnel("plain.example:443") as client:
        assert client.request("GET", "/", "plain.example", TRACE).status == 200
    sent = world.upstream.record.last.headers
    assert TRACE.items() <= dict(sent).items()


@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0"])
@pytest.mark.parametrize("fields", [b"Upgrade: x\r\nConnection: upgrade\r\n", b"Content-Length: 3\r\n"])
def test_an_unasked_switch_of_protocols_is_a_broken_answer(world: World, version: bytes, fields: bytes) -> None:
    world.upstream.on("/switch", answers.raw(version + b" 101 Switching Protocols\r\n" + fields + b"\r\nraw"))
    with world.outgate.tunnel("good.example:443") as client:
        answer = client.request("GET", "/switch", "good.example")
    assert (answer.status, answer.json()["reason"], b"raw" in answer.body) == (502, "upstream_unreachable", False)


@pytest.mark.parametrize(
    ("path", "place", "expected"),
    [
        ("/keyed/a", "/keyed/b", "200"),
        ("/open/a", "https://dav.example/open/b", "200"),
        ("/keyed/a", "/open/b", "path_not_allowed"),
        ("/open/a", "/keyed/b", "path_not_allowed"),
        ("/keyed/a", "/secret", "path_not_allowed"),
        ("/keyed/a", "https://evil.example/keyed/b", "authority_mismatch"),
    ],
)
def test_a_second_place_gets_no_other_key(world: World, path: str, place: str, expected: str) -> None:
    reached = len(world.upstream.record.requests)
    with world.outgate.tunnel("dav.example:443") as client:
        client.send(f"MOVE {path} HTTP/1.1\r\nHost: dav.example\r\nDestination: {place}\r\n\r\n".encode())
        assert outcome(client) == expected
    assert len(world.upstream.record.requests) - reached == (expected == "200")


def test_alt_svc_does_not_show_a_way_past_the_proxy(world: World) -> None:
    world.upstream.on("/alt", answers.reply(200, b"x", {"Alt-Svc": 'h3=":443"', "X-Kept": "1"}))
    with world.outgate.tunnel("good.example:443") as client:
        answer = client.request("GET", "/alt", "good.example")
    assert (answer.header("alt-svc"), answer.header("x-kept")) == (None, "1")


def test_pipelined_requests_are_judged_one_by_one(world: World) -> None:
    reached = len(world.upstream.record.requests)
    with world.outgate.tunnel("good.example:443") as client:
        client.send(b"GET /one HTTP/1.1\r\nHost: good.example\r\n\r\nGET /two HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        assert client.read().status == 200
        assert outcome(client) == "authority_mismatch"
    assert [request.target for request in world.upstream.record.requests[reached:]] == ["/one"]


@pytest.mark.parametrize("answer", ["wrong name", "expired", "unknown ca", "plain text"])
def test_an_upstream_that_does_not_verify_gets_no_byte(tmp_path: Path, answer: str) -> None:
    (tmp_path / "other").mkdir()
    trusted, other = Authority(tmp_path), Authority(tmp_path / "other", "another CA")
    context = {
        "wrong name": lambda: trusted.server_context("evil.example"),
        "expired": lambda: trusted.server_context("good.example", expired=True),
        "unknown ca": lambda: other.server_context("good.example"),
        "plain text": lambda: None,
    }[answer]()
    received = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as server:
        proxy = Outgate(
            tmp_path / "proxy",
            POLICY,
            connect_to={"good.example:443": server.getsockname()[1]},
            upstream_ca=(trusted.ca_file,),
            environ={"SECRET": SECRET},
        )
        with proxy, proxy.tunnel("good.example:443") as client:
            client.send(b"GET / HTTP/1.1\r\nHost: good.example\r\n\r\n")
            connection, _ = server.accept()
            with connection:
                connection.settimeout(10)
                try:
                    if context is None:
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                        received += connection.recv(65536)[:1].replace(b"\x16", b"")
                    else:
                        with context.wrap_socket(connection, server_side=True) as tls:
                            received += tls.recv(65536)
                except OSError:
                    pass
            refused = client.read().json()["reason"]
            event = proxy.wait_for_events(lambda found: len(found) == 1)[0]
    assert received == b""
    assert refused == ("upstream_unreachable" if answer == "plain text" else "upstream_unverified")
    assert (event["injected"], event["verdict"]) == (False, "deny")


def test_the_secret_is_nowhere_to_be_seen(world: World) -> None:
    """After all of the above: not in the logs, not on the command line, not in another's reach."""
    state = world.outgate.state
    texts = [path.read_bytes() for path in state.rglob("*") if path.is_file()]
    texts += [world.outgate.stderr.encode(), world.outgate.stdout.encode()]
    pid = world.outgate.ready["pid"]
    texts.append(Path(f"/proc/{pid}/cmdline").read_bytes())
    assert all(SECRET.encode() not in text for text in texts)
    assert Path(f"/proc/{pid}/environ").stat().st_uid == 0, "another process of this user must not read it"


def test_a_connect_that_never_became_a_request_is_on_record_as_denied(world: World) -> None:
    before = len(world.outgate.events())
    with world.outgate.client() as client:
        assert client.connect("evil.example:443").status == 200
    event = new_event(world, before)
    assert (event["method"], event["verdict"], event["reason"]) == ("CONNECT", "deny", "protocol_not_allowed")


def test_a_client_that_does_not_trust_the_ca_is_on_record(world: World) -> None:
    before = len(world.outgate.events())
    with world.outgate.client() as client:
        assert client.connect("good.example:443").status == 200
        with pytest.raises(OSError, match=r"(?i)certificate"):
            client.tls("good.example", ca_file=world.upstream.ca_file)
    event = new_event(world, before)
    assert "handshake failed" in str(event["detail"])
