"""What goes upstream, and what its answer is masked for: every secret that is bound to the host, sent or not."""

from collections.abc import Callable, Iterable

import pytest

from proxy.credentials.masks import Masks
from proxy.credentials.sources import Readings, SecretStore
from proxy.exchange import Exchange
from proxy.outbound import Outbound, upstream_head
from proxy.policy.credential import CredentialSpec, Inject
from proxy.policy.host import HostPattern, parse_host
from proxy.policy.request import Request
from proxy.policy.rules import Policy

SPECS = {
    "one": CredentialSpec("one", "env:ONE", (HostPattern("good.example"),), inject=Inject(bearer=True)),
    "two": CredentialSpec("two", "env:TWO", (HostPattern("good.example"),), inject=Inject(header="x-key")),
}
ENVIRON = {"ONE": "canary-value-one", "TWO": "canary-value-two"}
FIELDS = (
    *((b"Range", b"bytes=0-9"), (b"If_Range", b"x"), (b"Request-Range", b"x"), (b"x-ms-range", b"x"), (b"A-IM", b"x")),
    *((b"Accept_Encoding", b"gzip"), (b"Accept", b"*/*")),
)


def masks(*, specs: Iterable[CredentialSpec] = SPECS.values()) -> Callable[[], Masks]:
    found = Masks(specs, Readings(ENVIRON))
    return lambda: found


def outbound(host: str, credential: str | None) -> Outbound:
    policy = Policy(credentials=SPECS)
    exchange = Exchange(sandbox="s", policy=policy, credential=credential)
    request = Request("https", parse_host(host), 443, "GET", "/")
    form = None if credential is None else SPECS[credential].inject
    return Outbound(exchange, request, FIELDS, SecretStore(SPECS, ENVIRON), form)


@pytest.mark.parametrize("credential", [None, "one", "two"])
def test_each_answer_of_a_bound_host_is_masked_for_every_secret(credential: str | None) -> None:
    sending = outbound("good.example", credential)
    headers, _, mask = upstream_head(sending, masks())
    assert mask is not None
    assert mask.apply(b"canary-value-one canary-value-two") == b"*" * 16 + b" " + b"*" * 16
    assert [name for name, _ in headers if name not in (b"authorization", b"x-key")] == [b"Accept", b"Accept-Encoding"]
    assert sending.exchange.injected is (credential is not None)


def test_another_host_is_left_alone() -> None:
    assert upstream_head(outbound("free.example", None), masks()) == (FIELDS, "/", None)


def test_a_policy_without_the_credential_gets_its_answers_masked_too() -> None:
    sending = outbound("good.example", None)
    sending.exchange.policy = Policy()
    _, _, mask = upstream_head(Outbound(sending.exchange, sending.request, FIELDS, SecretStore({}, {})), masks())
    assert mask is not None
    assert mask.apply(b"canary-value-one") == b"*" * 16


def test_what_is_sent_under_a_policy_that_is_gone_is_masked_by_those_in_force() -> None:
    in_force = masks(specs=())
    _, _, mask = upstream_head(outbound("good.example", "one"), in_force)
    assert mask is not None
    assert mask.apply(b"canary-value-one canary-value-two") == b"*" * 16 + b" canary-value-two"
    _, _, other = upstream_head(outbound("good.example", None), in_force)
    assert other is not None
    assert other.apply(b"canary-value-one") == b"*" * 16


def test_a_running_answer_is_masked_for_what_comes_into_force_meanwhile() -> None:
    in_force = [masks()()]
    _, _, mask = upstream_head(outbound("good.example", None), lambda: in_force[-1])
    later = Masks([CredentialSpec("new", "env:NEW", SPECS["one"].hosts)], Readings({"NEW": "canary-value-new"}))
    later.take_over(in_force[-1])
    in_force.append(later)
    assert mask is not None
    assert mask.apply(b"canary-value-one canary-value-new") == b"*" * 16 + b" " + b"*" * 16
