"""The cases, by family. Each module names its family and says what it is about."""

from tests.boundary.case import Case
from tests.boundary.cases import (
    addresses,
    control,
    credentials,
    escapes,
    http1,
    http2,
    identity,
    paths,
    rebinding,
    reload,
    upgrades,
)

FAMILIES: dict[str, tuple[Case, ...]] = {
    "Destination identity": identity.CASES,
    "Protocol escapes": escapes.CASES,
    "HTTP/1 parsing": http1.CASES,
    "HTTP/2 parsing": http2.CASES,
    "Host and address spellings": addresses.CASES,
    "Rebinding and private addresses": rebinding.CASES,
    "Path ambiguity": paths.CASES,
    "Upgrades and answers": upgrades.CASES,
    "Credential leaks": credentials.CASES,
    "Control plane and other sandboxes": control.CASES,
    "Reload": reload.CASES,
}
CASES: tuple[Case, ...] = tuple(case for cases in FAMILIES.values() for case in cases)
