"""The policies that ship: each loads, alone and as a folder, and decides what its comments say."""

from datetime import date
from pathlib import Path

import pytest

from proxy.config.load import load_policies, load_policy
from proxy.policy.decide import decide, decide_connect
from proxy.policy.host import parse_authority, parse_host
from proxy.policy.reason import Reason
from proxy.policy.request import Request
from proxy.policy.rules import Policy

POLICIES = Path(__file__).parents[2] / "policies"
TODAY = date(2026, 6, 1)
NAMES = ["baseline", "claude-code", "codex", "one-github-issue", "private-service", "python-sdk"]


def shipped(name: str) -> Policy:
    return load_policy(POLICIES / f"{name}.yaml")


def test_the_folder_loads_as_a_whole_and_every_file_is_named_after_its_policy() -> None:
    policies = load_policies([POLICIES])

    assert [policy.name for policy in policies] == NAMES
    assert [Path(policy.source).stem for policy in policies] == NAMES
    assert policies == tuple(shipped(name) for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_file_names_its_schema_and_enforces(name: str) -> None:
    first = (POLICIES / f"{name}.yaml").read_text().splitlines()[0]

    assert first == "# yaml-language-server: $schema=schema.json"
    assert not shipped(name).observe


@pytest.mark.parametrize("name", NAMES)
def test_every_policy_keeps_the_machine_s_own_credentials_out_of_reach(name: str) -> None:
    policy = shipped(name)

    assert {"169.254.169.254/32", "fd00:ec2::254/128"} <= {str(network) for network in policy.denied_networks}
    decision = decide(policy, Request("http", parse_host("169.254.169.254"), 80, "GET", "/"), TODAY)
    assert (decision.reason, decision.rule) == (Reason.DENIED_BY_RULE, "baseline-cloud-metadata")


A, O, G = "https://api.anthropic.com", "https://api.openai.com", "https://api.github.com"  # noqa: E741
REPORTS = "https://reports.internal.example.com:8443/api/reports"
DECISIONS = [
    ("baseline", f"POST {A}/v1/files", Reason.DENIED_BY_RULE, "baseline-anthropic-stores"),
    ("baseline", f"GET {A}/V1/Files/x", Reason.DENIED_BY_RULE, "baseline-anthropic-stores"),
    ("baseline", f"POST {O}/v1/realtime/client_secrets", Reason.DENIED_BY_RULE, "baseline-openai-keys"),
    ("baseline", f"POST {G}/gists", Reason.DENIED_BY_RULE, "baseline-gist-api"),
    ("baseline", f"POST {G}/app/installations/7/access_tokens", Reason.DENIED_BY_RULE, "baseline-github-keys"),
    ("baseline", "POST https://discord.com/api/webhooks/1/x", Reason.DENIED_BY_RULE, "baseline-discord-webhooks"),
    ("baseline", "GET https://example.com/", Reason.HOST_NOT_ALLOWED, None),
    ("claude-code", f"POST {A}/v1/messages?beta=true", Reason.ALLOWED, "claude-messages"),
    ("claude-code", f"POST {A}/v1/messages/count_tokens?beta=true", Reason.ALLOWED, "claude-messages"),
    ("claude-code", f"POST {A}/v1/messages/batches", Reason.DENIED_BY_RULE, "baseline-anthropic-stores"),
    ("claude-code", f"POST {A}/v1/files", Reason.DENIED_BY_RULE, "baseline-anthropic-stores"),
    ("claude-code", f"GET {A}/v1/messages", Reason.METHOD_NOT_ALLOWED, None),
    ("claude-code", f"POST {A}/v1//messages", Reason.AMBIGUOUS_PATH, "baseline-anthropic-keys"),
    ("claude-code", f"POST {A}/api/event_logging/v2/batch", Reason.PATH_NOT_ALLOWED, None),
    ("claude-code", "POST http://api.anthropic.com/v1/messages", Reason.SCHEME_NOT_ALLOWED, None),
    ("codex", f"GET {O}/v1/responses", Reason.ALLOWED, "codex-responses"),
    ("codex", f"POST {O}/v1/responses", Reason.ALLOWED, "codex-responses"),
    ("codex", f"POST {O}/v1/files", Reason.DENIED_BY_RULE, "baseline-openai-stores"),
    ("codex", f"GET {G}/repos/openai/plugins", Reason.HOST_NOT_ALLOWED, None),
    ("python-sdk", f"POST {A}/v1/messages", Reason.ALLOWED, "sdk-anthropic"),
    ("python-sdk", f"GET {A}/v1/models?limit=5", Reason.ALLOWED, "sdk-anthropic-models"),
    ("python-sdk", f"POST {O}/v1/chat/completions", Reason.ALLOWED, "sdk-openai"),
    ("python-sdk", f"DELETE {O}/v1/models/x", Reason.METHOD_NOT_ALLOWED, None),
    ("python-sdk", "GET https://en.docs.example.com/x;y", Reason.ALLOWED, "sdk-docs"),
    ("python-sdk", "POST https://docs.example.com/", Reason.METHOD_NOT_ALLOWED, None),
    ("one-github-issue", f"POST {G}/repos/acme/app/issues/42/comments", Reason.ALLOWED, "issue-42-comments"),
    ("one-github-issue", f"GET {G}/repos/acme/app/issues/42/comments", Reason.METHOD_NOT_ALLOWED, None),
    ("one-github-issue", f"POST {G}/repos/acme/app/issues/421/comments", Reason.PATH_NOT_ALLOWED, None),
    ("one-github-issue", f"POST {G}/repos/acme/app/issues/42/comments/", Reason.PATH_NOT_ALLOWED, None),
    ("one-github-issue", f"POST {G}/repos/acme/other/issues/42/comments", Reason.PATH_NOT_ALLOWED, None),
    ("one-github-issue", f"POST {G}/graphql", Reason.PATH_NOT_ALLOWED, None),
    ("one-github-issue", f"POST {G}/gists", Reason.DENIED_BY_RULE, "baseline-gist-api"),
    ("private-service", f"GET {REPORTS}/7?format=json&version=2", Reason.ALLOWED, "reports-read"),
    ("private-service", f"GET {REPORTS}/7?format=json&version=2&version=3", Reason.QUERY_NOT_ALLOWED, None),
    ("private-service", f"GET {REPORTS}/7", Reason.QUERY_NOT_ALLOWED, None),
    ("private-service", f"POST {REPORTS}/7?format=json&version=2", Reason.METHOD_NOT_ALLOWED, None),
    ("private-service", f"GET {REPORTS.replace(':8443', '')}", Reason.PORT_NOT_ALLOWED, None),
    ("private-service", "GET https://10.20.31.1:8443/api/reports", Reason.ADDRESS_NOT_ALLOWED, None),
]


@pytest.mark.parametrize(("name", "line", "reason", "rule"), DECISIONS)
def test_decisions_of_the_shipped_policies(name: str, line: str, reason: Reason, rule: str | None) -> None:
    decision = decide(shipped(name), request(line), TODAY)

    assert (decision.reason, decision.rule) == (reason, rule)


@pytest.mark.parametrize(
    ("name", "line", "credential"),
    [
        ("claude-code", f"POST {A}/v1/messages", "anthropic"),
        ("codex", f"GET {O}/v1/responses", "openai"),
        ("python-sdk", f"GET {O}/v1/models", "openai"),
        ("python-sdk", "GET https://docs.example.com/", None),
        ("private-service", f"GET {REPORTS}?version=2&format=json", "reports"),
    ],
)
def test_credentials_of_the_shipped_policies(name: str, line: str, credential: str | None) -> None:
    assert decide(shipped(name), request(line), TODAY).credential == credential


def test_only_the_private_service_may_be_dialled_at_a_private_address() -> None:
    decision = decide(shipped("private-service"), request(f"GET {REPORTS}?version=2&format=json"), TODAY)

    assert [str(network) for network in decision.networks] == ["10.20.30.0/24"]
    assert decide_connect(shipped("codex"), parse_host("api.openai.com"), 8443, TODAY).decision.allowed is False


def request(line: str) -> Request:
    method, _, url = line.partition(" ")
    scheme, _, rest = url.partition("://")
    authority, slash, target = rest.partition("/")
    where = parse_authority(authority, {"https": 443, "http": 80}[scheme])
    return Request(scheme, where.host, where.port, method, slash + target)
