"""The system calls a sandbox may not make, as a classic BPF program for seccomp.

A network namespace and a mount namespace do not hold everything: some socket families belong to no network namespace,
io_uring makes sockets without `socket`, and a terminal can be made to type. Everything that is not listed is allowed.
"""

import errno
import struct
from dataclasses import dataclass

from proxy.errors import ConfigError

_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # linux/bpf_common.h
_NUMBER, _ARCH, _FIRST, _SECOND = 0, 4, 16, 24  # struct seccomp_data; low halves, on little-endian machines
_X32 = 0x40000000

_NEWUSER = 0x10000000
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_FAMILIES = (1, 2, 10, 16)  # AF_UNIX, AF_INET, AF_INET6, AF_NETLINK: all held by the network namespace or by paths


@dataclass(frozen=True, slots=True)
class _Machine:
    """The numbers of one kind of machine (linux/audit.h, asm/unistd.h)."""

    arch: int
    ioctl: int
    socket: int
    socketpair: int
    clone: int
    unshare: int
    forbidden: tuple[int, ...]
    x32: bool = False


_CLONE3 = 435
_IO_URING = (425, 426, 427)
_MACHINES = {
    # forbidden: keyctl, add_key, request_key, bpf, perf_event_open, userfaultfd
    "x86_64": _Machine(0xC000003E, 16, 41, 53, 56, 272, (250, 248, 249, 321, 298, 323), x32=True),
    "aarch64": _Machine(0xC00000B7, 29, 198, 199, 220, 97, (219, 217, 218, 280, 241, 282)),
}


def program(machine: str, *, nested: bool = False) -> bytes:
    """The filter for `os.uname().machine`. `nested` lets the sandbox make user namespaces of its own.

    Without them no process inside can get a mount namespace in which a mount point of the sandbox is none, and so
    could be renamed: see docs/run.md. Raises `ConfigError` for machines whose numbers are not known here.
    """
    kind = _MACHINES.get(machine)
    if kind is None:
        hint = f"use {' or '.join(_MACHINES)}, or a container"
        raise ConfigError(f"the sandbox is not made for {machine} machines", hint)
    code = [*_only(_ARCH, (kind.arch,), errno.ENOSYS), _load(_NUMBER)]
    if kind.x32:
        code += [_jump(_AT_LEAST, _X32, 0, 1), _refuse(errno.ENOSYS)]
    code += _calls(_IO_URING, errno.ENOSYS)
    code += _calls(kind.forbidden, errno.EPERM)
    # The request of ioctl is 32 bits wide to the kernel: a comparison of all 64 would be led astray by the rest.
    code += _call(kind.ioctl, [*_not(_SECOND, _EQUAL, (_TIOCSTI, _TIOCLINUX), errno.EPERM), _allow()])
    for number in (kind.socket, kind.socketpair):
        code += _call(number, [*_only(_FIRST, _FAMILIES, errno.EAFNOSUPPORT), _allow()])
    if not nested:
        # The flags of clone3 stand behind a pointer; without it, C libraries use clone.
        code += _calls((_CLONE3,), errno.ENOSYS)
        for number in (kind.clone, kind.unshare):
            code += _call(number, [*_not(_FIRST, _ANY_BIT, (_NEWUSER,), errno.EPERM), _allow()])
    return b"".join([*code, _allow()])


def _load(offset: int) -> bytes:
    return struct.pack("<HBBI", _LOAD, 0, 0, offset)


def _jump(test: int, value: int, then: int, otherwise: int) -> bytes:
    return struct.pack("<HBBI", test, then, otherwise, value)


def _allow() -> bytes:
    return struct.pack("<HBBI", _RETURN, 0, 0, _ALLOW)


def _refuse(error: int) -> bytes:
    return struct.pack("<HBBI", _RETURN, 0, 0, _ERRNO | error)


def _call(number: int, body: list[bytes]) -> list[bytes]:
    """A body for one system call; it ends in a return."""
    return [_jump(_EQUAL, number, 0, len(body)), *body]


def _calls(numbers: tuple[int, ...], error: int) -> list[bytes]:
    return [step for number in numbers for step in _call(number, [_refuse(error)])]


def _not(offset: int, test: int, values: tuple[int, ...], error: int) -> list[bytes]:
    """Refuse where the word at an offset passes the test with one of the values."""
    return [_load(offset), *(step for value in values for step in (_jump(test, value, 0, 1), _refuse(error)))]


def _only(offset: int, values: tuple[int, ...], error: int) -> list[bytes]:
    """Refuse where the word at an offset is none of the values."""
    tests = [_jump(_EQUAL, value, len(values) - index, 0) for index, value in enumerate(values)]
    return [_load(offset), *tests, _refuse(error)]
