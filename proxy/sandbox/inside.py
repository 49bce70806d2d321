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
    (socket.AF_INET, socket.SOCK_STREAM, "192.0.2.1", 443),
    (socket.AF_INET, socket.SOCK_DGRAM, "192.0.2.53", 53),
    (socket.AF_INET, socket.SOCK_STREAM, "169.254.169.254", 80),
    (socket.AF_INET6, socket.SOCK_STREAM, "2001:db8::1", 443),
    (socket.AF_INET6, socket.SOCK_DGRAM, "2001:db8::53", 53),
)
_AF_VSOCK = 40
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
    try:
        os.execvp(command[0], command)  # noqa: S606  that is what it is for
    except OSError as error:
        control.send(json.dumps({"errno": error.errno}).encode())
        sys.exit(126)


def check(port: int) -> dict[str, object]:
    """What holds of the boundary: each way out that is open, and whose proxy answers."""
    return {"ways": list(_ways()), **_proxy(port)}


def _ways() -> Iterator[str]:
    interfaces = [name for _, name in socket.if_nameindex() if name != "lo"]
    if interfaces:
        yield "network interfaces: " + ", ".join(interfaces)
    for family, kind, address, port in _ROUTES:
        with socket.socket(family, kind) as probe:
            probe.setblocking(False)
            code = probe.connect_ex((address, port))
            if code not in (errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EACCES, errno.EPERM):
                yield f"a route to {address} ({errno.errorcode.get(code, code)})"
    try:
        socket.socket(_AF_VSOCK, socket.SOCK_STREAM).close()
        yield "sockets to the virtual machine's host"
    except OSError:
        pass


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
