"""The answer of `outgate audit summary`."""

from proxy.insight import findings, models, outliers, secrets, traffic
from proxy.insight.overview import Overview
from proxy.insight.table import Answer, Table, moment

MOST = 20  # rows of a table


def summary(seen: Overview, most: int = MOST) -> Answer:
    """All that an overview tells, what is odd first."""
    answer = traffic.totals(seen)
    if seen.first is None:
        return answer
    if seen.recent is not None:
        answer.lines.append(f"new is what was not seen before {moment(seen.recent)} UTC ({seen.why_recent})")
    answer.tables = [
        odd(seen),
        traffic.hosts(seen, most),
        secrets.secrets(seen, most),
        models.models(seen, most),
        models.days(seen),
        outliers.uploads(seen, most),
        traffic.sandboxes(seen, most),
        traffic.rules(seen, most),
    ]
    return answer


def odd(seen: Overview) -> Table:
    """What deserves a look first."""
    sorts = (
        findings.new,
        findings.once,
        findings.searches,
        outliers.exfiltration,
        outliers.names,
        outliers.bursts,
        outliers.spikes,
    )
    found = [each for sort in sorts for each in sort(seen)]
    return findings.as_table(found)
