"""What runs first in a sandbox, before the command and in its place: makes the one socket, proves the boundary, goes.

Run as a script by a bare Python (`python -I -S`), so it imports the standard library alone and nothing of ours.
Arguments: the numbers of two descriptors (a Unix socket, one message at a time, and the standard error of the command),
the port, then the command.

It sends the listening socket, answers `check` with what it found as JSON, and on `go` becomes the command. The
other end sees the socket close if that worked, and `{"errno": N}` if not.
"""

import errno
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator

# Addresses that no network routes: RFC 5737, RFC 3849; the metadata address of clouds.
_ROUTES = (
    ("TCP", socket.AF_INET, socket.SOCK_STREAM, "192.0.2.1", 443),
    ("UDP", socket.AF_INET, socket.SOCK_DGRAM, "192.0.2.53", 53),
    ("metadata address", socket.AF_INET, socket.SOCK_STREAM, "169.254.169.254", 80),
    ("TCP over IPv6", socket.AF_INET6, socket.SOCK_STREAM, "2001:db8::1", 443),
    ("UDP over IPv6", socket.AF_INET6, socket.SOCK_DGRAM, "2001:db8::53", 53),
)
_NO_ROUTE = (errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EACCES, errno.EPERM)
_AF_VSOCK = 40
_SOCKETS: tuple[tuple[str, int, int, int], ...] = (
    ("raw sockets", socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
    ("packet sockets", getattr(socket, "AF_PACKET", 17), socket.SOCK_RAW, 0),
    ("sockets to the virtual machine's host", _AF_VSOCK, socket.SOCK_STREAM, 0),
)
# Sockets of the host that give away the machine, or a way out: container engines, buses, agents of keys, displays.
_UNIX = (
    *("/run/docker.sock", "/run/containerd/containerd.sock", "/run/podman/podman.sock", "/run/crio/crio.sock"),
    *("/run/dbus/system_bus_socket", "/run/systemd/private", "/run/nscd/socket", "/nix/var/nix/daemon-socket/socket"),
    *("/tmp/.X11-unix/X0", "/run/systemd/resolve/io.systemd.Resolve", "/run/snapd.socket"),  # noqa: S108
)
_PATIENCE = 10.0
_MAX_ANSWER = 65536


def main() -> None:
    """Serve the descriptor, then become the command."""
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    stderr, port, command = int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.bind(("127.0.0.1", port))
    listening.listen(1024)
    socket.send_fds(control, [b"{}"], [listening.fileno()])
    listening.close()
    while (order := control.recv(64)) == b"check":
        control.send(json.dumps(check(port)).encode())
    if order != b"go":
        sys.exit(1)
    os.dup2(stderr, 2)
    os.closerange(3, control.fileno())
    os.closerange(control.fileno() + 1, 1 << 16)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)  # Python ignores them, and that would be inherited
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # bubblewrap is started with some blocked
    try:
        os.execvp(command[0], command)  # noqa: S606  that is what it is for
    except (OSError, ValueError) as error:  # Python takes no empty name; to the system it is one of no file
        control.send(json.dumps({"errno": getattr(error, "errno", errno.ENOENT)}).encode())
        sys.exit(126)


def check(port: int) -> dict[str, object]:
    """What holds of the boundary: each way out with what is open of it, and whose proxy answers."""
    return {"ways": [*ways(alone=True)], **_proxy(port)}


def ways(*, alone: bool) -> Iterator[tuple[str, str]]:
    """Every way around the proxy that is tried, and what is open of it: nothing, if it is closed.

    `alone`: there must be no network interface but loopback.
    """
    if alone:
        yield "network interfaces", ", ".join(name for _, name in socket.if_nameindex() if name != "lo")
    for name, family, kind, address, port in _ROUTES:
        yield name, _route(family, kind, address, port)
    yield "DNS", ", ".join(server for server in _name_servers() if _answers(server))
    for kind_of_socket in _SOCKETS:
        yield kind_of_socket[0], _opens(*kind_of_socket[1:])
    reached = [path for path in (*_UNIX, os.environ.get("SSH_AUTH_SOCK", "")) if path and _connects(path)]
    yield "Unix sockets of the host", ", ".join(reached)
    yield "abstract sockets of the host", ", ".join(_abstract() if alone else ())


def _route(family: int, kind: int, address: str, port: int) -> str:
    try:
        with socket.socket(family, kind) as probe:
            probe.setblocking(False)
            code = probe.connect_ex((address, port))
    except OSError as error:
        code = error.errno or 0
    return "" if code in _NO_ROUTE else f"a route to {address} ({errno.errorcode.get(code, code)})"


def _name_servers() -> Iterator[str]:
    try:
        with open("/etc/resolv.conf", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            for line in file:
                words = line.split()
                if words[:1] == ["nameserver"] and len(words) > 1:
                    yield words[1].partition("%")[0]
    except OSError:
        return


def _answers(server: str) -> bool:
    """Whether a name server can be reached: one on loopback is not there, and to any other one no way leads."""
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.settimeout(3.0)
            code = probe.connect_ex((server, 53))
    except OSError:
        return False
    return code not in (*_NO_ROUTE, errno.ECONNREFUSED)


def _opens(family: int, kind: int, protocol: int) -> str:
    try:
        socket.socket(family, kind, protocol).close()
    except (OSError, OverflowError):
        return ""
    return "they can be made"


def _connects(path: str) -> bool:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1.0)
            probe.connect(path)
    except OSError as error:
        return error.errno == errno.EPROTOTYPE  # it is there, and of another kind
    return True


def _abstract() -> Iterator[str]:
    """Sockets without a file belong to a network namespace, and nobody else is in this one yet."""
    try:
        with open("/proc/net/unix", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            names = [line.split()[-1] for line in file]
    except OSError:
        return
    yield from [name for name in names if name.startswith("@")][:3]


def _proxy(port: int) -> dict[str, object]:
    """The name of the sandbox that the proxy says this is, or why it does not."""
    lines = ("GET http://outgate.internal/ HTTP/1.1", "Host: outgate.internal", "Connection: close", "", "")
    try:
        with socket.create_connection(("127.0.0.1", port), _PATIENCE) as client:
            client.sendall("\r\n".join(lines).encode())
            answer = b""
            while len(answer) < _MAX_ANSWER and (data := client.recv(_MAX_ANSWER)):
                answer += data
        head, _, body = answer.partition(b"\r\n\r\n")
        status = head.split(b" ", 2)[1]
        if status != b"200":
            return {"proxy": "", "why": "it answered " + status.decode("latin-1")}
        return {"proxy": str(json.loads(body)["sandbox"])}
    except (OSError, ValueError, LookupError, TypeError) as error:
        return {"proxy": "", "why": type(error).__name__}


if __name__ == "__main__":
    main()
