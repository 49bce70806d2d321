"""One line of an audit log, read back strictly: the event as a value, or a word on why it is none."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from ipaddress import ip_address
from typing import Any

from proxy.audit.event import VERSION
from proxy.policy.decide import OBSERVABLE
from proxy.policy.host import INTERNAL, Address, Host, MalformedHost, parse_host
from proxy.policy.reason import Reason

MAX_DEPTH = 16  # levels of lists and objects in a line; ours has four


class NotAnEvent(ValueError):
    """The line is damaged, or not an audit event of a known version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A recorded exchange: what was asked, and what was decided. Values of queries and headers are not on record.

    `passed` is the verdict; `time` is in UTC; `duration_ms` is None if the worker died.
    """

    id: str
    time: datetime
    sandbox: str | None
    policy: str | None
    digest: str | None
    scheme: str
    method: str
    host: Host | None
    port: int
    path: str
    query_keys: tuple[str, ...]
    passed: bool
    reason: Reason
    rule: str | None
    nearest: str | None
    detail: str
    credential: str | None
    not_injected: str | None
    upstream_ip: Address | None
    duration_ms: float | None
    end: str

    @property
    def observed(self) -> bool:
        """Whether `mode: observe` let pass what a policy denies.

        What went out and then failed, as with an outage of the upstream, passed too, for another reason.
        """
        return self.passed and self.reason in OBSERVABLE

    @property
    def internal(self) -> bool:
        """Whether it was asked of Outgate itself, about which no policy decides."""
        return self.host is not None and self.host.name == INTERNAL

    @property
    def tunnel(self) -> bool:
        return self.method == "CONNECT"

    @property
    def asked_nothing(self) -> bool:
        """Whether it is a CONNECT that was allowed and came to nothing: nobody was connected to for it."""
        return self.tunnel and self.passed and self.upstream_ip is None

    @property
    def url(self) -> str:
        """Where the exchange went, for readers; a tunnel has no scheme."""
        place = f"{self.host.url_form if self.host else '?'}:{self.port}"
        usual = {"https": 443, "http": 80}.get(self.scheme)
        if self.host is not None and self.port == usual:
            place = self.host.url_form
        return f"{self.scheme}://{place}{self.path}" if self.scheme else place


def read_event(line: bytes) -> Seen | None:
    """Read one line of `*.jsonl`; None for a record with a `type`, which is about no exchange, and for what Outgate
    was asked itself. Raises `NotAnEvent`.
    """
    found = _parsed(line)
    seen = None if found is None else seen_of(found)
    return None if seen is None or seen.internal else seen


def read_record(line: bytes) -> dict[str, Any] | None:
    """Read one line of `*.jsonl` as it stands there; None for a record with a `type`. Raises `NotAnEvent`."""
    found = _parsed(line)
    if found is not None:
        seen_of(found)
        if _deeper(found, MAX_DEPTH):
            raise NotAnEvent("nested too deep")
    return found


def _deeper(value: dict[str, Any] | list[Any], levels: int) -> bool:
    """Whether there are more levels of lists and objects in it."""
    inside = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_deeper(each, levels - 1) for each in inside if isinstance(each, dict | list))


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        raise NotAnEvent("not UTF-8") from None
    except RecursionError:
        raise NotAnEvent("nested too deep") from None
    except ValueError:
        whole = line.endswith(b"\n")
        raise NotAnEvent("not JSON" if whole else "not JSON; the line is cut off") from None
    if not isinstance(found, dict) or "v" not in found or not ("verdict" in found or "type" in found):
        raise NotAnEvent("not an audit event")
    if found["v"] is True or found["v"] != VERSION:
        raise NotAnEvent("an audit event of another version")
    return None if "type" in found else found


def seen_of(event: dict[str, Any]) -> Seen:
    """The event of one line, read already. Raises `NotAnEvent`."""
    if event.get("verdict") not in ("allow", "deny"):
        raise NotAnEvent("the field verdict is wrong")
    keys = event.get("query_keys")
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise NotAnEvent("the field query_keys is wrong")
    try:
        reason = Reason(_text(event, "reason"))
    except ValueError:
        raise NotAnEvent("the field reason is wrong") from None
    host, address = _maybe(event, "host"), _maybe(event, "upstream_ip")
    return Seen(
        id=_text(event, "id"),
        time=_time(_text(event, "time")),
        sandbox=_maybe(event, "sandbox"),
        policy=_maybe(event, "policy"),
        digest=_maybe(event, "policy_digest"),
        scheme=_text(event, "scheme"),
        method=_text(event, "method"),
        host=None if host is None else _host(host),
        port=_port(event.get("port")),
        path=_text(event, "path"),
        query_keys=tuple(keys),
        passed=event["verdict"] == "allow",
        reason=reason,
        rule=_maybe(event, "rule"),
        nearest=_maybe(event, "nearest"),
        detail=_text(event, "detail"),
        credential=_maybe(event, "credential"),
        not_injected=_maybe(event, "not_injected"),
        upstream_ip=None if address is None else _address(address),
        duration_ms=_number(event.get("duration_ms")),
        end=_text(event, "end"),
    )


def _text(event: dict[str, Any], key: str) -> str:
    value = event.get(key)
    if not isinstance(value, str):
        raise NotAnEvent(f"the field {key} is wrong")
    return value


def _maybe(event: dict[str, Any], key: str) -> str | None:
    return None if event.get(key) is None else _text(event, key)


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise NotAnEvent("the field time is wrong") from None


def _port(value: object) -> int:
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 65536:
        raise NotAnEvent("the field port is wrong")
    return value


def _number(value: object) -> float | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise NotAnEvent("the field duration_ms is wrong")
    return value


@lru_cache(maxsize=4096)
def _host(text: str) -> Host:
    try:
        return parse_host(f"[{text}]" if ":" in text else text)
    except MalformedHost:
        raise NotAnEvent("the field host is wrong") from None


@lru_cache(maxsize=4096)
def _address(text: str) -> Address:
    try:
        return ip_address(text)
    except ValueError:
        raise NotAnEvent("the field upstream_ip is wrong") from None
