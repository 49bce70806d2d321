"""The remotes of the project's git repository, asked of git: its configuration includes files and other work trees."""

import re
from dataclasses import dataclass

from proxy.starter.machine import MAX_FOUND, Machine
from proxy.starter.place import Address, Place, Unusable, read_remote

_UNPRINTABLE = re.compile(r"[^!-~]")


@dataclass(frozen=True, slots=True)
class Remote:
    """One remote, at its address for https. `ssh` is true if it is configured for SSH, which no proxy here passes."""

    name: str
    address: Address
    ssh: bool

    @property
    def place(self) -> Place:
        return self.address.place


def remotes(machine: Machine) -> list[Remote]:
    """The remotes, each address once."""
    said = machine.ask(("git", "-C", str(machine.project), "config", "--null", "--get-regexp", r"^remote\..*\.url$"))
    found: dict[str, Remote] = {}
    for entry in (said or "").split("\0")[:MAX_FOUND]:
        key, _, url = entry.partition("\n")
        name = _UNPRINTABLE.sub("?", key.removeprefix("remote.").removesuffix(".url"))[:60]
        if not url:
            continue
        try:
            address, ssh = read_remote(url)
        except Unusable as unusable:
            machine.remark(f"git remote {name}", str(unusable))
        else:
            found.setdefault(str(address.place), Remote(name, address, ssh))
    return list(found.values())
