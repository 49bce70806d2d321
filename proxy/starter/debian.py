"""apt: where its packages come from.

Source: sources.list(5). One-line files and deb822 files; options in brackets, `Enabled: no` and comments are known,
other methods than http and https are not a proxy's business.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from proxy.starter.machine import Found, Machine

_LINE = re.compile(r"\s*deb(?:-src)?\s+(?:\[[^\]]*\]\s*)?(\S+)")
_FIELD = re.compile(r"([A-Za-z-]+):(.*)")


def apt(machine: Machine) -> list[Found]:
    """Each address once, with the first file that names it."""
    found: dict[str, Found] = {}
    for file in _files(machine):
        read = _stanzas if file.suffix == ".sources" else _lines
        for text in read(machine.read(file) or ""):
            for each in machine.found("apt", machine.shown(file), text):
                found.setdefault(str(each.place), each)
    return list(found.values())


def _files(machine: Machine) -> Iterator[Path]:
    folder = machine.etc / "apt"
    yield folder / "sources.list"
    for name in machine.names(folder / "sources.list.d"):
        if name.endswith((".list", ".sources")) and not name.startswith("."):
            yield folder / "sources.list.d" / name


def _lines(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if match := _LINE.match(line):
            yield match[1]


def _stanzas(text: str) -> Iterator[str]:
    """The `URIs` of each stanza that is enabled."""
    for stanza in re.split(r"\n[ \t]*\n", text.replace("\r\n", "\n")):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line.startswith("#"):
                continue
            if match := _FIELD.match(line):
                name = match[1].lower()
                fields[name] = match[2]
            elif line[:1].isspace() and name:
                fields[name] += " " + line.strip()
        if fields.get("enabled", "").strip().lower() not in ("no", "false", "0", "off", "without", "disable"):
            yield from fields.get("uris", "").split()
