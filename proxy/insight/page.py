"""The page of `outgate audit report`: one file, no script, nothing that is fetched. All text is escaped by Jinja."""

import hashlib
from base64 import b64encode
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from proxy.insight import models, outliers, secrets, traffic
from proxy.insight.charts import Chart, over_time
from proxy.insight.denied import COLUMNS
from proxy.insight.duck import missing
from proxy.insight.overview import Overview
from proxy.insight.summary import odd
from proxy.insight.table import Answer, Table, dollars, shown
from proxy.policy.reason import WORDING, Reason
from proxy.terminal import clean

MOST = 50  # rows of a table
_HERE = Path(__file__)


def page(seen: Overview, new: Answer, denied: Answer, notes: Sequence[str], made: datetime) -> str:
    """The page, as HTML. `notes` say what of the log could not be read. Raises `ConfigError` without Jinja."""
    style = _HERE.with_name("page.css").read_text(encoding="utf-8")
    totals = traffic.totals(seen)
    hours = [(hour, (passed, refused)) for hour, passed, refused in traffic.timeline(seen)]
    text: str = _template().render(
        style=style,
        digest=b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        made=made,
        notes=notes,
        totals=totals,
        facts=totals.facts["totals"],
        findings=odd(seen),
        timeline=over_time(hours, timedelta(hours=1)),
        hosts=traffic.hosts(seen, MOST),
        new=new,
        denied=denied,
        groups=[_group(row) for row in denied.tables[0].rows] if denied.tables else [],
        secrets=secrets.secrets(seen, MOST),
        models=models.models(seen, MOST),
        cost=_cost(seen),
        days=models.days(seen),
        uploads=outliers.uploads(seen, 15),
        sandboxes=traffic.sandboxes(seen, MOST),
        rules=traffic.rules(seen, MOST),
    )
    return text


def _group(row: Sequence[Any]) -> dict[str, Any]:
    """A group of refusals: what stands in its columns, and the title of its reason."""
    group = dict(zip((column.key for column in COLUMNS), row, strict=True))
    reason = group["reason"]
    return {**group, "title": WORDING[Reason(reason)].title if reason in WORDING else reason}


def _cost(seen: Overview) -> Chart:
    days = [(row[0], (row[5] or 0.0,)) for row in models.days(seen).rows]
    return over_time(days, timedelta(days=1))


def _template() -> Any:
    try:
        import jinja2
    except ImportError:
        raise missing("jinja2") from None
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_plain
    )
    environment.filters |= {"as": shown, "dollars": dollars, "rows": _rows, "short": _short}
    return environment.from_string(_HERE.with_name("page.html").read_text(encoding="utf-8"))


def _plain(value: Any) -> Any:
    """Text without characters that steer how it is shown: a name cannot turn the line around."""
    return clean(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _rows(table: Table) -> list[list[tuple[str, str]]]:
    """The cells of a table, each with its form."""
    kept = [column for column in table.columns if column.form != "code"]
    return [[(cell, column.form) for cell, column in zip(cells, kept, strict=True)] for cells in table.cells()]


def _short(value: float) -> str:
    """A number for an axis: 1.5k, 20M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"
