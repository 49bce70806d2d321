"""Try a built image: what is in it, and one request of each kind through it. Started by tests/image/run.

The image's own ENTRYPOINT, CMD, USER, ENV and HEALTHCHECK are used: as PID 1, without privileges, on a read-only root,
with the state folder and /tmp writable and the policies mounted read-only. The only network is loopback.
"""

import argparse
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.image.container import PATIENCE, Image, first
from tests.support.upstream import Upstream

REAL_KEY = "sk-ant-api03-" + "r3al" * 20 + "-AA"
LIMIT_MB = 160
"""What the product may add to its base image, MiB."""
POLICY = """\
version: 1
name: image-test
allow:
  - id: anthropic
    why: the allowed request of this test
    hosts: [api.anthropic.com]
    methods: [POST]
    paths: [/v1/messages]
    credential: anthropic
credentials:
  anthropic:
    provider: anthropic
    from: env:ANTHROPIC_API_KEY
    hosts: [api.anthropic.com]
    placeholder: ANTHROPIC_API_KEY
"""
SECRETS = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\r?\n[\w+/=]{32}|sk-ant-api03-[\w-]{80}|\bindex-url *=|:_authToken="
)
LISTENS = re.compile(rb"^outgate listens on .*\n", re.MULTILINE)
# Public: the key of tornado's own tests is in every tornado wheel.
KNOWN = re.compile(r"/tornado/test/test\.key$")
URL = "https://api.anthropic.com/v1/messages"


class CheckError(Exception):
    """A check that did not hold."""


def expect(holds: object, what: str, seen: object = "") -> None:
    """Print the check, or stop."""
    if not holds:
        raise CheckError(f"{what}: {seen}")
    sys.stdout.write(f"  ok  {what}\n")


def contents(image: Image, base_kb: int) -> None:
    """What can be seen without starting anything."""
    user, state = image.config["User"], image.root / "var/lib/outgate"
    expect(re.fullmatch(r"[1-9]\d*:[1-9]\d*", user), "runs as a fixed user that is not root", user)
    expect(image.config["Volumes"] == {"/var/lib/outgate": {}}, "the state folder is a volume")
    expect(not list(state.iterdir()), "the state folder is empty: no CA, no key", list(state.iterdir()))
    expect(f"{state.stat().st_uid}:{state.stat().st_gid}" == user, "the state folder belongs to that user")
    folders = [image.root / name for name in ("opt", "etc", "root", "home", "var", "tmp")]
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file() and not file.is_symlink()]
    found = [file for file in files if SECRETS.search(file.read_bytes()) and not KNOWN.search(str(file))]
    expect(not found, "no private key, no API key, no package index's address", found)
    commands = [file.name for file in (image.root / "opt/outgate/bin").iterdir() if not file.is_symlink()]
    expect(commands == ["outgate"], "no command but outgate", commands)
    kilobytes = int(subprocess.check_output(["du", "-sk", str(image.root)]).split()[0])
    added = (kilobytes - base_kb) // 1024
    expect(added <= LIMIT_MB, f"adds {added} MiB to a base of {base_kb // 1024} MiB", f"more than {LIMIT_MB} MiB")


def listening_line(process: "subprocess.Popen[bytes]") -> str:
    """The line that says where the proxy listens, or all that it printed if it ended before."""
    assert process.stdout is not None
    seen, deadline = b"", time.monotonic() + PATIENCE
    while not (found := LISTENS.search(seen)):
        if not select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise CheckError(f"it does not say that it listens within {PATIENCE:.0f} s; so far: {seen!r}")
        chunk = os.read(process.stdout.fileno(), 65536)
        if not chunk:
            return seen.decode()
        seen += chunk
    return found[0].decode()


def curl(proxy: str, ca: Path, url: str, *options: str) -> tuple[str, str]:
    """The status of the answer (of the CONNECT, where there was no other) and the body."""
    argv = ["curl", "--silent", "--max-time", "20", "--noproxy", "", "--proxy", proxy, "--cacert", str(ca)]
    done = subprocess.run(
        [*argv, "--write-out", "\n%{http_code} %{http_connect}", *options, url],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"]},
    )
    body, _, codes = done.stdout.rpartition("\n")
    status, _, connect = codes.partition(" ")
    return (connect if status == "000" else status), body


def serving(image: Image, state: Path, upstream: Upstream) -> None:
    """Start the product, send requests through it, stop it."""
    health = image.config["Healthcheck"]["Test"][1:]
    expect(image.run(health).returncode == 1, "the health check fails before the start")
    shutil.copy(upstream.ca_file, image.root / "tmp/upstream.pem")
    mapping = f"api.anthropic.com:443:127.0.0.1:{upstream.port}"
    more = ["--upstream-ca", "/tmp/upstream.pem", "--connect-to", mapping]  # noqa: S108  the image's own /tmp
    command = [*image.config["Entrypoint"], *image.config["Cmd"], *more]
    secret = {"ANTHROPIC_API_KEY": REAL_KEY}
    process = image.start(command, secret, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        line = listening_line(process)
        expect("8899" in line and "image-test" in line, "says where it accepts connections and for which policy", line)
        done = image.run(health, beside=process)
        expect(done.returncode == 0, "the health check passes", done.stderr)
        image.run(["/bin/sh", "-c", "sleep 0.1 & exit"], beside=process)  # returns when the orphan of PID 1 has ended
        requests(image, process, state, upstream)
        os.kill(first(process), signal.SIGTERM)
        output, _ = process.communicate(timeout=PATIENCE)
        expect(process.returncode == 0, "SIGTERM to PID 1 drains and exits 0", (process.returncode, output))
        expect(REAL_KEY.encode() not in output, "and the key was never printed")
        records(image, state)
    finally:
        process.kill()
        process.wait()


def requests(image: Image, process: "subprocess.Popen[bytes]", state: Path, upstream: Upstream) -> None:
    """One request without a token, one that is refused, one that is allowed."""
    ca, address = state / "ca.pem", "127.0.0.1:8899"
    status, _ = curl(f"http://{address}", ca, URL)
    expect(status == "407", "without a sandbox token there is 407", status)
    mint = ["outgate", "env", "--policy", "image-test", "--name", "sandbox-1", "--proxy", address, "--format", "json"]
    minted = image.run(mint, beside=process)
    expect(minted.returncode == 0, "outgate env mints a token inside the container", minted.stderr)
    variables = json.loads(minted.stdout)
    proxy, fake = variables["HTTPS_PROXY"], variables["ANTHROPIC_API_KEY"]
    expect(REAL_KEY not in variables.values(), "and gives the sandbox a fake key")
    status, body = curl(proxy, ca, "https://evil.example/")
    expect(status == "403" and "host_not_allowed" in body, "an unknown host is refused with its reason", (status, body))
    expect(not upstream.record.connections, "and nothing was dialled")
    status, body = curl(proxy, ca, URL, "-H", f"x-api-key: {fake}", "--data", "{}")
    expect(status == "200", "an allowed request reaches its upstream over verified TLS", (status, body))
    keys = [request.header("x-api-key") for request in upstream.record.requests]
    expect(keys == [REAL_KEY], "with the real key")


def records(image: Image, state: Path) -> None:
    """What is on record afterwards."""
    log = b"".join(file.read_bytes() for file in (state / "audit").rglob("*.jsonl"))
    events = [json.loads(line) for line in log.splitlines()]
    seen = sorted((event["host"], event["verdict"]) for event in events if event.get("sandbox") == "sandbox-1")
    expect(seen == [("api.anthropic.com", "allow"), ("evil.example", "deny")], "both are on record, once each", log)
    expect(REAL_KEY.encode() not in log, "without the key")
    user = int(image.config["User"].partition(":")[0])
    strangers = [file for file in state.rglob("*") if file.lstat().st_uid != user]
    expect(not strangers, "everything in the state folder belongs to the image's user", strangers)


def main() -> int:
    """Run every check; 1 at the first one that does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("root", "config", "work"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--base-kb", type=int, required=True)
    asked = parser.parse_args()
    image = Image(asked.root, json.loads(asked.config.read_text(encoding="utf-8"))["Docker"]["config"])
    state, policies = asked.work / "state", asked.work / "policies"
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir(mode=0o700)
    os.chown(state, *map(int, image.config["User"].split(":")))
    policies.mkdir(exist_ok=True)
    (policies / "image-test.yaml").write_text(POLICY, encoding="utf-8")
    try:
        contents(image, asked.base_kb)
        image.mount(state, policies)
        done = image.run(["outgate", "--help"])
        expect(done.returncode == 0 and b"serve" in done.stdout, "outgate --help works on a read-only root", done)
        with Upstream(asked.work / "upstream") as upstream:
            serving(image, state, upstream)
    except CheckError as failed:
        sys.stdout.write(f"  FAILED  {failed}\n")
        return 1
    sys.stdout.write("image-test: passed\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
