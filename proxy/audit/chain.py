"""The hash chain of a log: every line is bound to the one before it. Pure.

A line ends with its number and its link: `{...,"seq":N,"chain":"HEX"}`. HEX is SHA-256 over the chain value of the
line before, as its 64 ASCII digits, and the bytes of this line that stand before `,"chain":`. A verifier needs the raw
bytes alone. The first line of a file repeats the value that it follows, as `"prev"` before `"seq"`, so that a file
names its predecessor. Before the first line of all stands `genesis`: a chain cannot pass for that of another log.
"""

import re
from hashlib import sha256
from typing import NamedTuple

TORN = "torn"
LINK_SIZE = len(',"chain":""}\n') + 64
MAX_LINE = 128 * 1024  # the longest event that `proxy.audit.event` can write is below 64 KiB

_LINK = re.compile(rb'(?:,"prev":"([0-9a-f]{64})")?,"seq":([1-9][0-9]{0,17}),"chain":"([0-9a-f]{64})"\}\n?\Z')
_NUMBER = re.compile(rb',"seq":([1-9][0-9]{0,17}),"chain":"[0-9a-f]{64}"\}')
_TAIL = LINK_SIZE + 128


class Head(NamedTuple):
    """Where a chain stands: the number of its last line (0 before the first) and its value, 64 hex digits."""

    seq: int
    value: bytes


class Link(NamedTuple):
    """What a line says of its place: its number and value, and what it follows if it is the first of its file."""

    seq: int
    value: bytes
    prev: bytes | None


def genesis(log: str) -> Head:
    """Where the chain of the log `worker-0`, say, begins."""
    return Head(0, sha256(b"outgate audit chain 1 " + log.encode()).hexdigest().encode())


def seal(line: bytes, seq: int, prev: bytes, *, first: bool = False) -> tuple[bytes, bytes]:
    """A line of JSON with its number and its link, and its chain value. `first` of its file, it names `prev`."""
    named = b',"prev":"%b"' % prev if first else b""
    body = b'%b%b,"seq":%d' % (line[:-2], named, seq)
    value = sha256(prev + body).hexdigest().encode()
    return b'%b,"chain":"%b"}\n' % (body, value), value


def link_of(line: bytes) -> Link | None:
    """What a line says of its place in a chain; None if it has none. Whether it is true is for `holds` to say."""
    found = _LINK.search(line, max(0, len(line) - _TAIL))
    return None if found is None else Link(int(found[2]), found[3], found[1])


def number_in(data: bytes) -> int | None:
    """The number of the first line with one in a piece of a file. No text in JSON can look like it: bare quotes."""
    found = _NUMBER.search(data)
    return None if found is None else int(found[1])


def holds(line: bytes, prev: bytes) -> bool:
    """Whether a whole line, with its line break, is what followed `prev`."""
    return sha256(prev + line[:-LINK_SIZE]).hexdigest().encode() == line[-LINK_SIZE:][10:74]
