"""npm and Node.js through the proxy, from a private registry whose token the sandbox does not have."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.outgate import Outgate
from tests.support.packages import registry, serve
from tests.support.pki import Authority
from tests.support.sandbox import SENTENCE, Run, Sandbox, need
from tests.support.upstream import Upstream

TOKEN = "npm_the-real-token-0123456789"
ORIGIN = "https://registry.example"
POLICY = """
version: 1
name: builder
allow:
  - id: registry
    why: the packages that this project uses
    hosts: [registry.example]
    paths: [/tiny-tool, /tiny-tool/-/*, "/@acme%2Ftiny", /@acme/tiny/-/*]
    encoded_slash: keep
    credential: registry
credentials:
  registry:
    from: env:TOKEN
    hosts: [registry.example]
    inject: {bearer: true}
"""
FETCH = f"fetch('{ORIGIN}/tiny-tool').then(r => r.json()).then(p => console.log(p.name), console.log)"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Upstream]:
    with Upstream(tmp_path_factory.mktemp("registry"), authority=authority) as server:
        server.otherwise(serve(registry(ORIGIN, "tiny-tool", "@acme/tiny"), f"Bearer {TOKEN}"))
        yield server


@pytest.fixture(scope="module")
def outgate(tmp_path_factory: pytest.TempPathFactory, authority: Authority, packages: Upstream) -> Iterator[Outgate]:
    with Outgate(
        tmp_path_factory.mktemp("outgate"),
        POLICY,
        connect_to={"registry.example:443": packages.port},
        upstream_ca=(authority.ca_file,),
        environ={"TOKEN": TOKEN},
    ) as running:
        yield running


@pytest.fixture(scope="module")
def variables(outgate: Outgate) -> dict[str, str]:
    return outgate.env()


@pytest.fixture
def sandbox(outgate: Outgate, variables: dict[str, str], tmp_path: Path) -> Sandbox:
    need("npm")
    (tmp_path / "package.json").write_text('{"name": "app", "version": "1.0.0"}')
    return Sandbox(outgate, tmp_path, variables)


def install(sandbox: Sandbox, name: str, origin: str = ORIGIN) -> Run:
    quiet = ("--no-audit", "--no-fund", "--no-update-notifier")
    return sandbox.run("npm", "install", *quiet, f"--registry={origin}", name)


@pytest.mark.parametrize(
    ("name", "paths"),
    [
        ("tiny-tool", ["/tiny-tool", "/tiny-tool/-/tiny-tool-1.0.0.tgz"]),
        ("@acme/tiny", ["/@acme%2ftiny", "/@acme/tiny/-/tiny-1.0.0.tgz"]),
    ],
)
def test_npm_installs_from_a_private_registry(
    sandbox: Sandbox, packages: Upstream, name: str, paths: list[str]
) -> None:
    before = len(packages.record.requests)
    done = install(sandbox, name)
    assert done.code == 0, done.output
    told = sandbox.run("node", "-p", f"require('{name}')")
    assert told.stdout.strip() == "through the proxy"
    arrived = packages.record.requests[before:]
    assert [request.target for request in arrived] == paths
    assert {request.header("authorization") for request in arrived} == {f"Bearer {TOKEN}"}
    assert [(event["verdict"], event["injected"]) for event in sandbox.events()] == [("allow", True)] * 2
    assert TOKEN not in done.output + str(sandbox.variables)


def test_npm_works_where_an_npmrc_names_other_roots(sandbox: Sandbox, authority: Authority) -> None:
    """A `cafile` makes npm ignore NODE_EXTRA_CA_CERTS, so `outgate env` sets npm's own variable over it."""
    (sandbox.home / ".npmrc").write_text(f"cafile={authority.ca_file}\n")
    done = install(sandbox, "tiny-tool")
    assert done.code == 0, done.output


@pytest.mark.parametrize(
    ("name", "origin", "what", "reason"),
    [
        ("left-pad", ORIGIN, "path", "path_not_allowed"),
        ("@acme/other", ORIGIN, "path", "path_not_allowed"),
        ("tiny-tool", "https://other.example", "host", "host_not_allowed"),
    ],
)
def test_npm_shows_a_refusal_after_one_attempt(
    sandbox: Sandbox, packages: Upstream, name: str, origin: str, what: str, reason: str
) -> None:
    before = len(packages.record.requests)
    done = install(sandbox, name, origin)
    assert done.code != 0
    assert f"npm notice {SENTENCE} {what} ({reason})" in done.stderr
    sandbox.refused_once(reason)
    assert packages.record.requests[before:] == []


def test_node_fetch_goes_through_the_proxy_where_node_can(sandbox: Sandbox, packages: Upstream) -> None:
    """Older versions do not know NODE_USE_ENV_PROXY: they look the name up themselves, and docs/clients.md says so."""
    told = sandbox.run("node", "-e", FETCH)
    version = tuple(int(part) for part in re.findall(r"\d+", sandbox.run("node", "--version").stdout)[:2])
    if version >= (24, 0) or (22, 21) <= version < (23, 0):
        assert told.stdout.strip() == "tiny-tool"
        assert packages.record.last.header("authorization") == f"Bearer {TOKEN}"
    else:
        assert told.stdout.strip() != "tiny-tool"
        assert sandbox.events() == []
