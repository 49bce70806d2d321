"""Network namespaces with links between them, for root. A namespace lives as long as the process that holds it."""

import contextlib
import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.deploy.probe import GATEWAY


@dataclass(frozen=True)
class Namespace:
    """A network namespace, by the process that holds it."""

    pid: int

    def enter(self) -> list[str]:
        """The beginning of a command that is to run in it."""
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", "--"]

    def run(self, *command: str) -> str:
        """Run a command in it; it must succeed."""
        done = subprocess.run([*self.enter(), *command], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, (command, done.stderr)
        return done.stdout

    def tune(self, key: str, value: str) -> None:
        """Set a kernel parameter of it: `net/ipv4/ip_forward`."""
        self.run("sh", "-c", f"echo {value} > /proc/sys/{key}")

    def listening(self) -> set[str]:
        """The TCP addresses on which somebody accepts: `127.0.0.1:8899`."""
        lines = self.run("ss", "--no-header", "--numeric", "--listening", "--tcp").splitlines()
        return {line.split()[3] for line in lines}


HERE = Namespace(os.getpid())


@contextlib.contextmanager
def namespace() -> Iterator[Namespace]:
    """A new namespace with loopback up."""
    # `cat` ends with us, whatever happens to us: its input is a pipe from here.
    command = ["unshare", "--net", "--", "sh", "-c", "ip link set lo up && echo ready && exec cat"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        yield Namespace(holder.pid)


def link(
    one: Namespace, one_name: str, one_has: Sequence[str], other: Namespace, name: str, has: Sequence[str]
) -> None:
    """Join two namespaces by a pair of interfaces with these addresses; the second gets the address of `GATEWAY`."""
    peer = ["type", "veth", "peer", "name", name, "address", GATEWAY.hex(":"), "netns", str(other.pid)]
    one.run("ip", "link", "add", one_name, *peer)
    for side, interface, addresses in ((one, one_name, one_has), (other, name, has)):
        for address in addresses:
            # Without duplicate address detection, which would make an address of IPv6 wait.
            side.run("ip", "address", "add", address, "dev", interface, *(("nodad",) if ":" in address else ()))
        side.run("ip", "link", "set", interface, "up")
