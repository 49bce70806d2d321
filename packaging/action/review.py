"""Checks, tests and compares the policies of a change, and writes what a reviewer reads.

Usage: review.py OUTGATE POLICIES REPORT [BASE], in a git work tree. OUTGATE is the command, POLICIES the folder, REPORT
the markdown file to write, BASE the revision to compare with (without it nothing is compared). In the environment,
FAIL_ON is passed to `outgate diff --fail-on`, STRICT=true makes warnings fail, and GITHUB_ACTIONS=true asks for
annotations. Exits 1 if one of the three fails. Needs nothing but Python and git.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

MARK = "<!-- outgate review -->"
# GitHub takes 65,536 characters for the whole.
MOST_DIFFERENCE = 40_000
MOST_DETAILS = 8_000
WRONG = 2


@dataclass(frozen=True)
class Step:
    """One of the three: its command line as a person would type it, its exit code, and all that it said."""

    title: str
    code: int
    out: str
    err: str = ""

    @property
    def text(self) -> str:
        return "\n".join(part.strip() for part in (self.out, self.err) if part.strip())

    @property
    def last(self) -> str:
        """The summary: commands say it in their last line."""
        return self.text.rpartition("\n")[2]


def main(arguments: Sequence[str]) -> int:
    """Run all three, print, write the report. Returns the exit code."""
    outgate, policies, report, *rest = arguments
    check = told(outgate, "check", *strict(), policies)
    tests = Path(policies) / "tests"
    test = told(outgate, "test", "--coverage", policies) if tests.is_dir() else untested(policies)
    base = rest[0] if rest else ""
    difference = compared(outgate, policies, base, sound=check.code != WRONG) if base else None
    Path(report).write_text("\n".join(markdown(policies, check, test, difference)), encoding="utf-8")
    return int(any(step.code for step in (check, test, difference) if step is not None))


def strict() -> list[str]:
    return ["--strict"] if os.environ.get("STRICT") == "true" else []


def told(outgate: str, *arguments: str) -> Step:
    """Run `check` or `test`, and print what it says: as annotations where there is a workflow that shows them."""
    step = run(" ".join(["outgate", *arguments]), [outgate, *arguments])
    if os.environ.get("GITHUB_ACTIONS") == "true":
        print(run("", [outgate, *arguments, "--format", "github"]).out, end="", flush=True)
    else:
        print(step.text, flush=True)
    return step


def untested(policies: str) -> Step:
    return Step("outgate test", 0, f"there are no expectations in {policies}/tests")


def compared(outgate: str, policies: str, base: str, *, sound: bool) -> Step:
    """What the change means, from the revision `base` to the work tree."""
    title = f"outgate diff {base[:40]} {policies}"
    if not sound:
        return Step(title, 0, "", "not compared: the policies have errors")
    if problem := unknown(base):
        return Step(title, 1, "", problem)
    marks = re.findall(r"[^,\s]+", os.environ.get("FAIL_ON", ""))
    chosen = [word for mark in marks for word in ("--fail-on", mark)]
    step = run(title, [outgate, "diff", base, policies, "--format", "markdown", *chosen])
    return replace(step, err=f"it opens what `fail-on` names: {', '.join(marks)}") if step.code == 1 else step


def unknown(base: str) -> str:
    """Why there is nothing to compare with; empty if there is. Fetches what a checkout of depth 1 does not have."""
    if base.startswith("-") or os.path.lexists(base):  # a file of the name of the base would be taken for it
        return f"not a revision: {base[:80]!r}"
    if run("", ["git", "rev-parse", "--verify", "--quiet", f"{base}^{{commit}}"]).code:
        fetched = run("", ["git", "fetch", "--quiet", "--no-tags", "--depth=1", "origin", base])
        if fetched.code:
            return f"the revision {base[:80]!r} is not there: {fetched.text[:200]}"
    return ""


def run(title: str, command: Sequence[str]) -> Step:
    done = subprocess.run(command, capture_output=True, text=True, check=False, encoding="utf-8", errors="replace")
    return Step(title, done.returncode, done.stdout, done.stderr)


def markdown(policies: str, check: Step, test: Step, difference: Step | None) -> Iterator[str]:
    """What a reviewer reads, by line. Text that comes from files stands in fences that it cannot close."""
    yield from (MARK, f"## What this change does to {code(policies)}", "")
    if difference is not None:
        yield from (cut(difference.out, MOST_DIFFERENCE) if difference.out.strip() else fenced(difference.err), "")
    yield from ("| command | | |", "|---|---|---|")
    for step in (check, test, difference):
        if step is not None:
            last = step.last if step is not difference else difference.err.strip().partition("\n")[0]
            yield f"| {code(step.title)} | {'**failed**' if step.code else 'passed'} | {code(last[:300])} |"
    for step in (check, test):
        if "\n" in step.text:
            yield from ("", f"<details><summary>all that <code>{step.title.split()[1]}</code> says</summary>", "")
            yield from (fenced(cut(step.text, MOST_DETAILS)), "", "</details>")
    yield ""


def cut(text: str, most: int) -> str:
    """The text, or as many of its lines as fit."""
    text = text.strip()
    if len(text) <= most:
        return text
    return text[:most].rpartition("\n")[0] + "\n\n(cut here: run the command to see the rest)"


def fenced(text: str) -> str:
    longest = max((len(found) for found in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"


def code(text: str) -> str:
    """Inline code that the text cannot leave; nothing for nothing."""
    plain = text.replace("`", "'").replace("\n", " ").replace("|", "\\|")
    return f"`{plain}`" if plain else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
