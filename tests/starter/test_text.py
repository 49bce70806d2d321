"""The starter policy: it always compiles, passes `check --strict`, and allows nothing but what was found."""

import re
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.policy.rules import READ_METHODS, Rule
from proxy.review.lint import lint
from proxy.review.suggest import compiled
from proxy.starter.agents import AGENTS, KEYS, Chosen
from proxy.starter.entries import entries
from proxy.starter.findings import Findings
from proxy.starter.machine import Found
from proxy.starter.place import Unusable, read_address, read_remote
from proxy.starter.project import Language
from proxy.starter.remotes import Remote
from proxy.starter.text import Starter, starter

TODAY = date(2026, 11, 20)


def found(client: str, text: str, *, project: bool = False) -> Found:
    return Found(client, "a file", read_address(text), project)


def remote(text: str, name: str = "origin") -> Remote:
    return Remote(name, *read_remote(text))


def made(trust_project: bool = False, **findings: Any) -> Starter:
    whole = Findings("app", **findings)
    return starter(whole, "app", entries(whole, trust_project=trust_project), TODAY)


def rules(made: Starter) -> tuple[Rule, ...]:
    part = compiled(made.text)
    assert lint([part], TODAY).warnings == ()
    return part.allow


def paths(rule: Rule) -> list[str]:
    return sorted(str(path) for path in rule.paths or ())


def off(made: Starter) -> dict[str, str]:
    return {each.rule.id: each.off for each in made.entries if each.off}


def uncommented(text: str) -> str:
    """The file with every rule on that stands there with its hosts."""
    lines = [re.sub(r"^( {2,4})#(?=\S|  )", r"\1", line) for line in text.replace("\n#cred", "\ncred").splitlines()]
    return "\n".join(lines).replace("allow: [] #", "allow: #") + "\n"


def test_with_nothing_found_there_is_a_policy_with_an_example() -> None:
    nothing = made()
    assert rules(nothing) == ()
    assert "#- id: docs" in nothing.text
    assert [rule.id for rule in compiled(uncommented(nothing.text)).allow] == ["docs"]


def test_a_client_reads_at_the_place_it_names_and_nowhere_else() -> None:
    (rule,) = rules(made(found=(found("pip", "https://a.example.com:8443/team"),)))
    assert (rule.methods, rule.endpoints) == (READ_METHODS, {("https", 8443)})
    assert paths(rule) == ["/team/**"]


def test_clients_at_one_place_share_a_rule() -> None:
    places = (
        found("pip", "https://a.example.com/py"),
        found("uv", "https://a.example.com/py"),
        found("npm", "https://a.example.com/js"),
    )
    (rule,) = rules(made(found=places))
    assert rule.why == "packages for pip, uv and npm"
    assert paths(rule) == ["/js/**", "/py/**"]
    assert rule.keep_encoded_slash


def test_what_names_the_whole_host_gets_it() -> None:
    (rule,) = rules(made(found=(found("pip", "https://a.example.com/py"), found("uv", "https://a.example.com"))))
    assert rule.paths is None


def test_scoped_packages_pass_on_a_host_with_repositories() -> None:
    rule, _ = rules(
        made(found=(found("npm", "https://git.example.com"),), remotes=(remote("https://git.example.com/a/b"),))
    )[::-1]
    assert (rule.keep_encoded_slash, paths(rule)) == (True, ["/**"])


def test_what_the_project_alone_names_is_off_unless_it_is_trusted() -> None:
    place = found("npm", "https://evil.example.com", project=True)
    assert rules(made(found=(place,))) == ()
    assert off(made(found=(place,))) == {
        "evil-example-com-read": "only a file names it, so whoever wrote the project chose it"
    }
    assert len(rules(made(trust_project=True, found=(place,)))) == 1
    both = made(found=(found("npm", "https://evil.example.com/js"), place))
    assert [str(path) for path in rules(both)[0].paths or ()] == ["/js/**"]


def test_what_the_project_does_not_use_is_off() -> None:
    python = Language("Python", "pip", ("setup.py",))
    places = (
        found("uv", "https://a.example.com"),
        found("npm", "https://b.example.com"),
        found("apt", "http://c.example.com"),
    )
    assert set(off(made(languages=(python,), found=places))) == {"b-example-com-read", "c-example-com-read"}
    assert set(off(made(found=places))) == {"c-example-com-read"}


def test_what_check_would_warn_about_is_off() -> None:
    meta = made(found=(found("pip", "http://169.254.169.254/x"), found("npm", "https://github.com/")))
    assert rules(meta) == ()
    assert {text.rpartition("(")[2] for text in off(meta).values()} == {"metadata_address)", "user_content_host)"}


def test_fetching_is_on_and_pushing_is_off() -> None:
    (rule,) = rules(one := made(remotes=(remote("git@git.example.com:acme/app.git"),)))
    assert paths(rule) == ["/acme/app.git/git-upload-pack", "/acme/app.git/info/refs"]
    assert "SSH" in one.text
    assert list(off(one)) == ["git-origin-push"]
    assert [str(path) for path in compiled(uncommented(one.text)).allow[1].paths or ()] == [
        "/acme/app.git/git-receive-pack"
    ]


def test_a_token_of_github_is_for_the_repository_of_the_remote() -> None:
    one = made(
        keys=("GH_TOKEN",), remotes=(remote("https://github.com/acme/app.git"), remote("https://github.com/acme/app"))
    )
    assert [(rule.id, rule.credential) for rule in rules(one)] == [
        ("git-origin-fetch", "github"),
        ("github-origin-read", "github"),
        ("git-origin-fetch-2", "github"),
    ]
    spec = compiled(one.text).credentials["github"]
    assert (spec.source, spec.placeholder) == ("env:GH_TOKEN", "GH_TOKEN")
    assert [str(host) for host in spec.hosts] == ["api.github.com", "github.com"]
    assert rules(made(keys=("GITHUB_TOKEN",))) == ()


@pytest.mark.parametrize("agent", AGENTS, ids=lambda agent: agent.id)
def test_an_agent_gets_its_rule_and_its_key(agent: Any) -> None:
    one = made(agents=(Chosen(agent, agent.keys[0], set=False),))
    (rule,) = rules(one)
    assert (rule.id, rule.credential) == (agent.id, agent.provider)
    assert f"{agent.keys[0]} is not set here" in one.text


def test_a_login_becomes_a_credential_by_hand() -> None:
    places = (
        found("npm", "https://u:p@a.example.com"),
        found("pip", "https://u:p@b.example.com"),
        found("uv", "http://u:p@c.example.com"),
    )
    one = made(found=places)
    assert [rule.credential for rule in rules(one)] == [None] * 3
    part = compiled(uncommented(one.text))
    assert [rule.credential for rule in part.allow] == ["a-example-com-read-login", "b-example-com-read-login", None]
    assert "cannot be a credential" in one.text


LABEL = st.text("abcxyz019-_*{}[]#:&!|>'\"%@`\\ \n\t\x1b\x00é\u202e", max_size=12)
HOSTILE = st.one_of(
    st.text(max_size=60),
    st.builds(
        "{}://{}.example.com{}/{}/{}".format, st.sampled_from(["https", "http", "ssh"]), LABEL, LABEL, LABEL, LABEL
    ),
    st.builds(
        "https://{}/{}/**".format, st.sampled_from(["github.com", "gitlab.com", "10.0.0.1", "169.254.169.254"]), LABEL
    ),
    st.builds(
        "https://{}.example.com/{}".format, st.sampled_from("abc"), st.sampled_from(["", "x", "x/y", "x/y.git", "z"])
    ),
    st.builds("https://u:p@api.{}.com/{}".format, st.sampled_from(["github", "openai", "anthropic"]), LABEL),
)
TEXT = st.one_of(st.text(max_size=40), LABEL)


def usable_found(client: str, where: str, text: str, project: bool) -> Found | None:
    try:
        return Found(client, where, read_address(text), project)
    except Unusable:
        return None


def usable_remote(name: str, text: str) -> Remote | None:
    try:
        return Remote(name, *read_remote(text))
    except Unusable:
        return None


FOUND = st.builds(
    usable_found, st.sampled_from(["pip", "uv", "npm", "cargo", "go", "apt"]), TEXT, HOSTILE, st.booleans()
)
FINDINGS = st.builds(
    Findings,
    st.just("app"),
    languages=st.lists(
        st.builds(Language, TEXT, st.sampled_from(["pip", "npm", None]), st.lists(TEXT, max_size=2).map(tuple)),
        max_size=2,
    ).map(tuple),
    agents=st.lists(st.sampled_from(AGENTS), max_size=2, unique_by=lambda agent: agent.provider).map(
        lambda chosen: tuple(Chosen(agent, agent.keys[0], set=True) for agent in chosen)
    ),
    keys=st.lists(st.sampled_from(KEYS), max_size=3).map(tuple),
    found=st.lists(FOUND, max_size=6).map(lambda each: tuple(one for one in each if one)),
    remotes=st.lists(st.builds(usable_remote, TEXT, HOSTILE), max_size=4).map(
        lambda each: tuple(one for one in each if one)
    ),
    unknown=st.lists(TEXT, max_size=2).map(tuple),
    remarks=st.lists(TEXT, max_size=25).map(tuple),
)


@settings(max_examples=150, deadline=None)
@given(FINDINGS, st.booleans())
def test_hostile_findings_give_a_policy_that_allows_nothing_but_the_found_hosts(
    findings: Findings, trust: bool
) -> None:
    made = starter(findings, "app", entries(findings, trust_project=trust), TODAY)
    part = compiled(made.text)
    assert lint([part], TODAY).warnings == ()
    assert part.deny == ()
    assert part.model.mode == "enforce"
    allowed = {
        (place.host.name, place.scheme, place.port)
        for place in (
            *(each.place for each in findings.remotes),
            *(each.place for each in findings.found if trust or not each.project),
        )
    }
    allowed |= {(each.agent.host, "https", 443) for each in findings.agents}
    if any(each.place.host.name == "github.com" for each in findings.remotes):
        allowed.add(("api.github.com", "https", 443))
    for rule in part.allow:
        names = [*map(str, rule.hosts), *(str(network.network_address) for network in rule.networks)]
        assert not any(host.wildcard for host in rule.hosts)
        assert all(network.num_addresses == 1 for network in rule.networks)
        assert rule.methods is not None
        assert rule.methods <= READ_METHODS | {"POST"}
        for name in names:
            assert {(name, scheme, port) for scheme, port in rule.endpoints or ()} <= allowed
    bound = {str(host) for spec in part.credentials.values() for host in spec.hosts}
    assert bound <= {"api.anthropic.com", "api.openai.com", "api.github.com", "github.com"}
