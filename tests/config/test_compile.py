"""What files mean: the compiled rules and the digest."""

import random
from collections.abc import Callable
from datetime import date
from ipaddress import ip_network
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.config.load import load_policy
from proxy.errors import Problem
from proxy.policy.credential import CredentialSpec, Inject
from proxy.policy.decide import decide, decide_connect
from proxy.policy.host import HostPattern, parse_host
from proxy.policy.path import parse_pattern
from proxy.policy.reason import Reason
from proxy.policy.request import Request
from proxy.policy.rules import READ_METHODS, Policy, Rule

type Load = Callable[[str], Policy]
type Problems = Callable[[str], list[Problem]]

TODAY = date(2026, 6, 1)


def one(load: Load, keys: str, section: str = "allow") -> Rule:
    (rule,) = load(f"{section}:\n  - {{id: a, why: w, {keys}}}\n").rules
    return rule


def test_a_rule_of_a_host_alone_reads_over_https(load: Load) -> None:
    rule = one(load, "hosts: [b.com, a.com, b.com]")

    assert rule.hosts == (HostPattern("a.com"), HostPattern("b.com"))
    assert rule.endpoints == {("https", 443)}
    assert rule.methods == READ_METHODS
    assert (rule.paths, rule.query, rule.networks, rule.expires, rule.credential) == (None, (), (), None, None)
    assert (rule.inspect, rule.http2, rule.keep_encoded_slash, rule.why) == (True, False, False, "w")
    assert not rule.trace_context
    assert rule.where.endswith("agent.yaml:4")


@pytest.mark.parametrize(
    ("keys", "endpoints"),
    [
        ("schemes: [http]", {("http", 80)}),
        ("schemes: [http, https]", {("http", 80), ("https", 443)}),
        ("ports: [8443]", {("https", 8443)}),
        ("ports: [443, 8443]", {("https", 443), ("https", 8443)}),
        ("schemes: [http, https], ports: [8080]", {("http", 8080), ("https", 8080)}),
        ("inspect: false", {("https", 443)}),
        ("inspect: false, ports: [22]", {("https", 22)}),
    ],
)
def test_schemes_and_ports_of_an_allow_rule(load: Load, keys: str, endpoints: set[tuple[str, int]]) -> None:
    assert one(load, f"hosts: [a.com], {keys}").endpoints == endpoints


@pytest.mark.parametrize(
    ("keys", "methods"),
    [
        ("access: read", READ_METHODS),
        ("access: any", None),
        ("methods: [POST, GET, POST]", {"GET", "POST"}),
        ("methods: [M-SEARCH]", {"M-SEARCH"}),
    ],
)
@pytest.mark.parametrize("section", ["allow", "deny"])
def test_methods_of_a_rule(load: Load, section: str, keys: str, methods: set[str] | None) -> None:
    assert one(load, f"hosts: [a.com], {keys}", section).methods == methods


def test_a_deny_rule_means_all_that_it_does_not_name(load: Load) -> None:
    rule = one(load, "hosts: [a.com]", "deny")

    assert (rule.methods, rule.paths, rule.endpoints) == (None, None, None)


def test_a_deny_rule_of_a_port_means_every_scheme(load: Load) -> None:
    assert one(load, "hosts: [a.com], ports: [80]", "deny").endpoints == {("http", 80), ("https", 80)}


def test_a_deny_rule_of_a_scheme_means_every_port(load: Load) -> None:
    endpoints = one(load, "hosts: [a.com], schemes: [http]", "deny").endpoints

    assert endpoints is not None
    assert len(endpoints) == 65535
    assert {("http", 1), ("http", 80), ("http", 8080), ("http", 65535)} <= endpoints


def test_every_other_key_reaches_the_rule(load: Load) -> None:
    rule = one(
        load,
        "addresses: [10.0.0.0/8, '::1'], paths: [/b/**, '/@s%2fp', /a/*], encoded_slash: keep,"
        " query: {b: '2', a: x}, http2: true, trace_context: keep, expires: 2027-01-31",
    )

    assert set(rule.networks) == {ip_network("10.0.0.0/8"), ip_network("::1")}
    assert rule.paths is not None
    assert {str(path) for path in rule.paths} == {"/b/**", "/@s/p", "/a/*"}
    assert parse_pattern("/@s%2fp", keep_encoded_slash=True) in rule.paths
    assert rule.query == (("a", "x"), ("b", "2"))
    assert (rule.keep_encoded_slash, rule.http2, rule.trace_context) == (True, True, True)
    assert rule.expires == date(2027, 1, 31)


def test_a_date_may_be_quoted(load: Load) -> None:
    assert one(load, "hosts: [a.com], expires: '2027-01-31'").expires == date(2027, 1, 31)


def test_ports_and_denied_networks_are_collected(load: Load) -> None:
    policy = load(
        "allow:\n  - {id: a, why: w, hosts: [a.com], ports: [8443]}\n"
        "deny:\n  - {id: b, why: w, addresses: [10.0.0.0/8], ports: [99]}\n"
    )

    assert policy.ports == {443, 8443}
    assert policy.denied_networks == (ip_network("10.0.0.0/8"),)


@pytest.mark.parametrize(
    ("keys", "inject"),
    [
        ("header: X-Key", Inject(header="X-Key")),
        ("header: Cookie, format: 'session={secret}'", Inject(header="Cookie", format="session={secret}")),
        ("bearer: true", Inject(bearer=True)),
        ("basic: {username: x-access-token}", Inject(basic="x-access-token")),
        ("query: key", Inject(query="key")),
    ],
)
def test_each_way_to_inject(load: Load, keys: str, inject: Inject) -> None:
    policy = load(
        "allow:\n  - {id: a, why: w, hosts: [a.com], credential: c}\n"
        f"credentials:\n  c: {{from: 'file:/x', hosts: ['*.a.com', a.com], inject: {{{keys}}},"
        " placeholder: A_B, client_credentials: replace}\n"
    )

    assert policy.credentials["c"] == CredentialSpec(
        name="c",
        source="file:/x",
        hosts=(HostPattern("a.com"), HostPattern("a.com", wildcard=True)),
        inject=inject,
        placeholder="A_B",
        replace_client_credentials=True,
    )


@pytest.mark.parametrize(
    ("allow", "place", "message", "hint"),
    [
        ("hosts: [a.com], credential: d", "4:allow[0].credential", "no credential is named `d`", "define"),
        ("hosts: [a.com], credential: cc", "4:allow[0].credential", "no credential is named `cc`", "did you mean `c`?"),
        ("hosts: [b.com], credential: c", "4:allow[0].credential", "not bound to any host of", "bound to a.com"),
        ("addresses: [10.0.0.1], credential: c", "4:allow[0].credential", "not bound to any host", "bound to a.com"),
        ("hosts: [a.com]", "6:credentials.c", "no rule uses the credential `c`", "`credential: c`"),
        ("hosts: [a.com], schemes: [http], credential: c", "4:allow[0].schemes", "over cleartext", "remove `http`"),
    ],
)
def test_a_credential_is_known_bound_and_used(
    problems: Problems, allow: str, place: str, message: str, hint: str
) -> None:
    found = problems(
        f"allow:\n  - {{id: a, why: w, {allow}}}\n"
        f"credentials:\n  c: {{from: env:A, hosts: [a.com], provider: github}}\n"
    )
    said = {f"{problem.where.partition(':')[0]}:{problem.key}": problem for problem in found}

    assert message in said[place].message
    assert hint in said[place].hint


def test_two_credentials_do_not_share_a_placeholder(problems: Problems) -> None:
    (found,) = problems(
        "allow:\n  - {id: a, why: w, hosts: [a.com], credential: c}\n"
        "  - {id: b, why: w, hosts: [b.com], credential: d}\n"
        "credentials:\n  c: {from: env:A, hosts: [a.com], provider: github, placeholder: TOKEN}\n"
        "  d: {from: env:B, hosts: [b.com], provider: github, placeholder: TOKEN}\n"
    )

    assert found.message == "two credentials have the placeholder `TOKEN`"
    assert (found.where[:2], found.key) == ("8:", "credentials.d.placeholder")


TWO = (
    "allow:\n  - {{id: a, why: w, hosts: [api.a.com], credential: c, {0}}}\n"
    "  - {{id: b, why: w, hosts: ['*.a.com'], credential: d, {1}}}\n"
    "credentials:\n  c: {{from: env:A, hosts: ['*.a.com'], provider: github}}\n"
    "  d: {{from: env:B, hosts: ['*.a.com'], provider: github}}\n"
)


def test_rules_that_can_match_one_request_name_one_credential(problems: Problems) -> None:
    (found,) = problems(TWO.format("paths: [/a/*]", "paths: [/**]"))

    assert "can match the same request with different credentials, `c` and `d`" in found.message
    assert "`a` (" in found.message
    assert "agent.yaml:4)" in found.message
    assert "agent.yaml:5)" in found.message
    assert (found.where, found.key) == ("5:5", "allow[1]")


def test_rules_that_cannot_match_one_request_may_differ_in_their_credentials(load: Load) -> None:
    assert len(load(TWO.format("paths: [/a/*]", "paths: [/b/**]")).rules) == 2


def test_a_tunnel_beside_an_inspected_rule_is_refused(problems: Problems) -> None:
    text = "allow:\n  - {id: a, why: w, hosts: [api.a.com]}\n  - {id: b, why: w, hosts: ['*.a.com'], inspect: false}\n"

    assert "the same host and port, one with a tunnel" in problems(text)[0].message


def test_a_tunnel_on_another_port_is_fine(load: Load) -> None:
    rules = "  - {id: a, why: w, hosts: [a.com]}\n  - {id: b, why: w, hosts: [a.com], inspect: false, ports: [22]}\n"
    policy = load("allow:\n" + rules)

    assert decide_connect(policy, parse_host("a.com"), 22, TODAY).tunnel
    assert not decide_connect(policy, parse_host("a.com"), 443, TODAY).tunnel


def test_shared_addresses_get_a_hint_of_their_own(problems: Problems) -> None:
    (found,) = problems(
        "allow:\n  - {id: a, why: w, hosts: [a.com], addresses: [10.0.0.0/8], credential: c}\n"
        "  - {id: b, why: w, hosts: [b.com], addresses: [10.1.0.0/16], credential: d}\n"
        "credentials:\n  c: {from: env:A, hosts: [a.com], provider: github}\n"
        "  d: {from: env:B, hosts: [b.com], provider: github}\n"
    )

    assert found.hint.startswith("their `addresses` overlap")


BASE = {
    "version": 1,
    "name": "agent",
    "mode": "enforce",
    "allow": [
        {"id": "a", "why": "w", "hosts": ["a.com", "*.b.com"], "methods": ["GET", "POST"], "paths": ["/a", "/b/**"]},
        {"id": "b", "why": "w", "hosts": ["c.com"], "query": {"x": "1", "y": "2"}, "credential": "c"},
        {"id": "t", "why": "w", "hosts": ["t.com"], "inspect": False, "ports": [22, 443]},
        {"id": "p", "why": "w", "addresses": ["10.0.0.0/8", "fd00::/8"], "schemes": ["http", "https"]},
    ],
    "deny": [
        {"id": "d", "why": "w", "hosts": ["a.com"], "paths": ["/admin/**"]},
        {"id": "e", "why": "w", "hosts": ["c.com"], "query": {"z": "1"}},
    ],
    "credentials": {
        "c": {"from": "env:A", "hosts": ["c.com", "d.com"], "provider": "github"},
    },
}


def digest(tmp_path: Path, tree: object) -> Policy:
    path = tmp_path / "agent.yaml"
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    return load_policy(path)


def shuffled(value: object, random_: random.Random) -> object:
    if isinstance(value, dict):
        items = [(key, shuffled(item, random_)) for key, item in value.items()]
        return dict(random_.sample(items, len(items)))
    if isinstance(value, list):
        items = [shuffled(item, random_) for item in value]
        return random_.sample(items, len(items))
    return value


REQUESTS = [
    Request(scheme, parse_host(host), port, method, target)
    for scheme, port in (("https", 443), ("http", 80), ("https", 22))
    for host in ("a.com", "x.b.com", "b.com", "c.com", "t.com", "10.1.1.1", "[fd00::1]", "z.com")
    for method in ("GET", "POST", "PUT")
    for target in ("/a", "/b/c", "/admin/x", "/a?x=1&y=2", "/a?x=1&y=2&z=1")
]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(seed=st.integers())
def test_order_changes_neither_a_decision_nor_the_digest(tmp_path: Path, seed: int) -> None:
    one_order, other = digest(tmp_path, BASE), digest(tmp_path, shuffled(BASE, random.Random(seed)))

    assert one_order.digest == other.digest
    for request in REQUESTS:
        assert decide(one_order, request, TODAY) == decide(other, request, TODAY)


def test_the_order_and_the_split_of_files_change_nothing(tmp_path: Path) -> None:
    whole = digest(tmp_path, BASE)
    deny = {"version": 1, "name": "denies", "deny": BASE["deny"]}
    (tmp_path / "denies.yaml").write_text(yaml.safe_dump(deny))
    (tmp_path / "none.yaml").write_text("version: 1\nname: none\n")
    rest = {key: value for key, value in BASE.items() if key != "deny"}

    for extends in (["denies", "none"], ["none", "denies"]):
        assert digest(tmp_path, {**rest, "extends": extends}).digest == whole.digest


def test_comments_reasons_and_spelling_are_not_part_of_the_digest(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text("version: 1\nname: a\nallow:\n  - {id: a, why: w, hosts: [a.com, b.com]}\n")
    first = load_policy(path).digest
    path.write_text(
        "# other\nname: b\nversion: 1\nallow:\n- id: a\n  why: x # y\n  hosts:\n  - b.com\n  - a.com\n  - a.com\n"
        "  access: read\n  ports: [443]\n  inspect: true\nmode: enforce\ndeny: []\n"
    )

    assert load_policy(path).digest == first
    assert len(first) == 64


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("mode: enforce", "mode: observe"),
        ("id: a,", "id: z,"),
        ("[a.com]", "['*.a.com']"),
        ("[GET]", "[POST]"),
        ("[/a/*]", "[/a/**]"),
        ("{k: v}", "{k: w}"),
        ("[443]", "[444]"),
        ("2027-01-31", "2027-02-01"),
        ("http2: false", "http2: true"),
        ("http2: false", "trace_context: keep"),
        ("env:A", "env:B"),
        ("provider: github", "inject: {bearer: true}"),
        ("placeholder: P", "placeholder: Q"),
        ("client_credentials: refuse", "client_credentials: replace"),
        ("addresses: [10.0.0.0/8]", "addresses: [10.0.0.0/9]"),
    ],
)
def test_whatever_changes_the_meaning_changes_the_digest(load: Load, old: str, new: str) -> None:
    text = (
        "mode: enforce\nallow:\n  - {id: a, why: w, hosts: [a.com], methods: [GET], paths: [/a/*], query: {k: v},"
        " ports: [443], expires: 2027-01-31, http2: false, credential: c}\n"
        "deny:\n  - {id: d, why: w, addresses: [10.0.0.0/8]}\n"
        "credentials:\n  c: {from: env:A, hosts: ['*.a.com', a.com], provider: github, placeholder: P,"
        " client_credentials: refuse}\n"
    )
    assert old in text

    assert load(text).digest != load(text.replace(old, new)).digest


def test_a_rule_that_moves_from_allow_to_deny_changes_the_digest(load: Load) -> None:
    text = "allow:\n  - {id: a, why: w, hosts: [a.com], access: any, schemes: [https], ports: [443]}\n"

    assert load(text).digest != load(text.replace("allow", "deny")).digest


def test_a_deny_holds_in_observe_mode_on_any_port(load: Load) -> None:
    policy = load("mode: observe\ndeny:\n  - {id: d, why: w, hosts: [a.com], schemes: [http]}\n")

    decision = decide(policy, Request("http", parse_host("a.com"), 8080, "GET", "/"), TODAY)

    assert (decision.allowed, decision.reason) == (False, Reason.DENIED_BY_RULE)
