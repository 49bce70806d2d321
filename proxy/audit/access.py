"""The record of requests for access: what a sandbox asked its operator for. Nothing reads it to allow anything.

A file of its own for each worker, because one process writes each file.
"""

import os
from datetime import UTC, datetime
from pathlib import Path

from proxy.audit.chained import ChainedLog
from proxy.audit.event import VERSION, Event
from proxy.audit.files import Options
from proxy.audit.sink import AuditUnavailable, encode
from proxy.errors import ConfigError
from proxy.exchange import Exchange

KIND = "access"
TYPE = "access_request"


def access_record(exchange: Exchange, asked: Event) -> Event:
    """The record of a request for access; `asked` says for what and why. Its id is that of the exchange's event."""
    return {
        "v": VERSION,
        "type": TYPE,
        "id": exchange.id,
        "time": datetime.fromtimestamp(exchange.started_at, UTC).isoformat(timespec="milliseconds"),
        "sandbox": exchange.sandbox,
        "policy": exchange.policy.name,
        "policy_digest": exchange.policy.digest or None,
        **asked,
    }


def append_access(folder: Path, number: int, record: Event) -> None:
    """Write a record into the file of worker `number`. Raises `AuditUnavailable`; then it is not written."""
    try:
        chained = ChainedLog(folder, f"{KIND}-{number}", Options())
        try:
            chained.write(encode(record))
        finally:
            chained.close()
    except OSError as error:
        raise AuditUnavailable(os.strerror(error.errno or 0)) from error
    except ConfigError as error:
        raise AuditUnavailable(str(error)) from error
