"""ECS: the Elastic Common Schema 8.17 (elastic.co/guide/en/ecs)."""

from datetime import timedelta

from proxy.audit.export import PRODUCT, Record, began, client, filled, milliseconds, number

_OWN = (
    "boundary", "query_keys", "nearest", "detail", "credential", "injected", "not_injected", "ttfb_ms", "end", "llm",
)  # fmt: skip


def ecs(event: Record) -> Record:
    """An event as ECS. What ECS has no field for stands under `outgate`."""
    allowed = event["verdict"] == "allow"
    address, port = client(event)
    duration = milliseconds(event, "duration_ms")
    received, sent = number(event, "bytes_in"), number(event, "bytes_out")
    return filled({
        "@timestamp": event["time"],
        "ecs": {"version": "8.17.0"},
        "event": {
            "kind": "event",
            "category": ["network", "web"],
            "type": ["access", "allowed" if allowed else "denied"],
            "outcome": "success" if allowed else "failure",
            "action": event["method"].lower() if allowed else "refuse",
            "reason": event["reason"],
            "module": "outgate",
            "dataset": "outgate.audit",
            "id": event["id"],
            "sequence": number(event, "seq"),
            "hash": event.get("chain"),
            "start": event["time"],
            "end": _end(event, duration),
            "duration": None if duration is None else int(duration * 1_000_000),  # nanoseconds
        },
        "rule": {"id": event["rule"], "ruleset": event["policy"], "version": event["policy_digest"]},
        "url": {"scheme": event["scheme"], "domain": event["host"], "port": event["port"], "path": event["path"]},
        "http": {
            "request": {"method": event["method"]},
            "response": {"status_code": number(event, "status")},
        },
        "source": {"ip": address, "port": port, "bytes": sent},
        "destination": {
            "domain": event["host"],
            "ip": event["upstream_ip"],
            "port": event["port"],
            "bytes": received,
        },
        "tls": _tls(str(event.get("tls") or "")),
        "observer": {"type": "proxy", "vendor": PRODUCT, "product": PRODUCT},
        "user": {"name": event["sandbox"]},
        "related": {"hosts": [event["host"]] if event["host"] else []},
        "outgate": {key: event.get(key) for key in _OWN},
    })  # fmt: skip


def _end(event: Record, duration: float | None) -> str | None:
    if duration is None:
        return None
    try:
        return (began(event) + timedelta(milliseconds=duration)).isoformat(timespec="milliseconds")
    except OverflowError:
        return None


def _tls(version: str) -> Record:
    protocol, found, number_of_it = version.partition("v")
    return {"version": number_of_it, "version_protocol": protocol.lower()} if found else {"version": version}
