"""The page: one file that fetches nothing, runs nothing, and shows hostile text as text."""

import hashlib
import re
from base64 import b64encode
from datetime import UTC, date, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from proxy.insight.charts import over_time
from proxy.insight.denied import denied
from proxy.insight.logs import reading
from proxy.insight.new import new
from proxy.insight.overview import Wanted, overview
from proxy.insight.page import page
from tests.insight.test_review import DAY, LLM
from tests.review.events import lines, passed, refused

HOSTILE = [
    "</title></style><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
    "\u202egnp.exe\x1b[31m\x00",
    "]]><!-- &lt;b&gt;",
    "</pre></details><svg/onload=alert(1)>",
]


class Read(HTMLParser):
    """The tags of a page with their attributes, its text, and which tags were left open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def made(tmp_path: Path, *events: dict[str, Any], notes: tuple[str, ...] = ()) -> str:
    log = tmp_path / "worker-0.jsonl"
    log.write_bytes(lines(*events))
    with reading([str(log)]) as logs:
        seen = overview(logs, Wanted())
        refusals = denied(logs, Wanted(), date(2026, 11, 20))
        return page(seen, new(logs, Wanted(), seen.recent), refusals, notes, datetime(2026, 11, 20, tzinfo=UTC))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page that has every part."""
    call = passed("r", llm=LLM, credential="key", injected=True, at=20 * DAY)
    asked = refused("host_not_allowed", url="https://up.example/x")
    return made(tmp_path_factory.mktemp("log"), passed("r"), asked, call, notes=("skipped 7",))


def hostile() -> list[dict[str, Any]]:
    """Hostile text in every field that the page shows."""
    events = []
    for number, text in enumerate(f"{one} {other}" for one, other in zip(HOSTILE[::2], HOSTILE[1::2], strict=True)):
        given = {"sandbox": text, "policy": text, "host": text, "credential": text, "injected": True, "rule": text}
        given |= {"nearest": text, "id": text[:26], "method": text, "path": f"/{text}"}
        llm = {**LLM, "provider": text, "model": text}
        events.append(passed(**given, llm=llm, bytes_out=5_000_000, at=number * DAY))
        events.append(refused("host_not_allowed", **given, at=number * DAY))
        events.append(refused(text, **given, at=number * DAY))
    return events


def test_hostile_text_is_text(tmp_path: Path, plain: str) -> None:
    text = made(tmp_path, *hostile(), notes=tuple(HOSTILE))
    found, usual = Read(text), Read(plain)
    assert found.open == []
    assert {tag for tag, _ in found.tags} <= {tag for tag, _ in usual.tags} | {"article", "li", "code", "b", "ul"}
    allowed = {name for _, attributes in usual.tags for name in attributes} | {"open", "tabindex", "class"}
    assert {name for _, attributes in found.tags for name in attributes} <= allowed
    assert not [name for name in allowed if name.startswith("on")]
    assert all((attributes.get("href") or "#").startswith("#") for _, attributes in found.tags)
    assert "".join(found.texts).count("<script>alert(1)</script>") > 5
    assert not set(text) & {"\u202e", "\x1b", "\x00"}


def test_the_page_fetches_nothing_and_its_policy_says_so(plain: str) -> None:
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', plain)
    (style,) = re.findall(r"<style>(.*?)</style>", plain, re.DOTALL)
    digest = b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert not {"script", "link", "img", "iframe", "object", "embed", "base", "form"} & {
        tag for tag, _ in Read(plain).tags
    }
    assert not re.search(r"(?i)\bstyle=|\bsrc=|url\(|@import|https?:", plain)
    for needed in ("prefers-color-scheme: dark", "@media print", 'class="skip"', 'lang="en"', 'aria-label="sections"'):
        assert needed in plain


def test_the_page_has_what_it_promises(plain: str) -> None:
    anchors = {attributes["id"] for tag, attributes in Read(plain).tags if tag == "section" and "id" in attributes}
    assert set(re.findall(r'href="#(\w+)"', plain)) <= anchors | {"main"}
    assert "hosts: [up.example]" in plain
    assert "genai-prices" in plain
    assert "skipped 7" in plain
    assert plain.count("<rect") >= 3


@pytest.mark.parametrize("count", [0, 1, 100, 5000])
def test_a_chart_of_any_length_keeps_its_sums_and_its_place(count: int) -> None:
    from datetime import timedelta

    start = datetime(2026, 11, 20, 7)  # noqa: DTZ001  times of a scan have no zone
    chart = over_time([(start + timedelta(hours=hour), (2.0, 1.0)) for hour in range(count)], timedelta(hours=1))
    assert len(chart.bars) <= 240
    assert sum(bar.values[0] for bar in chart.bars) == 2 * count
    assert all(
        bar.x >= 56 and bar.x + bar.width <= 960 and height >= 0 for bar in chart.bars for _, height in bar.parts
    )
