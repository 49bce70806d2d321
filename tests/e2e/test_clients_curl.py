"""curl and wget through the proxy, with what `outgate env` prints and nothing else."""

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
from tests.support.upstream_h2 import H2Upstream

SECRET = "the-real-secret-0123456789"
POLICY = """
version: 1
name: shell
allow:
  - id: api
    why: an API with a token
    hosts: [api.example]
    access: any
    paths: [/v1/**]
    credential: token
  - id: http2
    why: a host that speaks HTTP/2
    hosts: [h2.example]
    http2: true
  - id: plain
    why: a mirror without TLS
    hosts: [plain.example]
    schemes: [http]
credentials:
  token:
    from: env:SECRET
    hosts: [api.example]
    inject: {bearer: true}
    placeholder: API_TOKEN
"""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Upstream]:
    with Upstream(tmp_path_factory.mktemp("api"), authority=authority) as server:
        server.otherwise(answers.echo)
        server.on("/v1/download", answers.huge(20_000_000))
        yield server


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Upstream]:
    with Upstream(tmp_path_factory.mktemp("plain"), tls=False, authority=authority) as server:
        yield server


@pytest.fixture(scope="module")
def h2(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[H2Upstream]:
    with H2Upstream(tmp_path_factory.mktemp("h2"), authority=authority) as server:
        yield server


@pytest.fixture(scope="module")
def outgate(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority, api: Upstream, plain: Upstream, h2: H2Upstream
) -> Iterator[Outgate]:
    with Outgate(
        tmp_path_factory.mktemp("outgate"),
        POLICY,
        connect_to={"api.example:443": api.port, "plain.example:80": plain.port, "h2.example:443": h2.port},
        upstream_ca=(authority.ca_file,),
        environ={"SECRET": SECRET},
    ) as running:
        yield running


@pytest.fixture(scope="module")
def variables(outgate: Outgate) -> dict[str, str]:
    return outgate.env()


@pytest.fixture
def sandbox(outgate: Outgate, variables: dict[str, str], tmp_path: Path) -> Sandbox:
    return Sandbox(outgate, tmp_path, variables)


@pytest.fixture
def curl() -> str:
    return need("curl")


@pytest.fixture
def wget(sandbox: Sandbox) -> str:
    """wget reads no CA variable, so its file says where the CA is, as docs/clients.md tells."""
    (sandbox.home / ".wgetrc").write_text(f"ca_certificate={sandbox.variables['SSL_CERT_FILE']}\n")
    return need("wget")


def test_curl_get_carries_the_real_secret_for_the_fake_one(curl: str, sandbox: Sandbox, api: Upstream) -> None:
    fake = sandbox.variables["API_TOKEN"]
    done = sandbox.run(curl, "-sS", "-H", f"Authorization: Bearer {fake}", "https://api.example/v1/x?page=2")
    assert done.code == 0, done.stderr
    assert json.loads(done.stdout)["target"] == "/v1/x?page=2"
    assert api.record.last.values("authorization") == [f"Bearer {SECRET}"]
    assert SECRET not in done.output  # the upstream echoes what it got


def test_curl_post_and_upload_arrive_whole(curl: str, sandbox: Sandbox, api: Upstream) -> None:
    file = sandbox.home / "upload"
    file.write_bytes(b"0123456789abcdef" * 500_000)
    posted = sandbox.run(curl, "-sS", "--json", '{"x": 1}', "https://api.example/v1/post")
    assert posted.code == 0, posted.stderr
    assert api.record.last.body == b'{"x": 1}'
    for how in (("-T", str(file)), ("-H", "Transfer-Encoding: chunked", "-T", str(file))):
        sent = sandbox.run(curl, "-sS", *how, "https://api.example/v1/upload")
        assert json.loads(sent.stdout)["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest(), sent.stderr


def test_curl_download_arrives_whole(curl: str, sandbox: Sandbox) -> None:
    done = sandbox.run(curl, "-sS", "-o", "file", "https://api.example/v1/download")
    assert done.code == 0, done.stderr
    assert (sandbox.home / "file").stat().st_size == 20_000_000


def test_curl_speaks_http2_where_a_rule_asks_for_it(curl: str, sandbox: Sandbox, h2: H2Upstream) -> None:
    done = sandbox.run(curl, "-sS", "-w", " %{http_version}", "https://h2.example/over-h2")
    if " 1.1" in done.stdout:
        assert "HTTP2" not in sandbox.run(curl, "--version").stdout
        pytest.skip("this curl has no HTTP/2")
    assert (done.code, done.stdout) == (0, "ok 2")
    assert h2.record.last.target == "/over-h2"


def test_curl_gets_plain_http_where_a_rule_says_so(curl: str, sandbox: Sandbox, plain: Upstream) -> None:
    done = sandbox.run(curl, "-sS", "http://plain.example/list")
    assert (done.code, done.stdout) == (0, '{"ok": true}')
    assert plain.record.last.target == "/list"


def test_curl_with_a_sandbox_token_in_the_proxy_url(curl: str, sandbox: Sandbox, outgate: Outgate) -> None:
    proxy = outgate.env("--name", "task-9")["HTTPS_PROXY"]
    done = sandbox.run(curl, "-sS", "-x", proxy, "https://api.example/v1/x")
    assert done.code == 0, done.stderr
    assert [event["sandbox"] for event in sandbox.events()] == ["task-9"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["https://evil.example/x"], "host_not_allowed"),
        (["https://api.example/v2/x"], "path_not_allowed"),
        (["-X", "DELETE", "https://h2.example/x"], "method_not_allowed"),
        (["-T", "large", "https://evil.example/x"], "host_not_allowed"),
        (["http://api.example/v1/x"], "scheme_not_allowed"),
        (["-H", "Authorization: Bearer my-own", "https://api.example/v1/x"], "client_credential_refused"),
    ],
)
def test_curl_shows_a_refusal_after_one_attempt(
    curl: str, sandbox: Sandbox, api: Upstream, arguments: list[str], reason: str
) -> None:
    (sandbox.home / "large").write_bytes(b"x" * 3_000_000)
    before = len(api.record.requests)
    done = sandbox.run(curl, "-sS", "--retry", "3", "-w", "%{stderr}%{http_code}", *arguments)
    assert done.stderr == "403"
    problem = json.loads(done.stdout)
    assert problem["reason"] == reason
    assert problem["audit_id"] == sandbox.refused_once(reason)["id"]
    assert len(api.record.requests) == before


def test_wget_downloads_and_shows_the_reason_phrase_of_a_refusal(wget: str, sandbox: Sandbox, api: Upstream) -> None:
    done = sandbox.run(wget, "-q", "-O", "file", "https://api.example/v1/download")
    assert done.code == 0, done.stderr
    assert (sandbox.home / "file").stat().st_size == 20_000_000
    assert api.record.last.values("authorization") == [f"Bearer {SECRET}"]
    sandbox.events()
    refused = sandbox.run(wget, "-O", "file", "https://evil.example/file")
    assert refused.code == 8  # "server issued an error response" (wget(1), "Exit status")
    assert f"{SENTENCE} host (host_not_allowed)" in refused.stderr
    sandbox.refused_once("host_not_allowed")
