"""`outgate replay`: what recorded events would meet under another policy."""

from typing import TYPE_CHECKING, Any

import click

from proxy import markdown, terminal
from proxy.cli.logs import choose_events, facts_of, load_named, log_options, open_log, tell_skipped, utc_today
from proxy.quantity import counted

if TYPE_CHECKING:
    from proxy.policy.rules import Policy
    from proxy.review.log import Log
    from proxy.review.replay import Group, Replay, Side

FAILED = 1
_FAILS = ("refused", "passed", "changed", "depends")
_TITLES = {
    "refused": "would now be refused",
    "passed": "would now pass",
    "depends": "depends on what is not on record",
    "changed": "same verdict, decided differently",
    "unjudged": "not judged",
}


@click.command()
@log_options
@click.option(
    "--policy", metavar="PATH", multiple=True, required=True, help="The candidate: a policy file or folder. Repeatable."
)
@click.option("--name", metavar="NAME", help="Of several candidates, hold this one to every event.")
@click.option("--today", is_flag=True, help="Judge `expires` by this day, not by each event's own.")
@click.option(
    "--fail-on",
    type=click.Choice([*_FAILS, "any"]),
    multiple=True,
    help="Exit 1 if there are events like this; any is each of the others. Repeatable.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "markdown"]),
    default="text",
    show_default=True,
    help="How to print, unless --json is given.",
)
@click.pass_context
def replay(  # noqa: PLR0913, PLR0917  one parameter for each option
    context: click.Context,
    log: tuple[str, ...],
    sandbox: tuple[str, ...],
    since: str | None,
    policy: tuple[str, ...],
    name: str | None,
    today: bool,
    fail_on: tuple[str, ...],
    as_json: bool,
    form: str,
) -> None:
    """Decide the events of audit logs again, under a candidate policy.

    LOG is a file, a folder (a state folder, with its runs, or one with *.jsonl files) or - for stdin; gzip is
    recognised. Several candidates stand in for the recorded policies of the same names; a single one, for all.
    Nothing is sent.
    Exit codes: 0 done, 1 what --fail-on names was found, 2 misuse.
    """
    from proxy.review.replay import Outcome, replay

    candidates = load_named(policy, name)
    alone = len(candidates) == 1
    by_name = {None if alone else each.name: each for each in candidates}
    wanted, source = choose_events(sandbox, since), open_log(log)
    result = replay(source, by_name, wanted, utc_today() if today else None)
    tell_skipped(source)
    if as_json:
        terminal.as_json(_json(result, source, candidates))
    elif form == "markdown":
        _markdown(result, source, candidates)
    else:
        _text(result, source, candidates)
    fatal = set(_FAILS) if "any" in fail_on else set(fail_on)
    context.exit(FAILED if any(result.totals[Outcome(each)] for each in fatal) else 0)


def _summary(result: "Replay", log: "Log", candidates: "tuple[Policy, ...]") -> list[str]:
    names = ", ".join(f"{policy.name} ({policy.source})" for policy in candidates)
    left = [
        (result.filtered, "left out by --since or --sandbox"),
        (result.other, "of policies without a candidate"),
        (log.joined, "first notes of long exchanges, counted with their ends"),
        (log.skipped, "lines skipped, damaged or foreign"),
    ]
    lines = [f"{counted(result.judged, 'event')} decided again under {names}"]
    lines += [f"{result.totals[outcome]} {title}" for outcome, title in _counted()]
    lines += [f"{count} {text}" for count, text in left if count]
    observing = [policy.name for policy in candidates if policy.observe]
    if observing:
        lines.append(f"{', '.join(observing)} is in observe mode: what no rule allows passes there")
    return lines


def _counted() -> "list[tuple[Any, str]]":
    from proxy.review.replay import Outcome

    return [(outcome, _TITLES.get(outcome, "unchanged")) for outcome in Outcome]


def _text(result: "Replay", log: "Log", candidates: "tuple[Policy, ...]") -> None:
    for line in _summary(result, log, candidates):
        terminal.say(line)
    for title, groups in _sections(result):
        terminal.say()
        terminal.say(title)
        terminal.table(_COLUMNS, [_row(group) for group in groups])


_COLUMNS = ("count", "request", "was", "would be", "first seen", "last seen", "example")


def _sections(result: "Replay") -> "list[tuple[str, list[Group]]]":
    sections = []
    for outcome, title in _counted():
        groups = [group for group in result.groups if group.judged.outcome is outcome]
        if groups:
            sections.append((f"{title} ({result.totals[outcome]})", groups))
    return sections


def _row(group: "Group") -> list[str]:
    judged = group.judged
    after = "" if judged.after is None else side_text(judged.after)
    if judged.depends:
        after = f"{after}, depends on {judged.depends}" if after else judged.depends
    request, example = _place(group), f"{group.example[1]} ({group.example[0]})"
    return [str(group.count), request, side_text(judged.before), after, *_times(group), example]


def _place(group: "Group") -> str:
    place = group.place
    if not place.host:
        return f"{place.method} {place.path}".strip() or "-"
    usual = {"https": 443, "http": 80}.get(place.scheme)
    port = "" if place.port == usual else f":{place.port}"
    return f"{place.method} {place.scheme + '://' if place.scheme else ''}{place.host}{port}{place.path}"


def _times(group: "Group") -> list[str]:
    return [time.strftime("%Y-%m-%dT%H:%M:%SZ") for time in (group.first, group.last)]


def side_text(side: "Side") -> str:
    """A decision in a few words."""
    words = ["passed" if side.passes else "refused"]
    if side.reason != "allowed":
        words.append(side.reason)
    if side.rule is not None:
        words.append(f"by {side.rule}")
    elif side.nearest is not None:
        words.append(f"nearest {side.nearest}")
    if side.tunnel:
        words.append("as a tunnel")
    if side.credential is not None:
        words.append(f"with {side.credential}")
    return " ".join(words)


def _markdown(result: "Replay", log: "Log", candidates: "tuple[Policy, ...]") -> None:
    first, *rest = _summary(result, log, candidates)
    terminal.say("### Replay of the audit log")
    terminal.say()
    terminal.say(markdown.escaped(first))
    terminal.say()
    for line in rest:
        terminal.say(f"- {markdown.escaped(line)}")
    for title, groups in _sections(result):
        terminal.say()
        terminal.say(f"#### {title[:1].upper()}{title[1:]}")
        terminal.say()
        terminal.stream(markdown.table(_COLUMNS, map(_row, groups)))


def _json(result: "Replay", log: "Log", candidates: "tuple[Policy, ...]") -> dict[str, Any]:
    return {
        "policies": [
            {"name": each.name, "source": each.source, "digest": each.digest, "observe": each.observe}
            for each in candidates
        ],
        "log": facts_of(log),
        "judged": result.judged,
        "filtered": result.filtered,
        "other_policies": result.other,
        "totals": {str(outcome): count for outcome, count in result.totals.items()},
        "groups": [_group_json(group) for group in result.groups],
    }


def _group_json(group: "Group") -> dict[str, Any]:
    from dataclasses import asdict

    judged, (first, last) = group.judged, _times(group)
    return {
        "outcome": str(judged.outcome),
        "count": group.count,
        "request": asdict(group.place),
        "before": asdict(judged.before),
        "after": None if judged.after is None else asdict(judged.after),
        "depends_on": judged.depends or None,
        "first": first,
        "last": last,
        "example": {"id": group.example[0], "request": group.example[1]},
    }
