"""git through the proxy, against git's own server program: it never asks for a password and never sees the token."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.gitserver import git, git_server, make_repository
from tests.support.outgate import Outgate
from tests.support.pki import Authority
from tests.support.sandbox import Run, Sandbox, need
from tests.support.upstream import Upstream

TOKEN = "ghp_the-real-token-0123456789abcdefghijkl"
POLICY = """
version: 1
name: reader
allow:
  - id: clone-app
    why: the agent reads the repository that it works on
    hosts: [github.com]
    access: any
    paths: [/acme/app.git/info/refs, /acme/app.git/git-upload-pack]
    query: {service: git-upload-pack}
    credential: github
  - id: fetch-app
    why: the second request of a fetch has no query
    hosts: [github.com]
    methods: [POST]
    paths: [/acme/app.git/git-upload-pack]
    credential: github
  - id: push-scratch
    why: the agent may push to its scratch repository
    hosts: [github.com]
    access: any
    paths: [/acme/scratch.git/**]
    credential: github
credentials:
  github:
    provider: github
    from: env:REAL_TOKEN
    hosts: [github.com, api.github.com]
    placeholder: GITHUB_TOKEN
"""


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need("git")
    root = tmp_path_factory.mktemp("repositories")
    for name in ("acme/app.git", "acme/other.git", "acme/scratch.git"):
        make_repository(root, name)
    return root


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, authority: Authority, repositories: Path) -> Iterator[Upstream]:
    with Upstream(tmp_path_factory.mktemp("server"), authority=authority) as upstream:
        upstream.otherwise(git_server(repositories, "x-access-token", TOKEN))
        yield upstream


@pytest.fixture(scope="module")
def outgate(tmp_path_factory: pytest.TempPathFactory, authority: Authority, server: Upstream) -> Iterator[Outgate]:
    """Two policies, so that tokens are required."""
    with Outgate(
        tmp_path_factory.mktemp("outgate"),
        {"reader.yaml": POLICY, "nothing.yaml": "version: 1\nname: nothing\n"},
        connect_to={"github.com:443": server.port},
        upstream_ca=(authority.ca_file,),
        environ={"REAL_TOKEN": TOKEN},
    ) as running:
        yield running


@pytest.fixture(scope="module")
def variables(outgate: Outgate) -> dict[str, str]:
    return outgate.env("--policy", "reader", "--name", "task-7")


@pytest.fixture
def sandbox(outgate: Outgate, variables: dict[str, str], tmp_path: Path) -> Sandbox:
    return Sandbox(outgate, tmp_path, variables)


def clone(sandbox: Sandbox, repository: str) -> Run:
    return sandbox.run("git", "clone", "--quiet", f"https://github.com/acme/{repository}.git", repository)


def commit(work: Path, content: bytes) -> str:
    (work / "change").write_bytes(content)
    git("add", ".", cwd=work)
    git("commit", "--quiet", "-m", "change", cwd=work)
    return git("rev-parse", "HEAD", cwd=work)


def test_clone_works_and_the_server_got_the_real_token_at_once(sandbox: Sandbox, server: Upstream) -> None:
    before = len(server.record.requests)
    done = clone(sandbox, "app")
    assert (done.code, done.output) == (0, "")
    assert (sandbox.home / "app" / "README.md").read_text() == "a small repository\n"
    arrived = server.record.requests[before:]
    assert [request.target.rpartition("/")[2] for request in arrived] == [
        "refs?service=git-upload-pack",
        "git-upload-pack",
        "git-upload-pack",
    ]
    # Not one request came without the token: the server never had to ask, and git never did.
    assert all((request.header("authorization") or "").startswith("Basic ") for request in arrived)
    assert TOKEN not in str(sandbox.variables)


def test_the_first_try_without_a_sandbox_token_is_not_counted_as_refused(sandbox: Sandbox) -> None:
    url = "https://github.com/acme/app.git"
    done = sandbox.run("git", "clone", url, "app", extra={"GIT_CURL_VERBOSE": "1"})
    assert done.code == 0
    assert "HTTP/1.1 407" in done.stderr
    events = sandbox.events()
    assert [(event["verdict"], event["sandbox"], event["injected"]) for event in events] == [
        ("allow", "task-7", True)
    ] * 3


def test_without_a_sandbox_token_git_gets_the_proxys_challenge_and_nothing_passes(
    sandbox: Sandbox, server: Upstream
) -> None:
    before = len(server.record.requests)
    bare = {"HTTPS_PROXY": f"http://{sandbox.outgate.address}", "https_proxy": f"http://{sandbox.outgate.address}"}
    done = sandbox.run(
        "git", "clone", "https://github.com/acme/app.git", "app", extra=bare | {"GIT_TERMINAL_PROMPT": "0"}
    )
    assert done.code != 0
    assert "407" in done.stderr or "Proxy" in done.stderr
    assert server.record.requests[before:] == []


def test_push_to_a_repository_that_may_only_be_read_says_why(sandbox: Sandbox, server: Upstream) -> None:
    clone(sandbox, "app")
    work = sandbox.home / "app"
    commit(work, b"change")
    sandbox.events()
    before = len(server.record.requests)
    done = sandbox.run("git", "push", "origin", "HEAD:main", cwd=work)
    assert done.code != 0
    assert "remote: outgate: this sandbox's policy does not allow the query (query_not_allowed)" in done.stderr
    assert "remote: hint: " in done.stderr
    event = sandbox.refused_once("query_not_allowed")
    assert f"remote: audit id: {event['id']}" in done.stderr
    assert server.record.requests[before:] == []


def test_clone_of_another_repository_says_why(sandbox: Sandbox) -> None:
    done = clone(sandbox, "other")
    assert done.code != 0
    assert "remote: outgate: this sandbox's policy does not allow the path (path_not_allowed)" in done.stderr
    sandbox.refused_once("path_not_allowed")


@pytest.mark.parametrize("size", [10, 5_000_000], ids=["small", "large and chunked"])
def test_push_works_where_a_rule_allows_it(sandbox: Sandbox, server: Upstream, repositories: Path, size: int) -> None:
    import random

    clone(sandbox, "scratch")
    work = sandbox.home / "scratch"
    head = commit(work, random.Random(size).randbytes(size))
    done = sandbox.run("git", "push", "--quiet", "origin", "HEAD:main", cwd=work)
    assert done.code == 0, done.output
    assert git("rev-parse", "main", cwd=repositories / "acme" / "scratch.git") == head
    assert (server.record.last.header("transfer-encoding") == "chunked") == (size > 1 << 20)
