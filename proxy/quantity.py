"""Sizes and times as people write them: `64MiB`, `24h`; numbers of things as people read them."""

import re

_SIZE = re.compile(r"([1-9][0-9]{0,14})(|KiB|MiB|GiB)", re.ASCII)
_TIME = re.compile(r"([1-9][0-9]{0,8})([smhd])", re.ASCII)
_BYTES = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def size(text: str) -> int:
    """Bytes: a number, or one with a binary unit. Raises `ValueError`."""
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ValueError("not a size")
    return int(found[1]) * _BYTES[found[2]]


def seconds(text: str) -> int:
    """Seconds, from a number with a unit. Raises `ValueError`."""
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError("not a time")
    return int(found[1]) * _SECONDS[found[2]]


def counted(number: int, thing: str, things: str = "") -> str:
    """`1 event`, `2 events`."""
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"
