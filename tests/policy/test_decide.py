"""Decisions: verdict and reason for each line of tests/vectors/decisions.yaml, and what must hold for all of them."""

from dataclasses import replace
from datetime import date
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.load import load_policy
from proxy.policy.credential import CredentialSpec
from proxy.policy.decide import ConnectDecision, Decision, decide, decide_both, decide_connect
from proxy.policy.host import HostPattern, parse_authority, parse_host
from proxy.policy.path import parse_pattern
from proxy.policy.reason import Reason
from proxy.policy.request import Request
from proxy.policy.rules import Policy, Rule, RuleIndex

TODAY = date(2026, 11, 20)
VECTORS = yaml.safe_load((Path(__file__).parents[1] / "vectors" / "decisions.yaml").read_text())


def request_of(line: str) -> Request:
    """`GET https://host:port/path?query` as a request."""
    method, _, url = line.partition(" ")
    scheme, _, rest = url.partition("://")
    authority, slash, target = rest.partition("/")
    parsed = parse_authority(authority, {"http": 80, "https": 443}[scheme])
    return Request(scheme, parsed.host, parsed.port, method, slash + target)


def cases() -> list[Any]:
    return [
        pytest.param(group["policy"], line, expected, id=f"{group['name']}: {line}")
        for group in VECTORS
        for line, expected in group["cases"].items()
    ]


@pytest.mark.parametrize(("policy", "line", "expected"), cases())
def test_vector(policy: str, line: str, expected: str, tmp_path: Path) -> None:
    file = tmp_path / "vector.yaml"
    file.write_text(f"version: 1\nname: vector\n{policy}")
    decision = decide(load_policy(file), request_of(line), TODAY)
    verdict = (
        "observed " if decision.observed else "" if decision.allowed is (decision.reason is Reason.ALLOWED) else "?"
    )
    rule = decision.rule or decision.nearest
    assert f"{verdict}{decision.reason}" + (f" {rule}" if rule else "") + " traced" * decision.trace_context == expected


def test_the_zero_values_deny() -> None:
    assert not Decision().allowed
    assert not ConnectDecision().decision.allowed
    assert decide(Policy(), request_of("GET https://a.example/"), TODAY).reason is Reason.HOST_NOT_ALLOWED


def test_a_query_cannot_name_what_never_passes() -> None:
    free = policy_of([Rule(id="a", where="x:1", hosts=(HostPattern("a.example"),), methods=None)], [])
    assert decide(free, request_of("POST https://a.example/?_method=PUT"), TODAY).allowed
    assert decide(free, request_of("POST https://a.example/?_method=trace"), TODAY).reason is Reason.METHOD_NOT_ALLOWED


@pytest.mark.parametrize(
    ("credentials", "allowed"), [((None, None), True), (("c", "c"), True), (("c", None), False), (("c", "d"), False)]
)
def test_methods_that_a_query_names_may_be_allowed_by_several_rules_in_the_same_way(
    credentials: tuple[str | None, str | None], allowed: bool
) -> None:
    rules = [
        Rule(id=method, where="x:1", hosts=(HostPattern("a.example"),), methods=frozenset({method}), credential=name)
        for method, name in zip(("GET", "POST"), credentials, strict=True)
    ]
    request = request_of("GET https://a.example/?_method=POST")
    decision = decide(policy_of(rules, []), request, TODAY)
    assert decision.allowed is allowed
    if credentials == ("c", "d"):
        hosts = (HostPattern("a.example"),)
        for sources, same in ((("env:A", "env:A"), True), (("env:A", "env:B"), False)):
            specs = {
                name: CredentialSpec(name, source, hosts, provider="github")
                for name, source in zip(credentials, sources, strict=True)
            }
            assert decide(replace(policy_of(rules, []), credentials=specs), request, TODAY).allowed is same
    assert decision.reason is (Reason.ALLOWED if allowed else Reason.METHOD_NOT_ALLOWED)


@pytest.mark.parametrize(
    ("target", "place", "expected"),
    [
        ("/keyed/a", "/keyed/b", "allowed keyed"),
        ("/keyed/a", "/other/b", "path_not_allowed other"),
        ("/keyed/a", "/open/b", "path_not_allowed open"),
        ("/open/a", "/keyed/b", "path_not_allowed keyed"),
        ("/open/a", "/open/b", "allowed open"),
        ("/keyed/a", "/secret", "denied_by_rule secret"),
        ("/keyed/a", "/nowhere", "path_not_allowed keyed"),
        ("/nowhere", "/keyed/b", "path_not_allowed keyed"),
    ],
)
def test_a_second_place_is_written_to_in_the_same_way_or_not_at_all(target: str, place: str, expected: str) -> None:
    hosts, networks = (HostPattern("a.example"),), (ip_network("10.0.0.0/8"), ip_network("10.1.0.0/16"))
    rules = [
        Rule(id=name, where="x:1", hosts=hosts, methods=None, paths=(parse_pattern(f"/{name}/**"),), **more)
        for name, more in (
            ("keyed", {"credential": "c", "networks": networks[:1]}),
            ("other", {"credential": "d"}),
            ("open", {"networks": networks[1:]}),
        )
    ]
    deny = [Rule(id="secret", where="x:1", hosts=hosts, methods=None, paths=(parse_pattern("/secret"),))]
    request, there = (request_of(f"MOVE https://a.example{path}") for path in (target, place))
    for observe in (False, True):
        policy = policy_of(rules, deny, observe=observe)
        decision = decide_both(policy, request, there, TODAY)
        assert f"{decision.reason} {decision.rule or decision.nearest}" == expected
        assert decision.allowed is (decision.reason is Reason.ALLOWED or decision.observed)
        assert decision.observed is (observe and decision.reason is Reason.PATH_NOT_ALLOWED)
        assert decision.observed <= (decision.credential is None)
    wide, narrow = (replace(rule, networks=networks[n : n + 1], credential=None) for n, rule in enumerate(rules[:2]))
    there = request_of("MOVE https://a.example/other/b")
    found = decide_both(policy_of([wide, narrow], []), request_of("MOVE https://a.example/keyed/a"), there, TODAY)
    assert found.networks == networks[1:]


# --- what holds for every policy ---

HOSTS = ["a.example", "b.a.example", "other.test"]
PATTERNS = [HostPattern("a.example"), HostPattern("a.example", wildcard=True), HostPattern("other.test")]
PATHS = ["/", "/x", "/x/y", "/x/y/z", "/admin"]
PATH_PATTERNS = [parse_pattern(text) for text in ("/x", "/x/*", "/**", "/x/**", "/admin")]

rules = st.builds(
    Rule,
    id=st.integers(0, 10**6).map(str),
    where=st.just("test:1"),
    hosts=st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=2).map(tuple),
    networks=st.sampled_from([(), (ip_network("10.0.0.0/8"),)]),
    endpoints=st.sampled_from([frozenset({("https", 443)}), frozenset({("https", 8443)}), frozenset({("http", 80)})]),
    methods=st.sampled_from([None, frozenset({"GET"}), frozenset({"POST"})]),
    paths=st.none() | st.lists(st.sampled_from(PATH_PATTERNS), min_size=1, max_size=2).map(tuple),
    query=st.sampled_from([(), (("state", "open"),)]),
    expires=st.sampled_from([None, date(2026, 11, 20), date(2026, 11, 19)]),
)
requests = st.builds(
    Request,
    scheme=st.sampled_from(["https", "http"]),
    host=st.sampled_from(HOSTS).map(parse_host),
    port=st.sampled_from([443, 8443, 80]),
    method=st.sampled_from(["GET", "POST"]),
    target=st.builds(
        lambda path, query: path + query,
        st.sampled_from(PATHS),
        st.sampled_from(["", "?state=open", "?state=open&state=x"]),
    ),
)
rule_lists = st.lists(rules, max_size=5, unique_by=lambda rule: rule.id)


def policy_of(allow: list[Rule], deny: list[Rule], *, observe: bool = False) -> Policy:
    return Policy(name="p", allow=RuleIndex.of(allow), deny=RuleIndex.of(deny), observe=observe)


@given(rule_lists, rule_lists, requests, st.randoms())
def test_the_order_of_rules_never_matters(allow: list[Rule], deny: list[Rule], request: Request, random: Any) -> None:
    first = decide(policy_of(allow, deny), request, TODAY)
    random.shuffle(allow)
    random.shuffle(deny)
    assert decide(policy_of(allow, deny), request, TODAY) == first


@given(rule_lists, rule_lists, rules, requests, st.booleans())
def test_a_deny_rule_more_never_allows_more(
    allow: list[Rule], deny: list[Rule], extra: Rule, request: Request, observe: bool
) -> None:
    before = decide(policy_of(allow, deny, observe=observe), request, TODAY)
    extra = replace(extra, id="extra")  # names are unique in a policy
    after = decide(policy_of(allow, [*deny, extra], observe=observe), request, TODAY)
    assert before.allowed or not after.allowed


@given(rule_lists, rule_lists, requests)
def test_an_allow_rule_less_never_allows_more(allow: list[Rule], deny: list[Rule], request: Request) -> None:
    before = decide(policy_of(allow, deny), request, TODAY)
    for index in range(len(allow)):
        after = decide(policy_of(allow[:index] + allow[index + 1 :], deny), request, TODAY)
        assert before.allowed or not after.allowed


@given(rule_lists, rule_lists, requests)
def test_observing_never_overrules_a_deny(allow: list[Rule], deny: list[Rule], request: Request) -> None:
    strict = decide(policy_of(allow, deny), request, TODAY)
    watched = decide(policy_of(allow, deny, observe=True), request, TODAY)
    assert watched.reason is strict.reason
    if strict.reason is Reason.DENIED_BY_RULE:
        assert not watched.allowed


@given(rule_lists, rule_lists, requests)
def test_a_connect_is_refused_only_where_every_request_would_be(
    allow: list[Rule], deny: list[Rule], request: Request
) -> None:
    policy = policy_of(allow, deny)
    connect = decide_connect(policy, request.host, request.port, TODAY)
    if not connect.decision.allowed:
        assert not decide(policy, request, TODAY).allowed


class _Watched(dict[str, Any]):
    """Counts look-ups; anything that goes through all of it fails."""

    asked = 0

    def get(self, key: str, default: Any = None) -> Any:
        self.asked += 1
        return super().get(key, default)

    def __iter__(self) -> Any:
        raise AssertionError("went through every name")

    keys = values = items = __iter__


@pytest.mark.parametrize("count", [10, 10_000])
@pytest.mark.parametrize("name", ["h3.example.com", "a.w3.example.net", "nowhere.example.org"])
def test_a_decision_looks_at_the_rules_of_its_host_alone(count: int, name: str) -> None:
    made = [Rule(id=f"e{each}", where="", hosts=(HostPattern(f"h{each}.example.com"),)) for each in range(count)]
    made += [Rule(id=f"w{each}", where="", hosts=(HostPattern(f"w{each}.example.net", True),)) for each in range(count)]
    index = RuleIndex.of(made)
    exact, wildcard = _Watched(index.exact), _Watched(index.wildcard)
    index = replace(index, exact=exact, wildcard=wildcard)
    decision = decide(Policy(allow=index, deny=index), Request("https", parse_host(name), 443, "GET", "/"), TODAY)
    assert decision.rule == {"h": "e3", "a": "w3", "n": None}[name[0]]
    assert (exact.asked, wildcard.asked) == (2, 2 * name.count("."))  # once in each section, however many rules
