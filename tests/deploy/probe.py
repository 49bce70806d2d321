"""What an agent could try: run inside its network by a Python without this project. Prints what each attempt came to.

`open` means that somebody answered, `sent` that the system took a packet; anything else is the name of the error.
"""

import contextlib
import errno
import json
import socket
import struct
import sys
from concurrent.futures import ThreadPoolExecutor

MARK = b"out-of-the-sandbox"
PATIENCE = 4.0
GATEWAY = bytes.fromhex("020000000002")
"""The hardware address of whoever has the other end of the link."""


def tcp(address: str, port: int) -> str:
    with socket.create_connection((address, port), timeout=PATIENCE):
        return "open"


def udp(address: str, port: int) -> str:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.sendto(MARK, (address, port))
        return "sent"


def ping(address: str, _: int) -> str:
    """An echo request: by a raw socket, or by the kind that users may have."""
    for kind in (socket.SOCK_RAW, socket.SOCK_DGRAM):
        with (
            contextlib.suppress(PermissionError),
            socket.socket(socket.AF_INET, kind, socket.IPPROTO_ICMP) as sock,
        ):
            sock.sendto(struct.pack("!BBHHH", 8, 0, _sum(MARK), 1, 1) + MARK, (address, 0))
            return "sent"
    raise PermissionError(errno.EPERM, "no socket for it")


def frame(address: str, port: int) -> str:
    """A datagram in a frame of our own, to the other end of the link: it asks no routing table of ours."""
    name = next((name for _, name in socket.if_nameindex() if name != "lo"), "lo")
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind((name, 0x0800))
        own = sock.getsockname()[4]
        payload = struct.pack("!HHHH", 4444, port, 8 + len(MARK), 0) + MARK
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, 64, 17, 0)
        ends = socket.inet_aton("172.30.200.3") + socket.inet_aton(address)
        head = head[:10] + struct.pack("!H", _checksum(head + ends)) + ends
        sock.send(GATEWAY + own + b"\x08\x00" + head + payload)
        return "sent"


def _checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF


def _sum(payload: bytes) -> int:
    return _checksum(struct.pack("!BBHHH", 8, 0, 0, 1, 1) + payload)


def attempt(kind: str, address: str, port: int) -> str:
    try:
        return str({"tcp": tcp, "udp": udp, "ping": ping, "frame": frame}[kind](address, port))
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, type(error).__name__)


def main() -> None:
    wanted = [word.split(",") for word in sys.argv[1:]]
    with ThreadPoolExecutor(max_workers=len(wanted)) as pool:
        found = pool.map(lambda each: attempt(each[0], each[1], int(each[2])), wanted)
        sys.stdout.write(json.dumps(dict(zip(sys.argv[1:], found, strict=True))) + "\n")


if __name__ == "__main__":
    main()
