"""gh and the docker command through the proxy, where they are installed."""

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import answers
from tests.support.outgate import Outgate
from tests.support.pki import Authority
from tests.support.sandbox import SENTENCE, Sandbox, need
from tests.support.upstream import Upstream

TOKEN = "ghp_the-real-token-0123456789abcdefghijkl"
PASSWORD = "the-real-password-0123456789"
POLICY = """
version: 1
name: tools
allow:
  - id: issues
    why: the agent reads the issues of its repository
    hosts: [api.github.com]
    paths: [/repos/acme/app/issues, /repos/acme/app/issues/*]
    credential: github
  - id: images
    why: the agent looks at the images of its project
    hosts: [images.example]
    paths: [/v2/, /v2/acme/app/**]
    credential: images
credentials:
  github:
    provider: github
    from: env:TOKEN
    hosts: [api.github.com]
    placeholder: GITHUB_TOKEN
  images:
    from: env:PASSWORD
    hosts: [images.example]
    inject: {basic: {username: ci}}
"""
MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = b'{"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}'
CONFIG_DIGEST = "sha256:" + hashlib.sha256(CONFIG).hexdigest()
CONFIG_ENTRY = {"mediaType": "application/vnd.docker.container.image.v1+json", "size": len(CONFIG)}
MANIFEST = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": CONFIG_ENTRY | {"digest": CONFIG_DIGEST},
        "layers": [],
    }
).encode()


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Upstream]:
    with Upstream(tmp_path_factory.mktemp("api"), authority=authority) as server:
        server.on("/repos/acme/app/issues/42", answers.reply(200, b'{"title": "a bug"}', {"Content-Type": "text/json"}))
        server.on("/v2/", answers.reply(200, b"{}", {"Docker-Distribution-Api-Version": "registry/2.0"}))
        server.on("/v2/acme/app/manifests/1.0", answers.reply(200, MANIFEST, {"Content-Type": MANIFEST_TYPE}))
        server.on(f"/v2/acme/app/blobs/{CONFIG_DIGEST}", answers.reply(200, CONFIG))
        yield server


@pytest.fixture(scope="module")
def outgate(tmp_path_factory: pytest.TempPathFactory, authority: Authority, api: Upstream) -> Iterator[Outgate]:
    with Outgate(
        tmp_path_factory.mktemp("outgate"),
        POLICY,
        connect_to={"api.github.com:443": api.port, "images.example:443": api.port},
        upstream_ca=(authority.ca_file,),
        environ={"TOKEN": TOKEN, "PASSWORD": PASSWORD},
    ) as running:
        yield running


@pytest.fixture(scope="module")
def variables(outgate: Outgate) -> dict[str, str]:
    return outgate.env()


@pytest.fixture
def sandbox(outgate: Outgate, variables: dict[str, str], tmp_path: Path) -> Sandbox:
    return Sandbox(outgate, tmp_path, variables)


def test_gh_calls_the_api_with_the_real_token_and_shows_a_refusal(sandbox: Sandbox, api: Upstream) -> None:
    gh = need("gh")
    done = sandbox.run(gh, "api", "repos/acme/app/issues/42", "--jq", ".title")
    assert (done.code, done.output) == (0, "a bug\n")
    assert api.record.last.header("authorization") == f"token {TOKEN}"
    sandbox.events()
    refused = sandbox.run(gh, "api", "repos/acme/other/issues")
    assert refused.code != 0
    assert f"gh: {SENTENCE} path (path_not_allowed): " in refused.stderr
    sandbox.refused_once("path_not_allowed")


def test_docker_reads_a_manifest_with_the_real_password(sandbox: Sandbox, api: Upstream) -> None:
    done = sandbox.run(need("docker"), "manifest", "inspect", "images.example/acme/app:1.0")
    assert done.code == 0, done.output
    assert json.loads(done.stdout)["mediaType"] == MANIFEST_TYPE
    basic = base64.b64encode(f"ci:{PASSWORD}".encode()).decode()
    assert api.record.last.target.startswith("/v2/acme/app/blobs/")
    assert api.record.last.header("authorization") == f"Basic {basic}"


@pytest.mark.parametrize(
    ("image", "what", "reason", "refused"),
    [
        ("images.example/acme/other:1.0", "path", "path_not_allowed", {"/v2/acme/other/manifests/1.0"}),
        ("other.example/acme/app:1.0", "host", "host_not_allowed", {"/v2/", "/v2/acme/app/manifests/1.0"}),
    ],
)
def test_docker_shows_a_refusal(sandbox: Sandbox, image: str, what: str, reason: str, refused: set[str]) -> None:
    """docker looks a name up twice by itself, as a list and as one image, whatever the first answer is."""
    done = sandbox.run(need("docker"), "manifest", "inspect", image)
    assert done.code != 0
    assert done.stderr.startswith(f"denied: {SENTENCE} {what} ({reason}): ")
    denied = [event for event in sandbox.events() if event["verdict"] == "deny"]
    assert {(event["path"], event["reason"]) for event in denied} == {(path, reason) for path in refused}
    assert len(denied) == 2 * len(refused)
