"""A policy that changes while the proxy runs: what it takes back is taken back, and a broken one opens nothing."""

from tests.boundary.case import Anew, Become, Case, Connect, Expect, Read, Send, Tls, Wanted, inside, request

_HOST = "good.example"
_FIRST = Wanted(_HOST, "/before", secret=True)

CASES = (
    Case(
        "reload-open-tunnel",
        "a rule is taken back, and a tunnel that is open goes on as before",
        (
            Become("whole"),
            *inside(_HOST, request(_HOST, "/before")),
            Become("revoked"),
            Send(request(_HOST, "/after")),
            Read(),
        ),
        ("m12.reload", "f4.9"),
        Expect("refused", (_FIRST,)),
        setup="reload",
        kept="a peer went on with what it had read (vm0); the naive addon looks its list up for each request",
    ),
    Case(
        "reload-revoked",
        "a rule is taken back, and new connections use it still",
        (Become("revoked"), *inside(_HOST, request(_HOST))),
        ("m12.reload",),
        setup="reload",
    ),
    Case(
        "reload-broken-open",
        "a policy that cannot be read leaves no policy, and everything passes",
        (Become("whole"), Become("broken"), *inside("evil.example", request("evil.example"))),
        ("m12.reload", "f4.9"),
        setup="reload",
    ),
    Case(
        "reload-broken-kept",
        "a policy that cannot be read takes the good one away, or half of it",
        (Become("whole"), Become("broken"), *inside(_HOST, request(_HOST, "/before"))),
        ("m12.reload", "f4.9"),
        Expect("answered", (_FIRST,)),
        setup="reload",
    ),
    Case(
        "reload-echo-stored",
        "an upstream keeps the credential, and hands it back when the policy injects none there any more",
        (
            Become("whole"),
            *inside(_HOST, request(_HOST, "/store")),
            Become("keyless"),
            Anew(),
            *inside(_HOST, request(_HOST, "/stored")),
        ),
        ("m12.echo", "f4.29"),
        Expect("answered", (Wanted(_HOST, "/store", secret=True), Wanted(_HOST, "/stored"))),
        setup="reload",
    ),
    Case(
        "reload-from-inside",
        "what a request says makes the proxy read another policy",
        (
            Become("revoked"),
            Connect(f"{_HOST}:443"),
            Tls(_HOST),
            Send(request(_HOST, "/", more="X-Outgate-Policy: main\r\nX-Outgate-Reload: 1\r\n")),
            Read(),
        ),
        ("f4.45",),
        setup="reload",
    ),
)
