"""One exchange by its id, without a database: the files that can hold it, and a search for its bytes."""

import gzip
import os
import re
from collections.abc import Callable, Iterator
from typing import Any
from zlib import error as zlib_error

from proxy.audit.chain import MAX_LINE
from proxy.errors import ConfigError
from proxy.insight.sources import Source, Sources
from proxy.review.seen import NotAnEvent, read_record

_ID = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}", re.ASCII)
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_BUFFER = 1 << 20


def check_id(text: str) -> str:
    """The id, upper-case. Raises `ConfigError` for what is none."""
    wanted = text.strip().upper()
    if _ID.fullmatch(wanted) is None:
        hint = "an id has 26 digits and letters: refusals carry it as `audit_id`, tables as `for example`"
        raise ConfigError(f"not an id of an event: {text[:40]!r}", hint)
    return wanted


def find(sources: Sources, wanted: str, told: Callable[[str], None]) -> tuple[list[dict[str, Any]], list[str]]:
    """The events with that id, the last one at the end, and files that could not be read to their ends.

    A file that was last written before the exchange began is looked at last: clocks can be wrong.
    """
    began = sum(_ALPHABET.index(digit) << 5 * place for place, digit in enumerate(reversed(wanted[:10]))) / 1000
    times = {file: os.fstat(file.fd).st_mtime for file in sources.files}
    found: list[dict[str, Any]] = []
    broken: list[str] = []
    for file in sorted(sources.files, key=lambda each: (times[each] < began, times[each])):
        told(file.name)
        try:
            found += [{**event, "file": file.name} for event in _events(file, wanted)]
        except (OSError, EOFError, zlib_error):
            broken.append(file.name)
        if any(event["end"] not in ("open", "crashed") for event in found):
            break
    order = {"open": 0, "crashed": 1}
    return sorted(found, key=lambda event: order.get(event["end"], 2)), broken


def _events(file: Source, wanted: str) -> Iterator[dict[str, Any]]:
    needle = wanted.encode()
    with open(file.path, "rb", _BUFFER) as plain:  # noqa: PTH123  a descriptor
        stream = gzip.GzipFile(fileobj=plain) if file.packed else plain
        while line := stream.readline(MAX_LINE):
            if needle in line:
                try:
                    event = read_record(line)
                except NotAnEvent:
                    continue
                if event is not None and event["id"] == wanted:
                    yield event
