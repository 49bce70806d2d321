"""System calls that would lead out of a sandbox, tried inside a real one."""

import errno
import os
import struct

import pytest

from proxy.errors import ConfigError
from proxy.sandbox import seccomp
from tests.sandbox.box import Box

X86 = os.uname().machine == "x86_64"
NUMBERS = {
    "x86_64": {
        "clone": 56,
        "unshare": 272,
        "keyctl": 250,
        "add_key": 248,
        "request_key": 249,
        "bpf": 321,
        "perf": 298,
        "fault": 323,
    },
    "aarch64": {
        "clone": 220,
        "unshare": 97,
        "keyctl": 219,
        "add_key": 217,
        "request_key": 218,
        "bpf": 280,
        "perf": 241,
        "fault": 282,
    },
}.get(os.uname().machine, {})


def test_only_families_that_namespaces_hold_make_sockets(box: Box) -> None:
    found = box.probe("""
for family in range(64):
    for kind, protocol in ((1, 0), (2, 0), (3, 1), (5, 0)):
        attempt(f"{family}/{kind}", lambda: socket.socket(family, kind, protocol).close())
for family in (1, 40, 38, 17):
    attempt(f"pair {family}", lambda: [each.close() for each in socket.socketpair(family, 1)])
attempt("high bits", call, 41 if os.uname().machine == "x86_64" else 198, ctypes.c_long(0x100000028), 1, 0)
""")
    made = {name.split("/")[0] for name, how in found.items() if how == "done" and "/" in name}
    assert made == {"1", "2", "10", "16"}
    assert found["40/1"] == found["38/5"] == found["high bits"] == "EAFNOSUPPORT"
    assert (found["2/3"], found["10/3"]) == ("EPERM", "EPERM")
    assert [found[f"pair {family}"] for family in (1, 40, 38, 17)] == ["done", *["EAFNOSUPPORT"] * 3]


def test_a_terminal_cannot_be_made_to_type(box: Box) -> None:
    """Not with bits above the 32 that the kernel looks at either (CVE-2019-10063)."""
    found = box.probe("""
import pty
one, other = pty.openpty()
byte = ctypes.create_string_buffer(b"x")
number = 16 if os.uname().machine == "x86_64" else 29
for name, request in (("TIOCSTI", 0x5412), ("TIOCLINUX", 0x541C), ("TIOCGWINSZ", 0x5413)):
    for high in (0, 1 << 32, 0xFFFFFFFF << 32):
        wide = ctypes.c_ulong(request | high)
        attempt(f"{name} {high >> 32:x}", call, number, other, wide, ctypes.create_string_buffer(8))
""")
    assert {how for name, how in found.items() if name.startswith("TIOCGWINSZ")} == {"done"}
    assert {how for name, how in found.items() if not name.startswith("TIOCGWINSZ")} == {"EPERM"}


def test_calls_with_ways_around_are_refused(box: Box) -> None:
    found = box.probe(f"""
for name, number in {NUMBERS!r}.items():
    if name not in ("clone", "unshare"):
        attempt(name, call, number, 0, 0, 0, 0, 0)
for number in (425, 426, 427, 435):
    attempt(str(number), call, number, 0, 0, 0, 0, 0)
""")
    assert {found[name] for name in ("keyctl", "add_key", "request_key", "bpf", "perf", "fault")} == {"EPERM"}
    assert {found[number] for number in ("425", "426", "427", "435")} == {"ENOSYS"}


def test_no_user_namespace_can_be_made_inside(box: Box) -> None:
    found = box.probe(f"""
clone, unshare = {NUMBERS["clone"]}, {NUMBERS["unshare"]}
attempt("unshare", call, unshare, 0x10000000)
attempt("unshare with more", call, unshare, 0x10000000 | 0x20000)
attempt("unshare high bits", call, unshare, ctypes.c_ulong(0x10000000 | 1 << 32))
attempt("clone", call, clone, 0x10000000 | 17, 0, 0, 0, 0)
attempt("unshare files", call, unshare, 0x400)
attempt("mounts alone", call, unshare, 0x20000)
""")
    assert {how for name, how in found.items() if name != "unshare files"} == {"EPERM"}
    assert found["unshare files"] == "done"


@pytest.mark.skipif(not X86, reason="these are doors of x86 machines")
def test_other_abis_are_closed(box: Box) -> None:
    """32-bit calls by their interrupt and x32 calls by their bit have numbers that the filter does not know."""
    found = box.probe("""
import mmap
attempt("x32", call, 0x40000000 | 39)
code = bytes.fromhex("b814000000cd80c3")  # mov eax, 20 (getpid of i386); int 0x80; ret
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(code)
address = ctypes.addressof(ctypes.c_char.from_buffer(page))
found["i386"] = ctypes.CFUNCTYPE(ctypes.c_int)(address)()
""")
    assert found == {"x32": "ENOSYS", "i386": -38}


def test_threads_and_processes_start_without_clone3(box: Box) -> None:
    found = box.probe("""
import subprocess, threading
thread = threading.Thread(target=lambda: found.update(thread=True)); thread.start(); thread.join()
found["child"] = subprocess.run(["/bin/sh", "-c", "echo $((6 * 7))"], capture_output=True, text=True).stdout
""")
    assert found == {"thread": True, "child": "42\n"}


def test_with_nested_an_agent_makes_sandboxes_of_its_own(box: Box) -> None:
    if os.getuid() == 0 and not box.nobody:
        pytest.skip("root without capabilities can map no user, so it has no sandboxes of its own")
    inner = [
        "bwrap",
        "--unshare-user",
        "--unshare-net",
        "--ro-bind",
        "/",
        "/",
        "--dev",
        "/dev",
        "--",
        "/bin/echo",
        "in",
    ]

    assert box.run(inner, profile=box.profile(nested=True)).stdout == "in\n"
    assert box.run(inner).returncode != 0


def verdict(code: bytes, arch: int, number: int, *arguments: int) -> int:
    """What the kernel would answer: 0 for allowed, else the error. A machine for the few steps that we use."""
    data = struct.pack("<IIQ6Q", number, arch, 0, *(*arguments, *[0] * (6 - len(arguments))))
    steps = [struct.unpack_from("<HBBI", code, at) for at in range(0, len(code), 8)]
    at = word = 0
    while True:
        kind, then, other, value = steps[at]
        at += 1
        if kind == 0x06:
            return 0 if value == 0x7FFF0000 else value & 0xFFFF
        if kind == 0x20:
            (word,) = struct.unpack_from("<I", data, value)
        else:
            passed = {0x15: word == value, 0x35: word >= value, 0x45: bool(word & value)}[kind]
            at += then if passed else other


@pytest.mark.parametrize(
    ("machine", "arch", "numbers"),
    [
        (
            "x86_64",
            0xC000003E,
            {"ioctl": 16, "socket": 41, "socketpair": 53, "clone": 56, "unshare": 272, "keyctl": 250},
        ),
        (
            "aarch64",
            0xC00000B7,
            {"ioctl": 29, "socket": 198, "socketpair": 199, "clone": 220, "unshare": 97, "keyctl": 219},
        ),
    ],
)
def test_the_filter_answers_on_every_machine(machine: str, arch: int, numbers: dict[str, int]) -> None:
    closed, nested = seccomp.program(machine), seccomp.program(machine, nested=True)
    for code, namespaces, clone3 in ((closed, errno.EPERM, errno.ENOSYS), (nested, 0, 0)):
        for high in (0, 1 << 32, 0xFFFFFFFF << 32):
            assert verdict(code, arch, numbers["ioctl"], 0, 0x5412 | high) == errno.EPERM
            assert verdict(code, arch, numbers["ioctl"], 0, 0x541C | high) == errno.EPERM
            assert verdict(code, arch, numbers["socket"], 40 | high) == errno.EAFNOSUPPORT
            assert verdict(code, arch, numbers["unshare"], 0x10000000 | high) == namespaces
        assert verdict(code, arch, numbers["ioctl"], 0x5412, 0x5413) == 0
        assert {
            verdict(code, arch, numbers[name], family) for name in ("socket", "socketpair") for family in (1, 2, 10, 16)
        } == {0}
        assert verdict(code, arch, numbers["clone"], 0x10000000 | 17) == namespaces
        assert verdict(code, arch, numbers["clone"], 0x003D0F00) == 0  # a thread
        assert verdict(code, arch, 435) == clone3
        assert verdict(code, arch, 425) == errno.ENOSYS
        assert verdict(code, arch, numbers["keyctl"]) == errno.EPERM
        assert verdict(code, 0x40000003, numbers["socket"], 2) == errno.ENOSYS  # i386
        assert verdict(code, arch, 1) == 0
    assert verdict(closed, arch, 0x40000000 | 1) == (errno.ENOSYS if machine == "x86_64" else 0)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_every_jump_stays_in_the_program(machine: str) -> None:
    for nested in (False, True):
        code = seccomp.program(machine, nested=nested)
        steps = [struct.unpack_from("<HBBI", code, at) for at in range(0, len(code), 8)]
        assert steps[-1] == (0x06, 0, 0, 0x7FFF0000)
        jumps = [(at, then, other) for at, (kind, then, other, _) in enumerate(steps) if kind & 7 == 5]
        assert all(at + 1 + max(then, other) < len(steps) for at, then, other in jumps)


def test_a_machine_that_is_not_known_is_refused() -> None:
    with pytest.raises(ConfigError, match="not made for riscv64"):
        seccomp.program("riscv64")
