"""The deployments of examples/ in network namespaces: `python -m tests.deploy.lab compose`, as root.

The first process only makes namespaces of network and mounts. The second one, in there, is the world outside: an
upstream, a name server, a metadata service. It starts Outgate and an agent as the example says, each where the
example has it, and prints what the agent came to as JSON.
"""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.deploy.files import COMPOSE, ROOT, compose, only, text_of, unit
from tests.deploy.network import HERE, Namespace, link, namespace
from tests.deploy.probe import MARK
from tests.support.outgate import OUTGATE, Outgate, run_outgate
from tests.support.upstream import Upstream

REAL_KEY = "sk-ant-api03-" + "r3al" * 20 + "-AA"
WORLD, WORLD6, METADATA = "203.0.113.10", "2001:db8::10", "169.254.169.254"
OUTWARD, GATEWAY, AGENT = "203.0.113.2", "172.30.200.2", "172.30.200.3"
OUTGATE_USER, AGENT_USER = 10001, 10002
PROXYD = Path("/lib/systemd/systemd-socket-proxyd")
PYTHON = shutil.which("python3", path="/usr/bin:/usr/local/bin") or ""
NFT = shutil.which("nft", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") or "nft"
TRIED = [
    *(f"tcp,{WORLD},{port}" for port in (443, 8080)),
    *(f"{kind},{WORLD6},{port}" for kind, port in (("tcp", 443), ("udp", 53))),
    *(f"tcp,{METADATA},80", f"udp,{WORLD},53", f"ping,{WORLD},0", f"frame,{WORLD},53"),
]
_OUTER = 300.0


def impossible() -> str:
    """Why the deployments cannot be tried on this machine; empty if they can."""
    if os.geteuid() != 0 or not PYTHON:
        return "root and a python3 of the system are needed"
    command = [
        "unshare",
        "--net",
        "--mount",
        "--",
        "sh",
        "-c",
        "ip link add w0 type veth peer name w1 && command -v ss",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return f"network namespaces, ip and ss (iproute2) are needed: {done.stderr.strip()}" if done.returncode else ""


def observe(topology: str) -> dict[str, Any]:
    """What an agent came to in a topology."""
    command = ["unshare", "--net", "--mount", "--", sys.executable, "-m", "tests.deploy.lab", "--inside", topology]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=_OUTER)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


class World:
    """What is outside: servers that an agent must not reach, and a watch over every packet that comes."""

    def __init__(self, outgate: Namespace) -> None:
        HERE.run("ip", "link", "set", "lo", "up")
        link(
            HERE,
            "w0",
            [f"{WORLD}/24", f"{WORLD6}/64", f"{METADATA}/16"],
            outgate,
            "o1",
            [f"{OUTWARD}/24", "2001:db8::2/64"],
        )
        outgate.run("ip", "route", "add", "default", "via", WORLD)
        outgate.run("ip", "-6", "route", "add", "default", "via", WORLD6)
        # So that what gets out is answered: an attempt that fails here failed on its way out.
        HERE.run("ip", "route", "add", "172.30.200.0/24", "via", OUTWARD)
        HERE.run("ip", "route", "add", "fd00:30::/64", "via", "2001:db8::2")
        self._watch = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self._watch.bind(("w0", 0))
        self._watch.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 23)
        self._watch.setblocking(False)
        six = socket.AF_INET6
        self._servers = [
            *(socket.create_server(address) for address in ((WORLD, 8080), (METADATA, 80))),
            socket.create_server((WORLD6, 443), family=six),
        ]

    def marked(self) -> int:
        """How many packets with the mark of the probe have come."""
        count = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                count += MARK in self._watch.recv(65536)
        return count


@dataclass
class Boxed(Outgate):
    """An Outgate in a namespace, started as an example says: `words` are its arguments."""

    where: Namespace = HERE
    words: Sequence[str] = ()
    user: int = 0

    def command(self) -> list[str]:
        return [*self.where.enter(), *_as_user(self.user, "dac_override"), str(OUTGATE), *self.words, *self.arguments]

    def put(self, text: str) -> str:
        """A text of an example with the paths that it has here."""
        places = {"/var/lib/outgate/state": self.state, "/var/lib/outgate": self.state}
        places |= {"/etc/outgate/policies": self.policies, "/policies": self.policies}
        places |= dict.fromkeys(("/run/secrets/outgate/anthropic-key", "/run/secrets/anthropic-key"), self.key)
        return replaced(text, {old: str(new) for old, new in places.items()})

    @property
    def key(self) -> Path:
        """The file with the real key."""
        return self.folder / "key"


def replaced(text: str, words: Mapping[str, str]) -> str:
    """A text with words replaced at once, the longest first: what stands in a replacement is not replaced again."""
    pattern = "|".join(map(re.escape, sorted(words, key=len, reverse=True)))
    return re.sub(pattern, lambda found: words[found[0]], text)


def _as_user(user: int, *capabilities: str) -> list[str]:
    """As this user without capabilities, but for reading the Python of this project where only root may."""
    if not user:
        return []
    held = ",".join(["-all", *(f"+{name}" for name in capabilities)])
    rights = [f"--inh-caps={held}", f"--ambient-caps={held}"] if capabilities else ["--inh-caps=-all"]
    return [
        "setpriv",
        f"--reuid={user}",
        f"--regid={user}",
        "--clear-groups",
        *rights,
        "--bounding-set=" + held,
        "--no-new-privs",
    ]


@contextlib.contextmanager
def started(
    folder: Path, where: Namespace, words: Sequence[str], policy: str, user: int = 0
) -> Iterator[tuple[Boxed, Upstream]]:
    """Outgate as an example starts it, with an upstream for api.anthropic.com in the world outside."""
    with Upstream(folder, address=(WORLD, 443)) as upstream:
        outgate = Boxed(folder / "outgate", "", where=where, user=user)
        outgate.policy = {"agent.yaml": outgate.put(policy)}
        ready = str(outgate.folder / "ready.json")
        outgate.words = [outgate.put(word) for word in words]
        outgate.arguments = ("--workers", "1", "--ready-file", ready, "--upstream-ca", str(upstream.ca_file))
        outgate.arguments += ("--connect-to", f"api.anthropic.com:443:{WORLD}:443")
        outgate.folder.mkdir()
        outgate.key.write_text(REAL_KEY)
        if user:
            for path in (folder, outgate.folder, outgate.key, upstream.ca_file):
                os.chown(path, user, user)
        with outgate:
            yield outgate, upstream


def judged(
    agent: Sequence[str], outgate: Boxed, upstream: Upstream, world: World, env: Path, more: Sequence[str]
) -> dict[str, Any]:
    """What comes of all that an agent tries beside the proxy, then through it; `env` holds its variables."""
    world.marked()
    done = subprocess.run(
        [*agent, PYTHON, "-", *TRIED, *more],
        input=text_of(ROOT / "tests/deploy/probe.py"),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    arrivals = len(upstream.record.connections)
    script = f". {env}; " + "; ".join(
        f"curl --silent --max-time 20 --output /dev/null --write-out '%{{http_connect}}/%{{http_code}} ' {request}"
        for request in (
            '-H "x-api-key: $ANTHROPIC_API_KEY" --data {} https://api.anthropic.com/v1/messages',
            '-H "x-api-key: $ANTHROPIC_API_KEY" --data {} https://api.anthropic.com/v1/files',
            "https://evil.example/",
            '--proxy "http://${HTTPS_PROXY##*[@/]}" https://evil.example/',
        )
    )
    clean = ["env", "-i", f"PATH={os.environ['PATH']}", "sh", "-c", script]
    asked = subprocess.run([*agent, *clean], capture_output=True, text=True, check=False, timeout=90)
    return {
        "tried": json.loads(done.stdout),
        "marked": world.marked(),
        "direct": arrivals,
        "proxied": asked.stdout.split(),
        "keys": [request.header("x-api-key") for request in upstream.record.requests],
        "env": env.read_text(encoding="utf-8"),
        "listening": sorted(outgate.where.listening()),
        "refused": [event["reason"] for event in outgate.events() if event["verdict"] == "deny"],
    }


def two_networks(folder: Path, *, forwarding: bool, words: Sequence[str] | None = None) -> dict[str, Any]:
    """Compose: the agent's network has one other member, which has another network. The agent is root in its own."""
    service = compose()["services"]["outgate"]
    with namespace() as there, namespace() as agent:
        link(agent, "a0", [f"{AGENT}/24", "fd00:30::3/64"], there, "o0", [f"{GATEWAY}/24", "fd00:30::2/64"])
        world = World(there)
        for key, value in service["sysctls"].items():
            there.tune(key.replace(".", "/"), "1" if forwarding else value)
        there.tune("net/ipv6/conf/all/forwarding", "1" if forwarding else "0")
        # More than an agent in the example may do, which has no capability.
        agent.run("ip", "route", "add", "default", "via", GATEWAY)
        agent.run("ip", "-6", "route", "add", "default", "via", "fd00:30::2")
        policy = text_of(COMPOSE.parent / "policies/agent.yaml")
        with started(folder, there, words or service["command"], policy) as (outgate, upstream):
            env = _compose_handout(outgate) if words is None else _token(outgate, f"{GATEWAY}:8899")
            more = [f"tcp,{OUTWARD},8899", f"tcp,{OUTWARD},22", f"tcp,{GATEWAY},9090", f"udp,{GATEWAY},53"]
            return judged(agent.enter(), outgate, upstream, world, env, more)


def _compose_handout(outgate: Boxed) -> Path:
    """The variables as the service `handout` writes them, beside what else it hands out."""
    script = compose()["services"]["handout"]["command"][0]
    handed = outgate.folder / "handed"
    handed.mkdir()
    here = {"/var/lib/outgate": str(handed), "/state": str(outgate.state), "outgate env": f"{OUTGATE} env"}
    command = [*outgate.where.enter(), "sh", "-euc", replaced(script, here)]
    subprocess.run(command, check=True, timeout=60, env={"PATH": os.environ["PATH"], "HOME": str(outgate.folder)})
    assert {file.name for file in handed.iterdir()} == {"ca.pem", "ca-bundle.pem", "truststore.p12", "env"}
    return handed / "env"


def _token(outgate: Boxed, proxy: str) -> Path:
    """The variables of a sandbox with a token, as `outgate env` prints them."""
    arguments = ["--state", str(outgate.state), "--name", "agent-1", "--proxy", proxy]
    done = run_outgate(outgate.folder, "env", *arguments)
    assert done.returncode == 0, done.stderr
    env = outgate.folder / "agent-1.env"
    env.write_text(done.stdout, encoding="utf-8")
    return env


def gateway(folder: Path) -> dict[str, Any]:
    """Kubernetes' shared gateway: every address, and a token for each sandbox."""
    (container,) = only("gateway.yaml", "Deployment", "outgate")["spec"]["template"]["spec"]["containers"]
    return two_networks(folder, forwarding=False, words=container["args"])


def sidecar(folder: Path, *, rules: bool) -> dict[str, Any]:
    """One network for both; packet filter rules tell them apart by user."""
    config = only("sidecar.yaml", "ConfigMap", "outgate")["data"]
    containers = only("sidecar.yaml", "Pod", "agent-1")["spec"]["initContainers"]
    words = next(one["args"] for one in containers if one["name"] == "outgate")
    with namespace() as pod:
        world = World(pod)
        if rules:
            (folder / "boundary.nft").write_text(config["boundary.nft"], encoding="utf-8")
            pod.run(NFT, "-f", str(folder / "boundary.nft"))
        with started(folder, pod, words, config["agent.yaml"], OUTGATE_USER) as (outgate, upstream):
            env = _handed_over(outgate)
            return judged([*pod.enter(), *_as_user(AGENT_USER)], outgate, upstream, world, env, [f"tcp,{OUTWARD},8899"])


def _handed_over(outgate: Boxed) -> Path:
    """The variables and certificates where the agent's user can read them; the state folder stays closed to it."""
    command = [*outgate.where.enter(), *_as_user(OUTGATE_USER, "dac_override")]
    command += [str(OUTGATE), "env", "--state", str(outgate.state), "--format", "shell"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, cwd=outgate.folder)
    handed = outgate.folder / "handed"
    handed.mkdir()
    for name in ("ca.pem", "ca-bundle.pem", "truststore.p12"):
        shutil.copy(outgate.state / name, handed)
    env = handed / "env"
    env.write_text(done.stdout.replace(str(outgate.state), str(handed)), encoding="utf-8")
    for folder in (handed, *handed.parents):
        if folder.is_relative_to(tempfile.gettempdir()) and folder != Path(tempfile.gettempdir()):
            folder.chmod(0o755)
    return env


def inner_socket(folder: Path) -> dict[str, Any]:
    """systemd: the agent's network has loopback alone, and a socket in it whose listener is outside."""
    words = unit("outgate.service")["ExecStart"][0].split()[1:]
    host, _, port = unit("outgate-agent@.socket")["ListenStream"][0].rpartition(":")
    with namespace() as there, namespace() as agent:
        world = World(there)
        policy = text_of(COMPOSE.parent / "policies/agent.yaml")
        with (
            started(folder, there, words, policy) as (outgate, upstream),
            _made_in(agent, host, int(port)) as listener,
            _proxyd(there, listener),
        ):
            env = _token(outgate, f"{host}:{port}")
            found = judged(agent.enter(), outgate, upstream, world, env, [f"tcp,{OUTWARD},8899", "tcp,127.0.0.1,22"])
            return found | {"inside": sorted(agent.listening())}


@contextlib.contextmanager
def _made_in(where: Namespace, host: str, port: int) -> Iterator[socket.socket]:
    """A listening socket of another namespace, as systemd makes one for a socket unit with PrivateNetwork."""
    pid = os.getpid()
    home = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    target = os.open(f"/proc/{where.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        # The calling thread alone moves, and back: Python 3.12's setns(2).
        os.setns(target, os.CLONE_NEWNET)
        try:
            listener = socket.create_server((host, port))
        finally:
            os.setns(home, os.CLONE_NEWNET)
        with listener:
            yield listener
    finally:
        os.close(home)
        os.close(target)


@contextlib.contextmanager
def _proxyd(where: Namespace, listener: socket.socket) -> Iterator[None]:
    """The program of outgate-link@.service with its socket, as systemd hands it over (sd_listen_fds(3))."""
    (start,) = unit("outgate-link@.service")["ExecStart"]
    hand_over = (
        "import os, sys; os.dup2(int(sys.argv[1]), 3); os.set_inheritable(3, True)\n"
        "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1'); os.execv(sys.argv[2], sys.argv[2:])"
    )
    command = [*where.enter(), PYTHON, "-c", hand_over, str(listener.fileno()), *start.split()]
    with subprocess.Popen(command, pass_fds=(listener.fileno(),)) as process:
        try:
            yield
        finally:
            process.terminate()


TOPOLOGIES = {
    "compose": lambda folder: two_networks(folder, forwarding=False),
    "compose-forwarding": lambda folder: two_networks(folder, forwarding=True),
    "gateway": gateway,
    "sidecar": lambda folder: sidecar(folder, rules=True),
    "sidecar-without-rules": lambda folder: sidecar(folder, rules=False),
    "systemd": inner_socket,
}


def main(arguments: Sequence[str]) -> None:
    """Run inside the namespaces if told so; else print what an agent came to."""
    match arguments:
        case ["--inside", topology]:
            with tempfile.TemporaryDirectory(prefix="deploy-") as name:
                found = TOPOLOGIES[topology](Path(name))
            sys.stdout.write(json.dumps(found) + "\n")
        case [topology]:
            sys.stdout.write(json.dumps(observe(topology), indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
