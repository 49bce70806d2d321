"""The policy that a log proposes: it allows what was seen, nothing of another kind, and what is in it can be read."""

import io
import re
from collections.abc import Iterable
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.audit.event import Event
from proxy.config.compile import assemble
from proxy.policy.host import Host
from proxy.policy.request import Request
from proxy.policy.rules import READ_METHODS, Policy
from proxy.review.asked import judge
from proxy.review.gather import Gathered, gather
from proxy.review.judge import Judge
from proxy.review.lint import lint
from proxy.review.log import Log
from proxy.review.replay import Filter, Outcome, Replay, replay
from proxy.review.suggest import Suggestion, compiled, suggest
from tests.review.events import event, lines, passed, refused, tunnel

TODAY = date(2026, 11, 20)


def policy(text: str) -> Policy:
    return assemble([compiled("version: 1\nname: current\n" + text)])


def made_of(events: Iterable[Event], current: Policy | None = None) -> tuple[Suggestion, Gathered]:
    log = Log(["-"], io.BytesIO(lines(*events)))
    gathered = gather(log, Filter(), None if current is None else Judge(current), TODAY)
    return suggest(gathered, current, TODAY), gathered


def text_of(*events: Event, current: Policy | None = None) -> str:
    return made_of(events, current)[0].text("suggested")


def under(text: str, events: Iterable[Event]) -> Replay:
    return replay(Log(["-"], io.BytesIO(lines(*events))), {None: assemble([compiled(text)])}, today=TODAY)


def rule(text: str, rule_id: str) -> list[str]:
    """The keys of one rule but `why`, as lines."""
    body = text.partition(f"- id: {rule_id}\n")[2]
    found = re.match(r"(?:    .*\n)+", body)
    assert found, text
    return [line.strip() for line in found[0].splitlines() if not line.strip().startswith("why:")]


# --- properties over generated universes ---

HOSTS = (
    "a.example",
    "b.example",
    "github.com",
    "api.anthropic.com",
    "pastebin.com",
    "x.s3.amazonaws.com",
    "xn--bcher-kva.de",
)
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "M-SEARCH", "ACL-1")
PLACES = (("https", 443), ("https", 8443), ("http", 80), ("http", 8080))
hostile = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="/#?%*;\\"), min_size=1, max_size=6
)
words = st.sampled_from(
    ["a", "b", "v1", "v2", "1", "2", "3", "4", "x-1.0.zip", "@s%2fn", "%C3%A9", "%20", "[x]", "- id:", "&a"]
)
segments = (words | hostile).map(lambda text: text.replace(" ", "%20")).filter(lambda text: text not in (".", ".."))
paths = st.lists(segments, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))
asked = st.tuples(st.sampled_from(METHODS), st.sampled_from(PLACES), st.sampled_from(HOSTS), paths)
type Asked = tuple[str, tuple[str, int], str, str]


def as_event(one: Asked) -> Event:
    method, (scheme, port), host, path = one
    return event(method, f"{scheme}://{host}:{port}{path}")


@settings(deadline=None)
@given(st.lists(asked, min_size=1, max_size=40), st.lists(asked, max_size=40))
def test_what_was_seen_passes_and_nothing_at_another_place_or_with_another_method(
    seen: list[Asked], probes: list[Asked]
) -> None:
    events = [as_event(one) for one in seen]
    text = text_of(*events)
    proposed = assemble([compiled(text)])
    again = under(text, events)
    assert (again.totals[Outcome.REFUSED], again.totals[Outcome.DEPENDS], again.totals[Outcome.UNJUDGED]) == (0, 0, 0)
    may = {(place, host, "read" if method in READ_METHODS else method) for method, place, host, _ in seen}
    for method, place, host, path in [*probes, *((other, *one[1:]) for one in seen for other in METHODS)]:
        request = Request(place[0], Host(host), place[1], method, path)
        if judge(proposed, request, TODAY).allowed:
            assert (place, host, "read" if method in READ_METHODS else method) in may
    warned = {finding.code for finding in lint([compiled(text)], TODAY).warnings}
    assert warned <= {"drop_host", "user_content_host"}
    assert all(f"({code})" in text for code in warned), "what check warns about stands in the comments"


@settings(deadline=None)
@given(st.lists(asked, min_size=1, max_size=30))
def test_the_order_of_the_log_does_not_matter_and_what_is_proposed_is_not_proposed_again(seen: list[Asked]) -> None:
    events = [{**as_event(one), "id": "same"} for one in seen]
    text = text_of(*events)
    strip = re.compile(r"; for example .*")
    assert strip.sub("", text_of(*events[::-1])) == strip.sub("", text)
    assert not made_of(events, assemble([compiled(text)]))[0].rules


@settings(deadline=None)
@given(st.lists(asked, min_size=1, max_size=20), st.lists(asked, min_size=1, max_size=5))
def test_what_a_deny_rule_refused_is_not_made_to_pass(seen: list[Asked], denied: list[Asked]) -> None:
    """Though the deny rules are not at hand: the log shows that there were some."""
    exact = {(one[1], one[2], one[3]) for one in denied}
    events = [as_event(one) for one in seen if (one[1], one[2], one[3]) not in exact]
    refusals = [{**as_event(one), "verdict": "deny", "reason": "denied_by_rule", "rule": "never"} for one in denied]
    text = text_of(*events, *refusals)
    assert under(text, [*events, *refusals]).totals[Outcome.PASSED] == 0


control = st.text(st.characters(exclude_categories=["Cs"]), max_size=60) | st.sampled_from(
    [
        "\n- id: evil\n  why: x",
        "\r\nallow:",
        "# x",
        "\x1b[2J",
        "\u2028allow: []",
        "\x85- id: e",
        "'\"]}",
        "!!python/x",
        "&a *a",
        "x" * 90_000,
    ]
)


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(
            ["id", "method", "path", "rule", "detail", "credential", "sandbox", "scheme", "nearest", "not_injected"]
        ),
        control,
    )
)
def test_a_hostile_record_puts_nothing_into_the_policy_but_what_was_asked(fields: dict[str, Any]) -> None:
    hostile = {**event(url="https://b.example/y"), **fields}
    denied = {**refused("denied_by_rule", url="https://b.example/z", rule="no"), **fields}
    made, gathered = made_of([event(url="https://good.example/x"), hostile, denied])
    text = made.text("suggested", list(gathered.left_out))
    part = compiled(text)
    assert {str(host) for each in part.allow for host in each.hosts} <= {"good.example", "b.example"}
    assert not part.deny
    assert "allow" in part.model.model_fields_set
    assert text.isascii()
    assert max(map(len, text.splitlines())) < 1000
    assert all(char == "\n" or char.isprintable() for char in text)
    for line in text.splitlines():
        if line.strip().startswith("- id:"):
            assert re.fullmatch(r"  - id: [a-z0-9-]+", line)


# --- what a proposal is like ---


def test_reading_and_writing_stand_apart() -> None:
    text = text_of(
        event("GET", "https://a.example/x"), event("HEAD", "https://a.example/y"), event("POST", "https://a.example/x")
    )
    assert rule(text, "a-example-read") == ["hosts: [a.example]", "access: read", "paths: [/x, /y]"]
    assert rule(text, "a-example-write") == ["hosts: [a.example]", "methods: [POST]", "paths: [/x]"]
    assert "  # look again: write access: POST\n  - id: a-example-write" in text


def test_methods_that_were_seen_at_other_paths_are_not_lent() -> None:
    text = text_of(event("POST", "https://a.example/x"), event("DELETE", "https://a.example/y"))
    assert rule(text, "a-example-write") == ["hosts: [a.example]", "methods: [DELETE]", "paths: [/y]"]
    assert rule(text, "a-example-write-2") == ["hosts: [a.example]", "methods: [POST]", "paths: [/x]"]


def test_what_git_fetches_stands_apart_from_what_it_pushes() -> None:
    text = text_of(
        event("GET", "https://git.example/a/b.git/info/refs?service=git-upload-pack"),
        event("POST", "https://git.example/a/b.git/git-upload-pack"),
        event("POST", "https://git.example/a/b.git/git-receive-pack"),
    )
    assert rule(text, "git-example-read")[-1] == "paths: [/a/b.git/info/refs]"
    assert rule(text, "git-example-fetch")[-2:] == ["methods: [POST]", "paths: [/a/b.git/git-upload-pack]"]
    assert rule(text, "git-example-write")[-1] == "paths: [/a/b.git/git-receive-pack]"


def test_a_comment_says_how_often_when_and_what() -> None:
    text = text_of(*(event("GET", f"https://a.example/i/{n}", at=n * 60, id=f"01{n}") for n in range(3)))
    assert "# seen 3 times, 2026-11-20T10:00:00Z to 2026-11-20T10:02:00Z; for example GET /i/0 (010)" in text
    assert "why: seen in a run on 2026-11-20; say what it is for" in text


def test_known_providers_get_their_credential_and_its_binding_is_no_wider() -> None:
    text = text_of(
        event("POST", "https://api.anthropic.com/v1/messages"),
        event("GET", "https://github.com/a/b.git/info/refs"),
        event("GET", "https://api.github.com/user"),
        event("GET", "http://api.github.com/user"),
    )
    assert rule(text, "api-anthropic-com-write")[-1] == "credential: anthropic"
    assert "credential: github" in rule(text, "github-com-read")
    assert "credential: github" not in rule(text, "api-github-com-http-read")
    assert "    hosts: [api.github.com, github.com]\n    placeholder: GITHUB_TOKEN" in text


def test_a_credential_of_the_current_policy_is_used() -> None:
    current = policy(
        "allow: [{id: r, why: w, hosts: [own.example], paths: [/x], credential: own}]\n"
        "credentials: {own: {from: 'env:OWN', hosts: [own.example, '*.b.own.example'], inject: {bearer: true}}}\n"
    )
    made, _ = made_of([event("GET", "https://own.example/y")], current)
    assert [each.credential for each in made.rules] == ["own"]
    assert made.new == ()
    assert "hosts: [own.example]\n    inject: {bearer: true}" in made.text("x")
    assert lint([compiled(made.text("x"))], TODAY).warnings == ()


def test_only_what_the_current_policy_lacks_is_proposed_and_nothing_that_it_denies() -> None:
    current = policy(
        "allow: [{id: r, why: w, hosts: [a.example], paths: [/x]}]\n"
        "deny:\n  - {id: no-x, why: w, hosts: [a.example], paths: [/admin/**]}\n"
        "  - {id: never, why: w, hosts: [bad.example]}\n"
    )
    made, gathered = made_of(
        [
            event("GET", f"https://{place}")
            for place in ("a.example/x", "a.example/y", "a.example/ADMIN/x", "bad.example/")
        ],
        current,
    )
    assert [each.id for each in made.rules] == ["a-example-read"]
    assert gathered.covered == 1
    assert sorted(gathered.left_out) == ["the rule never denies it", "the rule no-x denies it"]


@pytest.mark.parametrize("known", [True, False])
def test_a_star_never_reaches_what_a_deny_rule_means(known: bool) -> None:
    events = [event("GET", f"https://a.example/i/{n}") for n in (1, 2, 3)]
    current = policy("deny: [{id: no-x, why: w, hosts: [a.example], paths: [/i/4]}]\n")
    if not known:
        events.append(refused("denied_by_rule", "GET", "https://a.example/i/4", rule="no"))
    text = text_of(*events, current=current if known else None)
    assert rule(text, "a-example-read")[-1] == "paths: [/i/1, /i/2, /i/3]"
    assert "look again: each path is named alone" in text


def test_what_was_refused_is_left_out_and_said() -> None:
    made, gathered = made_of(
        [
            refused("denied_by_rule", rule="no"),
            refused("address_is_private"),
            refused("protocol_not_allowed", "CONNECT", "https://pin.example:443", scheme="", path=""),
        ]
    )
    assert made.rules == ()
    assert "allow: []" in made.text("x")
    assert sorted(gathered.left_out) == [
        "refused by the deny rule no, which the policy should keep",
        "refused: address_is_private",
        "the client made no request to pin.example:443; if it pins a certificate, it needs `inspect: false`",
    ]


def test_what_passed_by_a_rule_belongs_to_what_was_seen() -> None:
    events = [passed("r", "GET", "https://a.example/x"), tunnel("t.example:8443")]
    text = text_of(*events)
    assert rule(text, "t-example-8443-tunnel") == ["hosts: [t.example]", "ports: [8443]", "inspect: false"]
    assert "look again: a tunnel: nothing inside it is checked or recorded" in text
    assert under(text, events).totals[Outcome.REFUSED] == 0


def test_a_connect_in_which_nothing_was_asked_suggests_no_tunnel() -> None:
    text = text_of(passed("r", "GET", "https://a.example/x"), tunnel("t.example:443", rule=None, upstream_ip=None))
    assert "hosts: [a.example]" in text
    assert "hosts: [t.example]" not in text


@pytest.mark.parametrize("path", ["//x", "/a/../b", "/a;b", "/a%00", "/%252e", "/*", "/a%5cb"])
def test_a_host_that_was_only_read_gets_no_paths_where_no_rule_can_name_one(path: str) -> None:
    events = [event("GET", f"https://a.example{path}"), event("GET", "https://a.example/x")]
    text = text_of(*events)
    assert rule(text, "a-example-read") == ["hosts: [a.example]", "access: read"]
    assert "look again: every path" in text
    assert under(text, events).totals[Outcome.REFUSED] == 0


@pytest.mark.parametrize(
    ("other", "host"),
    [
        (event("POST", "https://a.example/x"), "a.example"),
        (event("POST", "http://a.example:8080/x"), "a.example"),
        (refused("denied_by_rule", "GET", "https://a.example/no", rule="no"), "a.example"),
        (event("GET", "https://github.com/x"), "github.com"),
    ],
)
def test_elsewhere_such_a_path_is_left_out_and_said(other: Event, host: str) -> None:
    _, gathered = made_of([event("GET", f"https://{host}//x"), other])
    assert any(why.startswith("a path that no rule can name") for why in gathered.left_out)
    assert all(not ask.raw for ask in gathered.asks)


def test_many_words_below_one_prefix_are_folded_and_marked_only_where_nothing_was_written() -> None:
    words = [f"{chr(97 + n // 26)}{chr(97 + n % 26)}x" for n in range(60)]
    read = [event("GET", f"https://a.example/docs/{word}") for word in words]
    text = text_of(*read)
    assert rule(text, "a-example-read")[-1] == "paths: [/docs/**]"
    assert "look again: /docs/** stands for 60 different paths" in text
    assert "/docs/aax" in text_of(*read, event("POST", "https://a.example/x"))


@pytest.mark.parametrize(
    ("one", "mark"),
    [
        (event("GET", "http://a.example/"), "plain http"),
        (event("GET", "https://a.example:8443/"), "port 8443"),
        (event("PUT", "https://bucket.s3.amazonaws.com/x"), "is this name yours? buckets"),
        (event("GET", "https://me.github.io/x"), "is this name yours? "),
        (event("POST", "https://pastebin.com/x"), "(drop_host)"),
        (event("GET", "https://docs.google.com/x"), "(user_content_host)"),
        (passed("r", url="https://a.example/x", upstream_ip="10.0.0.1"), "the private address 10.0.0.1"),
    ],
)
def test_what_deserves_a_second_look_is_marked(one: Event, mark: str) -> None:
    assert re.search(rf"# look again: .*{re.escape(mark)}", text_of(one))


def test_a_shared_host_with_its_owner_in_the_path_needs_no_second_look() -> None:
    assert "look again" not in text_of(event("GET", "https://raw.githubusercontent.com/acme/app/main/README.md"))


def test_many_hosts_of_one_domain_are_marked_and_stay_apart() -> None:
    text = text_of(*(event("GET", f"https://h{n}.docs.example.org/x") for n in range(6)))
    assert text.count("- id: ") == 6
    assert text.count('one of 6 hosts of example.org: "*.example.org" would be shorter, and wider') == 6


def test_more_requests_than_are_held_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.review.gather.MAX_ASKS", 5)
    made, gathered = made_of([event("GET", f"https://a.example/w{n}x") for n in range(8)])
    assert sum(each.tally.count for each in made.rules) == 5
    assert sum(tally.count for tally in gathered.left_out.values()) == 3


def test_more_paths_than_anybody_reads_are_left_out_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.review.draft.MAX_PATTERNS", 5)
    made, gathered = made_of([event("PUT", f"https://a.example/w{n}x") for n in range(8)] + [event("GET")])
    assert [each.id for each in made.rules] == ["a-example-read"]
    assert [tally.count for tally in gathered.left_out.values()] == [8]
