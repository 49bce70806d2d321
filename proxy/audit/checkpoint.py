"""Checkpoints: where every chain stood at a time, signed. `audit/checkpoints.jsonl`, one line each.

A line ends with `,"signature":"HEX"}`. It signs `DOMAIN` and the bytes that stand before. `prev` is the SHA-256 of the
line before, without its line break, so that the checkpoints are a chain as well.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from proxy.audit import files
from proxy.audit.chain import Head
from proxy.audit.key import public_hex
from proxy.exchange import new_id

FILE = "checkpoints.jsonl"
TYPE = "checkpoint"
DOMAIN = b"outgate audit checkpoint 1\n"
NOTHING = "0" * 64  # what the first checkpoint follows
MAX_CHECKPOINT = 1 << 20

_SIGNATURE = re.compile(rb',"signature":"([0-9a-f]{128})"\}\n?\Z')
_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint as it is read, not verified. `heads` by log, `torn` the SHA-256 of a half line before it."""

    number: int
    time: str
    prev: str
    torn: str | None
    heads: Mapping[str, Head]
    key: str
    signature: bytes
    signed: bytes
    digest: str


def make(key: Ed25519PrivateKey, number: int, prev: str, heads: Mapping[str, Head], torn: str | None = None) -> bytes:
    """The line of checkpoint `number`, after the line with the SHA-256 `prev`."""
    record = {
        "v": 1,
        "type": TYPE,
        "id": new_id(),
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "number": number,
        "prev": prev,
        **({} if torn is None else {"torn": torn}),
        "chains": [
            {"file": f"{log}.jsonl", "seq": head.seq, "chain": head.value.decode()} for log, head in heads.items()
        ],
        "key": public_hex(key),
    }
    body = json.dumps(record, separators=(",", ":")).encode()[:-1]
    return b'%b,"signature":"%b"}\n' % (body, key.sign(DOMAIN + body).hex().encode())


def parse(line: bytes) -> Checkpoint | None:
    """A line as a checkpoint; None if it is none."""
    found = _SIGNATURE.search(line)
    try:
        record = json.loads(line)
        if found is None or record["type"] != TYPE or type(record["number"]) is not int:
            return None
        texts = [record["time"], record["prev"], record["key"], record.get("torn") or NOTHING]
        heads = {
            str(each["file"]).removesuffix(".jsonl"): Head(int(each["seq"]), str(each["chain"]).encode("ascii"))
            for each in record["chains"]
        }
    except (ValueError, KeyError, TypeError, RecursionError, AttributeError):
        return None
    if not all(isinstance(text, str) for text in texts) or not all(_HEX.fullmatch(text) for text in texts[1:]):
        return None
    return Checkpoint(
        number=record["number"],
        time=record["time"],
        prev=record["prev"],
        torn=record.get("torn"),
        heads=heads,
        key=record["key"],
        signature=bytes.fromhex(found[1].decode()),
        signed=DOMAIN + line[: found.start()],
        digest=sha256(line.rstrip(b"\n")).hexdigest(),
    )


def append(folder: Path, key: Ed25519PrivateKey, heads: Mapping[str, Head]) -> Sequence[str]:
    """Sign where the chains stand, unless the last checkpoint says just that.

    Returns the logs that are shorter than the last checkpoint says: something took their ends away. Raises `OSError`,
    or `ConfigError` if the file cannot be opened.
    """
    fd = files.open_append(folder / FILE)
    try:
        size = os.fstat(fd).st_size
        whole = files.last_break(fd, size)
        last = _last(fd, whole)
        if last is not None and whole == size and dict(last.heads) == dict(heads):
            return ()
        torn = None
        if whole < size:
            torn = sha256(os.pread(fd, min(size - whole, MAX_CHECKPOINT), whole)).hexdigest()
        number, prev = (1, NOTHING) if last is None else (last.number + 1, last.digest)
        line = make(key, number, prev, heads, torn)
        files.write(fd, line if torn is None else b"\n" + line, sync=True)
    finally:
        os.close(fd)
    before = {} if last is None else last.heads
    return [log for log, head in before.items() if log not in heads or heads[log].seq < head.seq]


def _last(fd: int, end: int) -> Checkpoint | None:
    """The last whole checkpoint before `end`."""
    while end > 0:
        start = files.last_break(fd, end - 1)
        found = parse(os.pread(fd, min(end - start, MAX_CHECKPOINT), start))
        if found is not None:
            return found
        end = start
    return None
