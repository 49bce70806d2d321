"""OCSF: HTTP Activity, class 4002 of the Open Cybersecurity Schema Framework 1.4 (schema.ocsf.io)."""

from proxy.audit.export import PRODUCT, Record, began, client, filled, milliseconds, number

_ACTIVITIES = ("Unknown", "Connect", "Delete", "Get", "Head", "Options", "Post", "Put", "Trace")
_OTHER = 99
_MAPPED = frozenset((
    "v", "id", "time", "sandbox", "client", "scheme", "method", "host", "port", "path", "verdict", "rule",
    "upstream_ip", "tls", "status", "bytes_in", "bytes_out", "duration_ms", "prev", "seq", "chain",
))  # fmt: skip


def ocsf(event: Record) -> Record:
    """An event as OCSF. What the class has no place for stands in `unmapped`."""
    activity, name = _activity(str(event["method"]))
    allowed = event["verdict"] == "allow"
    address, port = client(event)
    duration = milliseconds(event, "duration_ms")
    start = int(began(event).timestamp() * 1000)
    received, sent = number(event, "bytes_in"), number(event, "bytes_out")
    return filled({
        "class_uid": 4002,
        "class_name": "HTTP Activity",
        "category_uid": 4,
        "category_name": "Network Activity",
        "activity_id": activity,
        "activity_name": name,
        "type_uid": 400200 + activity,
        "severity_id": 1 if allowed else 2,
        "severity": "Informational" if allowed else "Low",
        "action_id": 1 if allowed else 2,
        "action": "Allowed" if allowed else "Denied",
        "disposition_id": 1 if allowed else 2,
        "disposition": "Allowed" if allowed else "Blocked",
        "status_id": 1 if allowed else 2,
        "status_detail": event["reason"],
        "time": start,
        "start_time": start,
        "end_time": None if duration is None else start + int(duration),
        "duration": None if duration is None else int(duration),
        "metadata": {
            "version": "1.4.0",
            "profiles": ["security_control"],
            "product": {"name": PRODUCT, "vendor_name": PRODUCT},
            "uid": event["id"],
            "sequence": number(event, "seq"),
        },
        "actor": {"user": {"name": event["sandbox"]}},
        "src_endpoint": {"ip": address, "port": port},
        "dst_endpoint": {"hostname": event["host"], "ip": event["upstream_ip"], "port": event["port"]},
        "http_request": {
            "http_method": event["method"],
            "url": {
                "scheme": event["scheme"],
                "hostname": event["host"],
                "port": event["port"],
                "path": event["path"],
            },
        },
        "http_response": {"code": number(event, "status")},
        "tls": {"version": event.get("tls")},
        "traffic": {"bytes_in": received, "bytes_out": sent, "bytes": (received or 0) + (sent or 0)},
        "firewall_rule": {"uid": event["rule"], "name": event["rule"]},
        "unmapped": {key: value for key, value in event.items() if key not in _MAPPED},
    })  # fmt: skip


def _activity(method: str) -> tuple[int, str]:
    if not method:
        return 0, _ACTIVITIES[0]
    name = method.capitalize()
    known = method.isupper() and name in _ACTIVITIES[1:]
    return (_ACTIVITIES.index(name), name) if known else (_OTHER, method)
