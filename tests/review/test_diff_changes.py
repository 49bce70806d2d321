"""Differences between policies that are made of rules: what is told of them, and what is too much to be compared."""

from bisect import bisect_right
from datetime import date, timedelta
from ipaddress import IPv4Address, IPv6Address
from types import MappingProxyType
from typing import Any

from proxy.policy.address import is_public
from proxy.policy.credential import CredentialSpec, Inject
from proxy.policy.host import HostPattern
from proxy.policy.path import parse_pattern
from proxy.policy.rules import Policy, Rule, RuleIndex
from proxy.review import diff_report, diff_words
from proxy.review.addresses import Addresses
from proxy.review.changes import PolicyDiff, compare
from proxy.review.delta import Kind
from proxy.review.marks import Mark
from tests.review.diff_texts import TODAY


def _rules(*rules: Rule) -> Policy:
    secret = CredentialSpec("c", "env:C", (HostPattern("a.example.com"),), inject=Inject(bearer=True))
    credentials = MappingProxyType({"c": secret})
    return Policy(name="p", allow=RuleIndex.of(rules), rules=rules, credentials=credentials)


def _rule(rule_id: str, *paths: str, keep: bool = False, **more: Any) -> Rule:
    patterns = tuple(parse_pattern(path, keep_encoded_slash=keep) for path in paths) or None
    hosts = (HostPattern("a.example.com"),)
    return Rule(id=rule_id, where="", hosts=hosts, paths=patterns, keep_encoded_slash=keep, **more)


def test_a_path_with_an_encoded_slash_that_two_rules_open_together_is_told_with_their_credential() -> None:
    strict = _rule("x", "/x")

    found = compare(_rules(strict), _rules(strict, _rule("y", "/a%2Fb", keep=True), _rule("z", credential="c")), TODAY)

    assert [(change.kind, change.paths, change.but) for change in found] == [
        (Kind.ALLOWED, ("/**", "/a%2Fb"), ("/x",)),
        (Kind.CHANGED, ("/x",), ()),
    ]
    assert {change.delta.new.secret.name for change in found if change.delta and change.delta.new.secret} == {"c"}


def test_what_a_rule_does_to_requests_that_it_does_not_match_is_told() -> None:
    """HTTP/2 is offered to a connection, and a tunnel is one, whatever is asked in it."""
    old = _rules(_rule("x", "/b"))
    (_, changed) = compare(old, _rules(*old.rules, _rule("y", "/a", http2=True)), TODAY)
    assert (changed.kind, changed.paths) == (Kind.CHANGED, ("/b",))

    tunnel = _rules(_rule("x", inspect=False, methods=None))
    kinds = {change.kind for change in compare(tunnel, _rules(*tunnel.rules, _rule("y", "/a")), TODAY)}
    assert kinds == {Kind.CHANGED, Kind.REMOVED}


def test_trace_headers_are_told_where_they_begin_or_cease_to_pass_which_they_do_in_a_tunnel() -> None:
    bare, kept = _rules(_rule("x")), _rules(_rule("x", trace_context=True))
    tunnel = _rules(_rule("x", inspect=False, methods=None))

    def told(old: Policy, new: Policy) -> tuple[bool, set[Mark], set[str]]:
        found = compare(old, new, TODAY)
        words = {
            value
            for change in found
            for label, value in diff_words.facts(PolicyDiff("p", old, new, found), change)
            if label == "trace"
        }
        return any(change.widening for change in found), {mark for change in found for mark in change.marks}, words

    begin, cease = "the client's trace headers go upstream", "the client's trace headers no longer go upstream"
    assert told(bare, kept) == (True, {Mark.TRACE_CONTEXT}, {begin})
    assert told(kept, bare) == (False, set(), {cease})
    assert told(tunnel, kept) == (False, set(), set())
    assert told(tunnel, bare) == (False, set(), {cease})
    assert told(kept, tunnel)[2] == told(bare, tunnel)[2] == set()
    assert told(_rules(), kept) == (True, {Mark.NEW_HOST, Mark.TRACE_CONTEXT}, {begin})


def test_a_credential_that_is_bound_to_fewer_hosts_is_told_for_those() -> None:
    def policy(*hosts: str) -> Policy:
        secret = CredentialSpec("c", "env:C", tuple(map(HostPattern, hosts)), inject=Inject(bearer=True))
        rules = (Rule(id="x", where="", hosts=(HostPattern("example.com", True),), credential="c"),)
        return Policy(name="p", allow=RuleIndex.of(rules), rules=rules, credentials=MappingProxyType({"c": secret}))

    (found,) = compare(policy("a.example.com"), policy("a.example.com", "b.example.com"), TODAY)

    assert (found.hosts, found.marks) == (("b.example.com",), (Mark.NEW_CREDENTIAL_REACH,))


def test_what_is_too_complex_is_said_and_counts_as_widening() -> None:
    def policy(count: int) -> Policy:
        rules = [
            Rule(id=f"r{n}", where="", hosts=(HostPattern("a.example.com"),), query=((f"k{n}", "1"),))
            for n in range(count)
        ]
        return Policy(name="p", allow=RuleIndex.of(rules), rules=tuple(rules))

    diffs = [PolicyDiff("p", policy(200), policy(199), compare(policy(200), policy(199), TODAY))]

    (change,) = diffs[0].changes
    assert (change.kind, change.widening, change.hosts, change.rules) == (
        Kind.NOT_COMPARED,
        True,
        ("a.example.com",),
        ("r199",),
    )
    assert "cannot be compared in full" in diff_report.headline(diffs)
    assert "      rules       r199" in diff_report.as_lines(diffs)
    assert diff_report.as_document(diffs)["policies"][0]["changes"][0]["kind"] == "not_compared"


def test_one_condition_among_two_thousand_is_found() -> None:
    """Also where the other rules have too many ports, queries and days to be taken together."""

    def policy(dropped: int | None) -> Policy:
        rules = [
            Rule(
                id=f"r{n}",
                where="",
                hosts=(HostPattern("a.example.com"),),
                paths=(parse_pattern(f"/repos/r{n}/*"),),
                endpoints=frozenset({("https", 1000 + n)}),
                query=() if n == dropped else (("k", str(n)),),
                expires=date(2027, 1, 1) + timedelta(days=n),
            )
            for n in range(2001)
        ]
        return Policy(name="p", allow=RuleIndex.of(rules), rules=tuple(rules))

    (found,) = compare(policy(None), policy(7), TODAY)

    assert (found.kind, found.paths, found.queries) == (Kind.ALLOWED, ("/repos/r7/*",), ("any",))
    assert (found.endpoints, found.days, found.marks) == (("https:1007",), "until 2027-01-08", ())


def test_two_thousand_rules_for_one_host_are_compared() -> None:
    def policy(changed: set[int]) -> Policy:
        rules = [
            Rule(
                id=f"r{n}",
                where="",
                hosts=(HostPattern("a.example.com"),),
                paths=(parse_pattern(f"/repos/acme/r{n}/**"),),
                methods=frozenset({"POST"} if n in changed else {"GET"}),
            )
            for n in range(2000)
        ]
        return Policy(name="p", allow=RuleIndex.of(rules), rules=tuple(rules))

    found = compare(policy(set()), policy({7}), TODAY)

    assert [(change.kind, change.methods, change.paths) for change in found] == [
        (Kind.ALLOWED, ("POST",), ("/repos/acme/r7/**",)),
        (Kind.REMOVED, ("GET",), ("/repos/acme/r7/**",)),
    ]


def test_no_span_of_addresses_is_public_in_part() -> None:
    """Held against addresses all over both versions, so that no range is missing where spans are cut."""
    every = Addresses(())
    begins = [every.starts[span] for span in every.spans]
    sample = [IPv4Address(number) for number in range(0, 1 << 32, 1 << 20)]
    sample += [IPv6Address(number << 112) for number in range(0, 1 << 16, 16)]
    for address in sample:
        span = bisect_right(begins, (address.version, int(address))) - 1
        assert (every.spans[span] in every.public) is is_public(address), address
