"""What a run reached and what was refused, on the page of the GitHub Actions job that it ran in."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from proxy.markdown import escaped, table
from proxy.policy.reason import WORDING, Reason
from proxy.sandbox.summary import Summary

_MOST = 50  # rows of a table; GitHub takes 1 MiB from a step


def page_of(environment: Mapping[str, str]) -> Path | None:
    """The file that the runner shows as Markdown; None outside GitHub Actions.

    docs.github.com/actions/reference/workflow-commands-for-github-actions, "Adding a job summary".
    """
    named = environment.get("GITHUB_STEP_SUMMARY", "")
    return Path(named) if named and environment.get("GITHUB_ACTIONS") == "true" else None


def append(file: Path, sandbox: str, policy: str, summary: Summary) -> None:
    """Write the summary behind what the steps of the job have there, at once. Raises `OSError`."""
    text = "".join(_lines(sandbox, policy, summary))
    with file.open("ab", buffering=0) as page:
        page.write(text.encode("utf-8", "backslashreplace"))


def _lines(sandbox: str, policy: str, summary: Summary) -> Iterator[str]:
    yield f"\n### outgate run: {escaped(sandbox)}\n\n"
    yield f"{summary.reached.total()} passed, {summary.refused.total()} refused, under the policy {escaped(policy)}\n"
    if summary.observed:
        yield f"\n{summary.observed} of these would be refused without <code>mode: observe</code>\n"
    refused = [
        (f"{kind.host or 'no host'}{'' if kind.port in {0, 443} else f':{kind.port}'}", _why(kind.reason), str(count))
        for kind, count in summary.refused.most_common()
    ]
    yield from _table(("refused", "why", "requests"), refused)
    yield from _table(("reached", "requests"), _counted(summary.reached.most_common()))
    yield from _table(("credential sent", "requests"), _counted(summary.credentials.most_common()))


def _why(reason: Reason) -> str:
    return f"{WORDING[reason].title} ({reason})"


def _counted(counts: Sequence[tuple[str, int]]) -> list[tuple[str, str]]:
    return [(name, str(count)) for name, count in counts]


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    if rows:
        yield "\n"
        yield from table(titles, rows[:_MOST])
    if len(rows) > _MOST:
        yield f"\nand {len(rows) - _MOST} more\n"
