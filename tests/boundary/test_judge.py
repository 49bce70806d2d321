"""The judge of the suite: each kind of breach is seen, on observations made up for it."""

from typing import Any

import pytest

from tests.boundary.case import Expect, Wanted
from tests.boundary.forms import forms
from tests.boundary.judge import leftover, violations
from tests.boundary.scenery import CANARY

GOOD = Expect("answered", (Wanted("good.example", "/x", secret=True),))
NOTHING: dict[str, Any] = {
    "client": ["connect 200", "tls", "403"],
    "asked": [],
    "dialled": [],
    "arrived": [],
    "leaked": [],
}


def arrival(**more: Any) -> dict[str, Any]:
    """The request of `GOOD`, as it should arrive."""
    headers = [["Host", more.pop("host", "good.example")], ["Authorization", more.pop("key", f"Bearer {CANARY}")]]
    request = {"method": "GET", "target": "/x", "headers": headers + more.pop("headers", []), "body": ""}
    request |= more.pop("request", {})
    base = {"at": "11.0.0.10:443", "tls": True, "sni": "good.example", "requests": [request], "stray": ""}
    return base | {"secrets": ["good.example", "h2.example"]} | more


def passed(**more: Any) -> dict[str, Any]:
    base = {"client": ["world 200"], "asked": ["good.example"], "dialled": ["11.0.0.10:443"], "leaked": []}
    return base | {"arrived": [arrival()]} | more


def test_what_should_be_is_fine() -> None:
    assert violations(Expect(), NOTHING) == []
    assert violations(GOOD, passed()) == []
    assert leftover({name: value for name, value in NOTHING.items() if name != "client"}) == []


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        ({"client": ["world 200"]}, "the client gets: world 200"),
        ({"client": ["raw"]}, "the client gets: raw"),
        ({"client": ["hang"]}, "the client waits for ever"),
        ({"client": ["connect 200"]}, "the client gets: connect 200"),
        ({"asked": ["evil.example"]}, "looks up evil.example"),
        ({"dialled": ["10.0.0.1:22"]}, "dials 10.0.0.1:22"),
        ({"dialled": ["10.0.0.1:53/udp"]}, "dials 10.0.0.1:53/udp"),
        ({"arrived": [arrival(requests=[], stray="SSH", secrets=[])]}, "bytes that are no request reach 11.0.0.10:443"),
        ({"leaked": ["the client (hex)"]}, "a secret is in the client (hex)"),
        ({"unsaid": ["x"]}, "the client gets 'x'"),
        ({"unwritten": ["x"]}, "it writes 'x'"),
    ],
)
def test_where_nothing_may_happen_each_thing_is_seen(seen: dict[str, Any], said: str) -> None:
    assert said in violations(Expect(), NOTHING | seen)


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (passed(client=["403"]), "the client gets no answer of the upstream: 403"),
        (passed(arrived=[]), "GET /x does not reach good.example"),
        (passed(arrived=[arrival(), arrival()]), "GET /x reaches 11.0.0.10:443"),
        (passed(arrived=[arrival(at="11.0.0.66:443")]), "the secret of good.example reaches 11.0.0.66:443"),
        (passed(arrived=[arrival(tls=False)]), "the secret of good.example reaches 11.0.0.10:443"),
        (passed(arrived=[arrival(sni="evil.example")]), "its server name is evil.example"),
        (passed(arrived=[arrival(host="evil.example")]), "its Host is ['evil.example']"),
        (passed(arrived=[arrival(key="Bearer other")]), "its Authorization is not the credential of the host"),
        (
            passed(arrived=[arrival(headers=[["authorization", "x"]])]),
            "its Authorization is not the credential of the host",
        ),
        (passed(arrived=[arrival(request={"method": "POST"})]), "POST /x reaches 11.0.0.10:443"),
    ],
)
def test_where_one_request_is_due_every_other_form_of_it_is_seen(seen: dict[str, Any], said: str) -> None:
    assert said in violations(GOOD, seen)


def test_what_a_request_may_not_carry_is_seen() -> None:
    bare = Expect("answered", (Wanted("good.example", "/x", secret=True, without=("x-hop",), body=b"abc"),), dials=1)
    wrong = violations(bare, passed(arrived=[arrival(headers=[["X-Hop", "1"]])], dialled=["11.0.0.10:443"] * 2))
    assert wrong == ["it carries x-hop", "its body is another one", "dials 2 times instead of 1"]


def test_a_secret_is_found_in_every_form() -> None:
    import base64

    for shift in range(3):
        coded = base64.b64encode(b"x" * (6 + shift) + CANARY.encode() + b"tail")
        assert any(form in coded for form in forms(CANARY).values())
    assert len(set(forms(CANARY).values())) == len(forms(CANARY)), "each form is another text"
