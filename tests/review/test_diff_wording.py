"""The policies of this repository, changed as people change them, and what a reviewer then reads."""

from pathlib import Path

import pytest

from proxy.review import diff_report
from proxy.review.changes import compare_all
from tests.review.diff_texts import TEXTS, TODAY, Edits, compared, edited, load

DOCS = 'hosts: [docs.example.com, "*.docs.example.com"] # the wildcard does not include docs.example.com itself'
OPENAI = "from: env:OPENAI_API_KEY\n    hosts: [api.openai.com"
THREE = "paths: [/v1/responses, /v1/chat/completions, /v1/embeddings]\n    credential: openai"
QUERY = '    query: {format: json, version: "2"}\n'
MORE = "  - {id: more, why: w, hosts: [api.openai.com], methods: [POST], paths: [/v1/embeddings], credential: openai}"

# The file, what becomes of it, whether an agent may do more then, and lines of the answer.
TABLE: list[tuple[str, Edits, bool, list[str]]] = [
    ("python-sdk", [("[docs.example.com,", "[files.example.org, docs.example.com,")], True,
     ["newly allowed:", "GET, HEAD and OPTIONS to files.example.org", "marks       new host", "paths       any"]),
    ("one-github-issue", [("issues/42/comments]", "issues/*/comments]")], True,
     ["POST to api.github.com", "marks       new write access, new credential reach, wildcard widened",
      "paths       /repos/acme/app/issues/*/comments; except /repos/acme/app/issues/42/comments",
      "credential  file:/run/secrets/github-token (github) is sent as github wants it"]),
    ("one-github-issue", [("app/issues/42/comments]", "app/**]")], True,
     ["paths       /repos/acme/app/**; except /repos/acme/app/issues/42/comments, " + ", ".join(
         f"/repos/*/*{path} (any spelling)" for path in ("", "/actions/runners/**", "/collaborators/**", "/hooks/**",
                                                         "/invitations/**", "/keys/**", "/pages", "/transfer"))]),
    ("python-sdk", [("    access: read", "    access: any")], True,
     ["any method but GET, HEAD and OPTIONS to docs.example.com and *.docs.example.com",
      "marks       new write access"]),
    ("one-github-issue", [("methods: [POST]", "access: any")], True, ["any method but POST to api.github.com"]),
    ("baseline", [("[/v1/oauth/**, /*/oauth/token/**]", "[/*/oauth/token/**]")], False,
     ["no longer denied by a rule, yet not allowed:", "marks       deny removed",
      "paths       /v1/oauth/** (any spelling); except /*/oauth/token/** (any spelling)"]),
    ("python-sdk", [('"*.docs.example.com"', '"*.example.com"')], True,
     ["GET, HEAD and OPTIONS to *.example.com (except docs.example.com, *.docs.example.com)",
      "marks       new host, wildcard widened"]),
    ("python-sdk", [("    access: read", "    inspect: false")], True,
     ["any method but GET, HEAD and OPTIONS, unseen in a tunnel, to docs.example.com and *.docs.example.com",
      "marks       new write access, inspection switched off",
      "inspection  off: only host and port are checked"]),
    ("private-service", [("10.20.30.0/24", "10.20.30.0/23")], True,
     ["GET, HEAD and OPTIONS to 10.20.31.0/24", "addresses   names may now resolve into 10.20.31.0/24",
      "marks       private addresses opened"]),
    ("python-sdk", [("    access: read", "    addresses: [192.168.7.0/24]\n    access: read")], True,
     ["GET, HEAD and OPTIONS to 192.168.7.0/24", "addresses   names may now resolve into 192.168.7.0/24"]),
    ("python-sdk", [(OPENAI, OPENAI + ", docs.example.com"), ("access: read", "access: read\n    credential: openai")],
     True, ["credential openai: hosts was api.openai.com, is now api.openai.com, docs.example.com",
            "still allowed, but differently:", "marks       new credential reach",
            "credential  env:OPENAI_API_KEY (openai) is sent as openai wants it; before: no secret is sent"]),
    ("claude-code", [("env:ANTHROPIC", "env:OTHER")], True, ["marks       new credential reach"]),
    ("claude-code", [("placeholder: ANTHROPIC_API_KEY", "placeholder: OTHER")], False,
     ["claude-code: every request fares as before",
      "credential anthropic: placeholder was ANTHROPIC_API_KEY, is now OTHER"]),
    ("private-service", [(QUERY, "    query: {format: json}\n")], True,
     ["query       format=json; except format=json&version=2"]),
    ("private-service", [(QUERY, "")], True, ["query       any; except format=json&version=2"]),
    ("codex", [("name: codex", "name: codex\nmode: observe")], True,
     ["mode was enforce, is now observe: what no rule allows passes, unless a deny rule or an address check forbids it",
      "any method to any host that no rule names",
      "now         passes in observe mode, allowed by no rule"]),
    ("private-service", [("ports: [8443]", "ports: [443, 8443]")], True, ["over        https"]),
    ("python-sdk", [("    access: read", "    access: read\n    schemes: [http, https]")], True,
     ["marks       cleartext http", "over        http"]),
    ("codex", [("methods: [GET, POST]", "methods: [POST]")], False,
     ["no longer allowed:", "GET to api.openai.com", "credential  no longer sent there: env:OPENAI_API_KEY (openai)"]),
    ("codex", [("methods: [GET, POST]", "methods: [GET, POST]\n    http2: true")], False,
     ["http2       offered to clients"]),
    ("codex", [("methods: [GET, POST]", "methods: [GET, POST]\n    trace_context: keep")], True,
     ["marks       trace headers of the client go upstream", "trace       the client's trace headers go upstream"]),
    ("one-github-issue", [("# expires: 2027-01-31", "expires: 2027-01-31")], False,
     ["days        from 2027-02-01 on", "now         allowed by no rule that has not expired"]),
    ("python-sdk", [("    access: read", "    access: read\n    paths: [/simple/*]")], False,
     ["paths       /**, paths that servers read differently; except /simple/*"]),
]  # fmt: skip

SAME: list[tuple[str, Edits]] = [
    ("python-sdk", [("id: sdk-docs", "id: docs"), ("why: the list of models", "why: other words")]),
    ("python-sdk", [(THREE, THREE.replace(", /v1/embeddings", "") + "\n" + MORE)]),
    ("codex", [("methods: [GET, POST]", "methods: [POST, GET]")]),
    ("python-sdk", [("    access: read", "    methods: [OPTIONS, HEAD, GET]")]),
    ("codex", [("openai:\n    provider", "renamed:\n    provider"), ("credential: openai", "credential: renamed")]),
    ("claude-code", [("paths: [/v1/messages,", "paths: [/v1/messages, /v1/messages,")]),
]


@pytest.mark.parametrize(("name", "edits", "widening", "lines"), TABLE)
def test_what_a_reviewer_reads(tmp_path: Path, name: str, edits: Edits, widening: bool, lines: list[str]) -> None:
    diffs = compared(tmp_path, name, edits)

    found = [line.strip() for line in diff_report.as_lines(diffs)]
    assert [line for line in lines if line not in found] == [], "\n".join(found)
    assert any(diff.widening for diff in diffs) is widening
    assert diff_report.as_document(diffs)["widening"] is widening
    assert ("more than before" in found[0]) is widening


AGENT = """\
version: 1
name: agent
allow:
  - id: issues
    why: issues of one repository
    hosts: [api.github.com]
    methods: [GET, POST]
    paths: [/repos/acme/app/issues/**]
    credential: github
  - id: docs
    why: reading documentation
    hosts: [docs.example.com, "*.readthedocs.io"]
    access: read
  - id: npm
    why: packages
    hosts: [npm.example.com]
    paths: [/left-pad/*]
    query: {write: "false"}
deny:
  - id: never
    why: never
    hosts: [api.github.com]
    paths: [/repos/acme/app/issues/42, /admin/**]
  - id: nets
    why: never
    addresses: [8.8.8.0/24]
credentials:
  github:
    from: file:/run/secrets/github
    hosts: [api.github.com]
    inject: {bearer: true}
"""

# What becomes of the policy above, lines of the answer, and lines or beginnings of lines that are not in it.
EDITS: list[tuple[str, Edits, list[str], list[str]]] = [
    ("a deny rule inside what is allowed goes", [("42, /admin", "7/x, /admin")],
     ["paths       /repos/acme/app/issues/42 (any spelling of 42, the end)",
      "marks       new write access, new credential reach, deny removed"], []),
    ("a deny rule inside what becomes wider", [("app/issues/**", "**")],
     ["paths       /repos/acme/**; except /repos/acme/app/issues/**, /repos/acme/app/issues/42 (any spelling)"], []),
    ("an encoded slash", [('{write: "false"}', '{write: "false"}\n    encoded_slash: keep')],
     ["paths       /left-pad/* (with %2F)", "query       write=false"], []),
    ("ports", [("access: read", "access: read\n    schemes: [http, https]\n    ports: [80, 443, 8080]")],
     ["over        https:80, https:8080, http, http:443, http:8080"], []),
    ("a tunnel", [("access: read", "inspect: false")],
     ["any method but GET, HEAD and OPTIONS, unseen in a tunnel, to docs.example.com and *.readthedocs.io",
      "GET, HEAD and OPTIONS, unseen in a tunnel, to docs.example.com and *.readthedocs.io"], ["everything"]),
    ("a client's own key is replaced", [("bearer: true}", "bearer: true}\n    client_credentials: replace")],
     ["credential github: client_credentials was refuse, is now replace", "still allowed, but differently:"],
     ["marks"]),
    ("another form of the secret", [("{bearer: true}", "{basic: {username: x-access-token}}")],
     ["credential github: inject was bearer, is now basic with the user name x-access-token",
      "credential  file:/run/secrets/github (github) is sent as the password of x-access-token; "
      "before: file:/run/secrets/github (github) is sent as a bearer token"], []),
    ("a query that carries the secret", [("{bearer: true}", "{query: key}")],
     ["credential github: inject was bearer, is now query key"], []),
    ("a new host says nothing of addresses", [("docs.example.com,", "docs.example.com, files.example.org,")],
     ["GET, HEAD and OPTIONS to files.example.org"], ["addresses"]),
    ("denied addresses are opened", [("8.8.8.0/24", "8.8.4.0/24")],
     ["addresses   names may now resolve into 8.8.8.0/24", "marks       deny removed"], []),
    ("a wildcard around what others name", [('"*.readthedocs.io"', '"*.example.com"')],
     ["GET, HEAD and OPTIONS to *.example.com (except docs.example.com, npm.example.com)",
      "paths       /**; except /left-pad/*", "query       any; except write=false"], []),
]  # fmt: skip


@pytest.mark.parametrize(("edits", "lines", "absent"), [pytest.param(*each[1:], id=each[0]) for each in EDITS])
def test_what_a_reviewer_of_one_file_reads(tmp_path: Path, edits: Edits, lines: list[str], absent: list[str]) -> None:
    before = load(tmp_path / "old", {"agent": AGENT})
    after = load(tmp_path / "new", {"agent": edited(AGENT, edits)})

    found = [line.strip() for line in diff_report.as_lines(compare_all(before, after, TODAY))]

    assert [line for line in lines if line not in found] == [], "\n".join(found)
    assert not [line for line in found if any(line.startswith(word) for word in absent)], "\n".join(found)


def test_public_addresses_that_open_are_more_than_before(tmp_path: Path) -> None:
    opened = AGENT.replace("8.8.8.0/24", "8.8.4.0/24")
    diffs = compare_all(load(tmp_path / "a", {"p": AGENT}), load(tmp_path / "b", {"p": opened}), TODAY)

    assert {change.widening for change in diffs[0].changes if "8.8.8.0/24" in change.gained} == {True}


def test_an_expiry_that_goes_is_marked(tmp_path: Path) -> None:
    diffs = compared(tmp_path, "one-github-issue", [("# expires: 2027-01-31", "expires: 2027-01-31")], back=True)

    lines = [line.strip() for line in diff_report.as_lines(diffs)]
    assert "marks       new write access, new credential reach, expiry removed or moved back" in lines
    assert "days        from 2027-02-01 on" in lines


@pytest.mark.parametrize(("name", "edits"), SAME)
def test_what_is_no_change(tmp_path: Path, name: str, edits: Edits) -> None:
    diffs = compared(tmp_path, name, edits)

    assert list(diff_report.as_lines(diffs)) == ["No difference in meaning: 6 policies compared."]


def test_moving_rules_into_a_file_that_is_extended_is_no_change(tmp_path: Path) -> None:
    head, _, rest = TEXTS["codex"].partition("\nallow:")
    moved = {**TEXTS, "codex": head.replace("[baseline]", "[baseline, base]") + "\n"}
    moved["base"] = f"version: 1\nname: base\nallow:{rest}"

    found = {
        diff.name: diff.status for diff in compare_all(load(tmp_path / "a", TEXTS), load(tmp_path / "b", moved), TODAY)
    }

    assert (found.pop("base"), set(found.values())) == ("added", {"unchanged"})
