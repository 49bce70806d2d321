"""Each warning: when it is given, where it points, what silences it, and when it must not be given."""

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.config.known import CREDENTIAL_WARNINGS, FILE_WARNINGS, RULE_WARNINGS
from proxy.config.load import load_policy, survey
from proxy.review import risky
from proxy.review.lint import UNNEEDED, Lint, lint

TODAY = date(2026, 6, 1)
ROOT = Path(__file__).parents[2]
type Judge = Callable[..., Lint]


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    """Lint `agent.yaml` with this text behind its first two lines; `bases` are other files of the folder."""

    def run(text: str, today: date = TODAY, **bases: str) -> Lint:
        for name, base in bases.items():
            (tmp_path / f"{name}.yaml").write_text(f"version: 1\nname: {name}\n{base}")
        (tmp_path / "agent.yaml").write_text(f"version: 1\nname: agent\n{text}")
        sources, problems = survey([tmp_path / "agent.yaml"])
        assert problems == ()
        return lint(sources[0], today)

    return run


def codes(found: Lint) -> list[str]:
    return [finding.code for finding in found.warnings]


def rule(keys: str, rest: str = "") -> str:
    return f"allow:\n  - {{id: a, why: work, {keys}}}\n{rest}"


BOUND = "credentials:\n  c: {from: 'env:X', hosts: ['*.anthropic.com', api.anthropic.com], inject: {bearer: true}"
BOUND += ", accept: [credential_unused_host]}\n"


@pytest.mark.parametrize(
    "keys",
    [
        "hosts: ['*.amazonaws.com']",
        "hosts: ['*.queue.amazonaws.com']",
        "hosts: ['*.windows.net']",
        "hosts: ['*.core.windows.net']",
        "hosts: ['*.google.com']",
        "hosts: ['*.api.aws']",
        "hosts: ['*.sourceforge.net']",
        "hosts: ['*.sentry.io']",
        "hosts: ['*.r2.cloudflarestorage.com']",
        "hosts: [storage.googleapis.com]",
        "hosts: [storage.googleapis.com], paths: ['/**']",
        "hosts: [storage.googleapis.com], paths: ['/*/o/x']",
        "hosts: [storage.googleapis.com], paths: [/bucket/x, '/*']",
        "hosts: [s3.amazonaws.com]",
        "hosts: [s3.eu-central-1.amazonaws.com]",
        "hosts: [s3-us-west-2.amazonaws.com]",
        "hosts: [s3.dualstack.us-west-2.amazonaws.com]",
        "hosts: [raw.githubusercontent.com]",
        "hosts: [gist.github.com]",
        "hosts: [github.com]",
        "hosts: [github.com], inspect: false",
        "hosts: [translate.google.com], paths: [/a/b/c]",
    ],
)
def test_a_host_of_anybodys_content_is_named(judge: Judge, keys: str) -> None:
    (finding, *more) = judge(rule(keys)).warnings

    assert (finding.code, finding.path) == ("user_content_host", ("allow", 0, "hosts", 0))
    assert finding.hint
    assert all(each.code == "drop_host" for each in more)


@pytest.mark.parametrize(
    "keys",
    [
        "hosts: [bucket.s3.amazonaws.com]",
        "hosts: [account.blob.core.windows.net]",
        "hosts: ['*.my-app.pages.dev']",
        "hosts: ['*.account.r2.cloudflarestorage.com']",
        "hosts: [storage.googleapis.com], paths: ['/bucket/**']",
        "hosts: [raw.githubusercontent.com], paths: ['/acme/**', '/acme2/app/main/x']",
        "hosts: [github.com], paths: [/acme/app.git/info/refs, /acme/app.git/git-upload-pack], methods: [GET, POST]",
        "hosts: ['*.example.com', docs.example.org]",
        "hosts: ['*.notamazonaws.com']",
        "hosts: [sentry.io]",
        "addresses: [10.1.2.0/24]",
    ],
)
def test_a_host_of_one_owner_is_not(judge: Judge, keys: str) -> None:
    assert codes(judge(rule(keys))) == []


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("hosts: [api.anthropic.com], methods: [POST], paths: [/v1/messages]", "whoever's key"),
        ("hosts: [api.openai.com], access: any", "whoever's key"),
        ("hosts: [api.openai.com], inspect: false", "whoever's key"),
        ("hosts: ['*.openai.com'], methods: [POST]", "api.openai.com"),
        ("hosts: [generativelanguage.googleapis.com], methods: [POST]", "whoever's key"),
        ("hosts: [api.github.com], methods: [PATCH], paths: ['/repos/acme/app/**']", "whoever's key"),
        ("hosts: [github.com], methods: [POST], paths: ['/acme/**']", "push"),
        ("hosts: [api.anthropic.com], methods: [POST], paths: ['/v1/**'], credential: c", "/v1/files/**"),
        ("hosts: [api.anthropic.com], methods: [POST], paths: ['/v1/*'], credential: c", "/v1/files/**"),
        ("hosts: [hooks.slack.com], methods: [POST]", "webhook"),
        ("hosts: [hooks.slack.com], methods: [POST], paths: ['/services/T/B/*']", "webhook"),
        ("hosts: [discord.com], methods: [POST], paths: ['/api/webhooks/**']", "webhook"),
        ("hosts: [api.telegram.org]", "bot"),
        ("hosts: [webhook.site]", "anybody"),
    ],
)
def test_a_drop_is_named_with_its_reason(judge: Judge, keys: str, said: str) -> None:
    found = judge(rule(keys, BOUND if "credential" in keys else ""))
    (finding,) = [each for each in found.warnings if each.code == "drop_host"]

    assert finding.path == ("allow", 0, "hosts", 0)
    assert said in finding.message


@pytest.mark.parametrize(
    "keys",
    [
        "hosts: [api.anthropic.com]",
        "hosts: [api.anthropic.com], methods: [POST], paths: [/v1/messages], credential: c",
        "hosts: [api.anthropic.com], paths: ['/v1/files/**'], credential: c",
        "hosts: [hooks.slack.com], methods: [POST], paths: [/services/T/B/x]",
        "hosts: [hooks.slack.com], paths: ['/services/**']",
        "hosts: [api.telegram.org], methods: [POST], paths: ['/bot1:x/*']",
    ],
)
def test_a_rule_that_cannot_drop_is_left_alone(judge: Judge, keys: str) -> None:
    assert codes(judge(rule(keys, BOUND if "credential" in keys else ""))) == []


def test_a_credential_that_is_not_bound_to_the_host_does_not_help(judge: Judge) -> None:
    keys = "hosts: [api.openai.com, api.anthropic.com], methods: [POST], paths: [/v1/x], credential: c"

    (finding,) = judge(rule(keys, BOUND)).warnings

    assert (finding.code, finding.message.split(":")[0]) == ("drop_host", "data can be left at api.openai.com")


def test_a_deny_rule_closes_the_drop(judge: Judge) -> None:
    keys = "hosts: [api.anthropic.com], methods: [POST], paths: ['/v1/**'], credential: c"
    base = "deny:\n  - {id: d, why: w, hosts: [api.anthropic.com], paths: ['/v1/files/**', '/v1/skills/**']}\n"

    assert codes(judge("extends: [base]\n" + rule(keys, BOUND), base=base)) == []
    half = base.replace(", '/v1/skills/**'", "")
    assert codes(judge("extends: [base]\n" + rule(keys, BOUND), base=half)) == ["drop_host"]


def test_what_a_deny_rule_closes_of_a_wildcard_is_not_told(judge: Judge) -> None:
    text = rule("hosts: ['*.slack.com'], access: any", "deny:\n  - {id: d, why: w, hosts: [hooks.slack.com]}\n")

    assert codes(judge(text)) == []


@pytest.mark.parametrize(
    ("why", "keys", "warned"),
    [
        ("reading documentation", "methods: [GET, POST]", True),
        ("the docs", "access: any", True),
        ("Downloads of releases", "methods: [PUT]", True),
        ("browse the wiki", "inspect: false", True),
        ("reading documentation", "access: read", False),
        ("reading documentation", "methods: [GET, PROPFIND]", False),
        ("reads and comments on issues", "methods: [GET, POST]", False),
        ("the model this agent runs on", "methods: [POST]", False),
        ("a bread shop", "methods: [POST]", False),
        ("cloning, to read the source", "methods: [POST], paths: [/a/b.git/git-upload-pack]", False),
    ],
)
def test_a_reason_that_speaks_of_reading_is_held_to_it(judge: Judge, why: str, keys: str, warned: bool) -> None:
    found = judge(f"allow:\n  - {{id: a, why: '{why}', hosts: [a.example.com], {keys}}}\n")

    assert [(each.code, each.path) for each in found.warnings] == (
        [("write_against_why", ("allow", 0, "why"))] if warned else []
    )


@pytest.mark.parametrize(
    ("expires", "warned"),
    [
        ("2026-05-31", ["rule_expired"]),
        ("2026-06-01", ["rule_expiring"]),
        ("2026-06-15", ["rule_expiring"]),
        ("2026-06-16", []),
    ],
)
def test_the_last_day_of_a_rule(judge: Judge, expires: str, warned: list[str]) -> None:
    assert codes(judge(rule(f"hosts: [a.example.com], expires: {expires}"))) == warned


@pytest.mark.parametrize("today", [date(2026, 1, 1), date(2026, 6, 10), date(2027, 1, 1)])
def test_an_acceptance_of_what_comes_with_time_is_never_unneeded(judge: Judge, today: date) -> None:
    text = rule("hosts: [a.example.com], expires: 2026-06-15, accept: [rule_expiring, rule_expired]")

    assert codes(judge(text, today)) == []


@pytest.mark.parametrize(
    ("addresses", "warned"),
    [
        ("10.0.0.0/16", []),
        ("10.0.0.0/15", ["wide_addresses"]),
        ("'fd00::/48'", []),
        ("'fd00::/47'", ["wide_addresses"]),
        ("169.254.169.254", ["metadata_address"]),
        ("169.254.0.0/16", ["metadata_address"]),
        ("0.0.0.0/0", ["wide_addresses", "metadata_address"]),
    ],
)
def test_addresses(judge: Judge, addresses: str, warned: list[str]) -> None:
    assert codes(judge(rule(f"addresses: [{addresses}]"))) == warned


def test_a_denied_metadata_address_is_not_told(judge: Judge) -> None:
    deny = "deny:\n  - {id: d, why: w, addresses: [169.254.169.254, 169.254.170.2]}\n"

    assert codes(judge(rule("addresses: [169.254.0.0/16]", deny))) == []
    assert "metadata_address" in codes(
        judge(rule("addresses: [169.254.0.0/16]", deny.replace("w,", "w, ports: [80],")))
    )


@pytest.mark.parametrize(("paths", "warned"), [("", True), ("paths: ['/**'],", True), ("paths: ['/v1/**'],", False)])
def test_a_credential_for_every_path(judge: Judge, paths: str, warned: bool) -> None:
    found = judge(
        f"allow:\n  - {{id: a, why: work, hosts: [a.example.com], {paths} credential: c}}\n"
        "credentials:\n  c: {from: 'env:X', hosts: [a.example.com], inject: {bearer: true}}\n"
    )
    assert [(each.code, each.path) for each in found.warnings] == (
        [("credential_any_path", ("allow", 0, "credential"))] if warned else []
    )


@pytest.mark.parametrize(
    ("rule_hosts", "bound", "unused"),
    [
        ("a.example.com", "a.example.com", []),
        ("'*.example.com'", "a.example.com", []),
        ("'*.example.com'", "'*.x.example.com'", []),
        ("a.example.com", "a.example.com, b.example.com", [1]),
        ("a.example.com", "'*.example.com'", [0]),
        ("'*.x.example.com'", "'*.example.com'", [0]),
    ],
)
def test_a_binding_wider_than_its_rules(judge: Judge, rule_hosts: str, bound: str, unused: list[int]) -> None:
    found = judge(
        f"allow:\n  - {{id: a, why: work, hosts: [{rule_hosts}], paths: [/a], credential: c}}\n"
        f"credentials:\n  c: {{from: 'env:X', hosts: [{bound}], inject: {{bearer: true}}}}\n"
    )
    assert [(each.code, each.path) for each in found.warnings] == [
        ("credential_unused_host", ("credentials", "c", "hosts", index)) for index in unused
    ]


def test_a_placeholder_that_no_living_rule_uses(judge: Judge) -> None:
    text = (
        "allow:\n  - {id: a, why: work, hosts: [a.example.com], paths: [/a], credential: c, expires: 2026-05-01}\n"
        "  - {id: b, why: work, hosts: [b.example.com], paths: [/b/c], credential: c}\n"
        "deny:\n  - {id: d, why: w, hosts: [b.example.com], paths: ['/b/**']}\n"
        "credentials:\n  c: {from: 'env:X', hosts: [a.example.com, b.example.com], inject: {bearer: true}, "
        "placeholder: KEY}\n"
    )
    assert codes(judge(text)) == ["rule_expired", "rule_denied", "placeholder_unused"]
    assert codes(judge(text, date(2026, 4, 1))) == ["rule_denied"]


def test_shadowed_and_dead_rules_name_the_others(judge: Judge) -> None:
    found = judge(
        "allow:\n  - {id: wide, why: work, hosts: ['*.example.com'], paths: ['/**']}\n"
        "  - {id: narrow, why: work, hosts: [a.example.com], paths: [/a]}\n"
        "  - {id: dead, why: work, hosts: [b.example.org], paths: [/Admin/]}\n"
        "deny:\n  - {id: never, why: w, hosts: ['*.example.org'], paths: [/admin]}\n"
    )
    shadowed, dead = found.warnings

    assert (shadowed.code, shadowed.path, "`wide`" in shadowed.message) == ("rule_shadowed", ("allow", 1, "id"), True)
    assert (dead.code, dead.path, "`never`" in dead.message) == ("rule_denied", ("allow", 2, "id"), True)
    assert "agent.yaml:4" in shadowed.message


def test_a_rule_is_judged_beside_its_bases_and_not_beside_what_extends_it(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("version: 1\nname: base\n" + rule("hosts: [a.example.com]"))
    wide = "allow:\n  - {id: b, why: work, hosts: ['*.example.com']}\n  - {id: c, why: work, hosts: [a.example.com]}\n"
    (tmp_path / "top.yaml").write_text(f"version: 1\nname: top\nextends: [base]\n{wide}")

    sources, _ = survey([tmp_path])

    assert {parts[0].model.name: codes(lint(parts, TODAY)) for parts in sources} == {
        "base": [],
        "top": ["rule_shadowed"],
    }


def test_observe_mode_is_accepted_at_the_top(judge: Judge) -> None:
    assert codes(judge("mode: observe\n")) == ["observe_mode"]
    found = judge("mode: observe\naccept: [observe_mode]\n")
    assert (codes(found), [each.code for each in found.accepted]) == ([], ["observe_mode"])


def test_an_acceptance_that_is_not_needed_is_told(judge: Judge) -> None:
    found = judge("accept: [observe_mode]\n" + rule("hosts: [github.com], accept: [drop_host, user_content_host]"))

    assert [(each.code, each.path) for each in found.warnings] == [
        (UNNEEDED, ("accept", 0)),
        (UNNEEDED, ("allow", 0, "accept", 0)),
    ]
    assert [each.code for each in found.accepted] == ["user_content_host"]


def test_an_acceptance_counts_for_its_own_entry_alone(judge: Judge) -> None:
    text = rule("hosts: [github.com], accept: [user_content_host]") + "  - {id: b, why: w, hosts: [gitlab.com]}\n"

    (finding,) = judge(text).warnings

    assert finding.subject == ("allow", 1)


def test_accepting_changes_neither_rules_nor_digest(tmp_path: Path) -> None:
    plain = "version: 1\nname: agent\nmode: observe\n" + rule("hosts: [github.com]")
    (tmp_path / "plain.yaml").write_text(plain)
    (tmp_path / "said.yaml").write_text(
        plain.replace("allow:", "accept: [observe_mode]\nallow:").replace("com]", "com], accept: [user_content_host]")
    )
    one, other = load_policy(tmp_path / "plain.yaml"), load_policy(tmp_path / "said.yaml")

    assert one.digest == other.digest
    assert [each.hosts for each in one.rules] == [each.hosts for each in other.rules]


def test_the_shipped_policies_have_no_warning() -> None:
    sources, problems = survey([ROOT / "policies"])

    assert problems == ()
    assert {parts[0].model.name: codes(lint(parts, TODAY)) for parts in sources} == {
        file.stem: [] for file in (ROOT / "policies").glob("*.yaml")
    }


def test_the_table_of_hosts_is_consistent() -> None:
    names = [
        [each.host for each in risky.OPEN],
        [each.host for each in risky.DROPS],
        [each.suffix for each in risky.SHARED],
    ]

    assert all(len(each) == len(set(each)) for each in names)
    assert all(name == name.lower() and not name.startswith(("*", ".")) for each in names for name in each)
    assert all(each.what and each.safer for each in risky.SHARED)
    assert all(each.what and not (each.stores and each.segments) for each in risky.DROPS)


HOSTS = [
    *(each.host for each in risky.OPEN[:6]),
    "*.amazonaws.com",
    "*.google.com",
    "api.openai.com",
    "a.example.com",
]


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_a_file_that_accepts_all_that_is_told_has_no_warning_left(judge: Judge, data: st.DataObject) -> None:
    rules = [
        {
            "id": f"r{number}",
            "why": data.draw(st.sampled_from(["reading", "work"])),
            "hosts": data.draw(st.lists(st.sampled_from(HOSTS), min_size=1, max_size=3)),
            "access": data.draw(st.sampled_from(["read", "any"])),
            **data.draw(st.sampled_from([{}, {"paths": ["/a/**"]}, {"paths": ["/**"]}])),
            **data.draw(st.sampled_from([{}, {"expires": "2026-06-02"}, {"expires": "2020-01-01"}])),
        }
        for number in range(data.draw(st.integers(1, 4)))
    ]
    import json

    first = judge(f"allow: {json.dumps(rules)}\n")
    for number, each in enumerate(rules):
        if accept := sorted({finding.code for finding in first.warnings if finding.subject == ("allow", number)}):
            each["accept"] = accept
    second = judge(f"allow: {json.dumps(rules)}\n")

    assert second.warnings == ()
    assert len(second.accepted) == len(first.warnings)


def test_every_code_that_can_be_accepted_can_be_given() -> None:
    source = "".join(file.read_text() for file in (ROOT / "proxy/review").glob("lint*.py") if "report" not in file.name)

    for code in (*FILE_WARNINGS, *RULE_WARNINGS, *CREDENTIAL_WARNINGS):
        assert f'"{code}"' in source
