"""Exported events: whole examples, written by hand; what a log may hold is mapped or left out, never run or raised."""

import csv
import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.audit.export.ecs import ecs
from proxy.audit.export.ocsf import ocsf
from proxy.audit.export.otlp import otlp
from proxy.audit.export.table import cells
from proxy.review.seen import NotAnEvent, read_record
from tests.review.events import event, passed, refused, tunnel

TIME = "2026-11-20T10:00:00.000+00:00"
GET = {
    **passed("api", "GET", "https://api.example/v1/x?key=1"),
    "upstream_ip": "192.0.2.7", "tls": "TLSv1.3", "bytes_in": 20, "bytes_out": 5, "seq": 9, "chain": "c" * 64,
}  # fmt: skip


def test_an_allowed_request_as_ocsf() -> None:
    assert ocsf({**GET, "llm": None}) == {
        "class_uid": 4002,
        "class_name": "HTTP Activity",
        "category_uid": 4,
        "category_name": "Network Activity",
        "activity_id": 3,
        "activity_name": "Get",
        "type_uid": 400203,
        "severity_id": 1,
        "severity": "Informational",
        "action_id": 1,
        "action": "Allowed",
        "disposition_id": 1,
        "disposition": "Allowed",
        "status_id": 1,
        "status_detail": "allowed",
        "time": 1795168800000,
        "start_time": 1795168800000,
        "end_time": 1795168800010,
        "duration": 10,
        "metadata": {
            "version": "1.4.0",
            "profiles": ["security_control"],
            "product": {"name": "Outgate", "vendor_name": "Outgate"},
            "uid": GET["id"],
            "sequence": 9,
        },
        "actor": {"user": {"name": "task-1"}},
        "src_endpoint": {"ip": "127.0.0.1", "port": 5000},
        "dst_endpoint": {"hostname": "api.example", "ip": "192.0.2.7", "port": 443},
        "http_request": {
            "http_method": "GET",
            "url": {"scheme": "https", "hostname": "api.example", "port": 443, "path": "/v1/x"},
        },
        "http_response": {"code": 200},
        "tls": {"version": "TLSv1.3"},
        "traffic": {"bytes_in": 20, "bytes_out": 5, "bytes": 25},
        "firewall_rule": {"uid": "api", "name": "api"},
        "unmapped": {
            "policy": "watch",
            "policy_digest": "0" * 64,
            "query_keys": ["key"],
            "reason": "allowed",
            "injected": False,
            "end": "complete",
        },
    }


def test_a_refusal_and_a_tunnel_as_ocsf() -> None:
    found = ocsf(refused("denied_by_rule", "PATCH"))
    keys = ("activity_id", "activity_name", "type_uid", "action_id", "disposition_id", "severity_id", "status_id")
    assert [found[key] for key in keys] == [99, "PATCH", 400299, 2, 2, 2, 2]
    assert (found["status_detail"], found["disposition"]) == ("denied_by_rule", "Blocked")
    opened = ocsf({**tunnel("a.example"), "client": "[::1]:99", "duration_ms": None})
    assert (opened["activity_id"], opened["type_uid"]) == (1, 400201)
    assert opened["src_endpoint"] == {"ip": "::1", "port": 99}
    assert "end_time" not in opened
    assert ocsf({**GET, "method": ""})["activity_id"] == 0
    assert ocsf({**GET, "method": "get"})["activity_id"] == 99


def test_an_allowed_request_as_ecs() -> None:
    assert ecs({**GET, "llm": {"model": "m"}}) == {
        "@timestamp": TIME,
        "ecs": {"version": "8.17.0"},
        "event": {
            "kind": "event",
            "category": ["network", "web"],
            "type": ["access", "allowed"],
            "outcome": "success",
            "action": "get",
            "reason": "allowed",
            "module": "outgate",
            "dataset": "outgate.audit",
            "id": GET["id"],
            "sequence": 9,
            "hash": "c" * 64,
            "start": TIME,
            "end": "2026-11-20T10:00:00.010+00:00",
            "duration": 10_000_000,
        },
        "rule": {"id": "api", "ruleset": "watch", "version": "0" * 64},
        "url": {"scheme": "https", "domain": "api.example", "port": 443, "path": "/v1/x"},
        "http": {"request": {"method": "GET"}, "response": {"status_code": 200}},
        "source": {"ip": "127.0.0.1", "port": 5000, "bytes": 5},
        "destination": {"domain": "api.example", "ip": "192.0.2.7", "port": 443, "bytes": 20},
        "tls": {"version": "1.3", "version_protocol": "tls"},
        "observer": {"type": "proxy", "vendor": "Outgate", "product": "Outgate"},
        "user": {"name": "task-1"},
        "related": {"hosts": ["api.example"]},
        "outgate": {"query_keys": ["key"], "injected": False, "end": "complete", "llm": {"model": "m"}},
    }


def test_a_refusal_as_ecs() -> None:
    found = ecs(refused("host_not_allowed"))["event"]
    assert (found["type"], found["outcome"], found["action"]) == (["access", "denied"], "failure", "refuse")
    assert found["reason"] == "host_not_allowed"


def test_an_allowed_request_as_otlp() -> None:
    text, number = (lambda value: {"stringValue": value}), (lambda value: {"intValue": value})
    attributes = {
        "http.request.method": text("GET"),
        "http.response.status_code": number("200"),
        "url.scheme": text("https"),
        "url.path": text("/v1/x"),
        "server.address": text("api.example"),
        "server.port": number("443"),
        "client.address": text("127.0.0.1"),
        "client.port": number("5000"),
        "network.peer.address": text("192.0.2.7"),
        "tls.protocol.version": text("1.3"),
        "http.request.body.size": number("5"),
        "http.response.body.size": number("20"),
        "outgate.id": text(GET["id"]),
        "outgate.sandbox": text("task-1"),
        "outgate.policy": text("watch"),
        "outgate.policy_digest": text("0" * 64),
        "outgate.query_keys": {"arrayValue": {"values": [text("key")]}},
        "outgate.verdict": text("allow"),
        "outgate.reason": text("allowed"),
        "outgate.rule": text("api"),
        "outgate.injected": {"boolValue": False},
        "outgate.duration_ms": {"doubleValue": 10.0},
        "outgate.end": text("complete"),
        "outgate.seq": number("9"),
        "outgate.chain": text("c" * 64),
        "gen_ai.response.model": text("m"),
        "gen_ai.usage.input_tokens": number("7"),
        "outgate.llm": {"kvlistValue": {"values": [{"key": "partial", "value": {"boolValue": True}}]}},
    }
    record = {
        "timeUnixNano": "1795168800000000000",
        "observedTimeUnixNano": "1795168800010000000",
        "severityNumber": 9,
        "severityText": "INFO",
        "eventName": "outgate.exchange",
        "body": text("allow GET https://api.example/v1/x"),
        "attributes": [{"key": key, "value": value} for key, value in attributes.items()],
    }
    assert otlp({**GET, "llm": {"model": "m", "input": 7, "output": None, "partial": True}}) == {
        "resourceLogs": [
            {
                "resource": {"attributes": [{"key": "service.name", "value": text("outgate")}]},
                "scopeLogs": [{"scope": {"name": "outgate.audit", "version": "1"}, "logRecords": [record]}],
            }
        ]
    }


def otlp_record(event: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The log record of an event, and its attributes by name."""
    (record,) = otlp(event)["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    return record, {each["key"]: next(iter(each["value"].values())) for each in record["attributes"]}


def test_a_refusal_and_a_tunnel_as_otlp() -> None:
    record, named = otlp_record(refused("denied_by_rule", "BREW", "https://b.example/x"))
    assert (record["severityNumber"], record["severityText"]) == (13, "WARN")
    assert record["body"]["stringValue"] == "deny BREW https://b.example/x denied_by_rule"
    assert (named["http.request.method"], named["http.request.method_original"]) == ("_OTHER", "BREW")
    assert (named["error.type"], named["outgate.verdict"]) == ("denied_by_rule", "deny")
    record, named = otlp_record({**tunnel("a.example"), "bytes_in": 7, "time": "0001-01-01T00:00:00+00:00"})
    assert (named["outgate.bytes_in"], "http.response.body.size" in named) == ("7", False)
    assert record["timeUnixNano"] == record["observedTimeUnixNano"] == "0"
    assert "outgate.bytes_out" in otlp_record({**GET, "status": 101})[1]
    assert "http.request.method" not in otlp_record({**GET, "method": ""})[1]


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("/plain", "/plain"),
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\uff1d1", "'\uff1d1"),
        ('a,"b"', 'a,"b"'),
        (None, ""),
        (True, "true"),
        (False, "false"),
        (12, "12"),
        (1.5, "1.5"),
        (["a", "=b"], '["a","=b"]'),
        ({"model": "m"}, '{"model":"m"}'),
    ],
)
def test_no_cell_is_a_formula(value: object, cell: str) -> None:
    assert cells({"x": value}, ("x", "missing")) == [cell, ""]
    line = io.StringIO()
    csv.writer(line).writerow([cell])
    assert next(csv.reader([line.getvalue()])) == [cell]


JSON = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text()) | st.just({"a": [1]})


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from([*event(), "seq", "chain", "llm"]), JSON))
def test_whatever_passes_for_an_event_can_be_exported(wrong: dict[str, Any]) -> None:
    try:
        found = read_record(json.dumps({**event(), **wrong}).encode())
    except NotAnEvent:
        return
    assert found is not None
    for mapped in (ocsf(found), ecs(found), otlp(found)):
        json.dumps(mapped, allow_nan=False)
    assert all(isinstance(cell, str) for cell in cells(found, tuple(found)))


def test_what_is_nested_too_deep_is_no_event() -> None:
    deep = json.dumps(event())[:-1] + ',"llm":' + '{"a":' * 2000 + "1" + "}" * 2001
    with pytest.raises(NotAnEvent, match="nested too deep"):
        read_record(deep.encode())
