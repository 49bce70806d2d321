"""Which credential went where: the real secret, as often as it was put into a request."""

from proxy.insight.overview import Overview
from proxy.insight.table import Column, Table


def secrets(seen: Overview, most: int) -> Table:
    """Credentials by host. `used` counts requests with the real secret; `not used` those where it was due."""
    rows = seen.ask(
        "SELECT credential, host, coalesce(sum(events) FILTER (inside AND sent_real), 0)::BIGINT AS used,"
        " coalesce(sum(events) FILTER (inside AND NOT sent_real), 0)::BIGINT,"
        " list(DISTINCT sandbox ORDER BY sandbox) FILTER (inside AND sent_real),"
        " min(first) FILTER (sent_real), max(last) FILTER (inside AND sent_real)"
        f" FROM {seen.main} WHERE credential IS NOT NULL GROUP BY 1, 2 HAVING bool_or(inside)"
        " ORDER BY used DESC, 1, 2"
    )
    columns = (
        Column("credential", "credential"),
        Column("host", "host"),
        Column("used", "used", "count"),
        Column("not_used", "not used", "count"),
        Column("sandboxes", "sandboxes", "list"),
        Column("first", "first used", "time"),
        Column("last", "last used", "time"),
    )
    return Table.of("credentials", "Credentials by host", columns, rows, most)
