"""What a name resolves to: every answer is vetted, and what was vetted is dialled."""

from tests.boundary.case import Anew, Case, Expect, Step, Wanted, inside, request
from tests.boundary.cases.identity import CONTROL
from tests.boundary.scenery import NOWHERE, REBIND_FIRST, SILENT, VETTED

_WHAT = {
    "loopback": "loopback",
    "loopback-other": "another loopback address",
    "loopback6": "IPv6 loopback",
    "unspecified": "0.0.0.0",
    "unspecified6": "::",
    "zero": "0.0.0.0/8",
    "ten": "10.0.0.0/8",
    "one-seven-two": "172.16.0.0/12",
    "one-nine-two": "192.168.0.0/16",
    "metadata": "the metadata service",
    "metadata6": "the metadata service over IPv6",
    "azure": "Azure's wire server",
    "cgnat": "carrier-grade NAT",
    "alibaba": "another cloud's metadata service",
    "benchmark": "198.18.0.0/15",
    "ietf": "192.0.0.0/24",
    "documentation": "a documentation range",
    "reserved": "a reserved range",
    "unique-local": "a unique local IPv6 address",
    "link-local6": "a link-local IPv6 address",
    "site-local6": "a site-local IPv6 address",
    "mapped": "a mapped IPv4 address",
    "compatible": "an IPv4-compatible address",
    "nat64": "NAT64",
    "nat64-local": "local NAT64",
    "six-to-four": "6to4",
    "teredo": "Teredo",
    "documentation6": "an IPv6 documentation range",
    "mixed": "a public and a private address",
    "mixed6": "a public address and IPv6 loopback",
    "127.0.0.1": "what the name itself says (nip.io)",
}


def _vetted(label: str, what: str) -> Case:
    name = f"{label}.vet.example"
    mixed = label.startswith("mixed")
    origins = ("m12.dns", "f4.39" if "loopback" in label else "f4.36")
    return Case(
        f"rebinding-{label}",
        f"an allowed name resolves to {what}" + (", of which one may be dialled" if mixed else ""),
        inside(name, request(name)),
        origins,
        Expect(asked=(name,)),
        kept="without a zone nobody can dial it" if label == "link-local6" else "",
    )


def _twice(name: str) -> tuple[Step, ...]:
    # The upstream ends its first connection: one that was vetted may be kept, and then nothing is looked up again.
    return (*inside(name, request(name, "/only")), Anew(), *inside(name, request(name, "/second")))


def _rebound(label: str, threat: str, probe: tuple[Step, ...]) -> Case:
    name = f"{label}.vet.example"
    first = Wanted(name, "/only")
    return Case(
        f"rebinding-{label}",
        threat,
        probe,
        ("m12.dns", "f4.12"),
        Expect("refused", (first,), asked=(name,), dialled=(f"{REBIND_FIRST}:443",)),
    )


assert {f"{label}.vet.example" for label in _WHAT} == {name for name in VETTED if not name.startswith("rebind")}

CASES = (
    *(_vetted(label, what) for label, what in _WHAT.items()),
    _rebound("rebind", "a name that was public is loopback the next time", _twice("rebind.vet.example")),
    _rebound(
        "rebind-metadata",
        "a name that was public is the metadata service the next time",
        _twice("rebind-metadata.vet.example"),
    ),
    Case(
        "rebinding-rebind-tunnel",
        "a name changes its address while a tunnel is open",
        inside(
            "rebind-tunnel.vet.example",
            request("rebind-tunnel.vet.example", "/first"),
            request("rebind-tunnel.vet.example", "/second"),
        ),
        ("m12.dns", "f4.12"),
        Expect(
            "answered", (Wanted("rebind-tunnel.vet.example", "/first"), Wanted("rebind-tunnel.vet.example", "/second"))
        ),
        kept="a vetted connection may be kept; a new look-up would have to be vetted. " + CONTROL,
    ),
    Case(
        "rebinding-silent",
        "a resolver that does not answer: the search list of the host has it asked for another name",
        inside(SILENT, request(SILENT)),
        ("m12.dns",),
        Expect(asked=(SILENT,)),
    ),
    Case(
        "rebinding-nowhere",
        "a name that does not exist: the search list of the proxy's host makes one that does of it",
        inside(NOWHERE, request(NOWHERE)),
        ("m12.dns", "f4.12"),
        Expect(asked=(NOWHERE,)),
    ),
)
