"""The dashboard and the alert rules in examples/metrics ask for what there is, and Prometheus takes them."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from proxy.metrics.counters import Counters
from proxy.metrics.text import exposition
from tests.metrics.test_metrics import GAUGES, SUPERVISOR

FOLDER = Path(__file__).parents[2] / "examples" / "metrics"
DOCUMENT = Path(__file__).parents[2] / "docs" / "operations.md"
NAME = re.compile(r"\boutgate_[a-z_]+")
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())
RULES = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"][0]["rules"]


def measured() -> dict[str, str]:
    """Every metric by its name, and of what kind it is."""
    text = exposition([{**Counters().values(), **GAUGES}], SUPERVISOR, 1.0)
    return dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))


def asked() -> dict[str, str]:
    """Every PromQL expression, by where it stands."""
    panels = {
        f"{panel['title']} {each['refId']}": each["expr"] for panel in DASHBOARD["panels"] for each in panel["targets"]
    }
    return panels | {rule["alert"]: rule["expr"] for rule in RULES}


@pytest.mark.parametrize(("where", "expression"), asked().items())
def test_what_is_asked_for_is_measured(where: str, expression: str) -> None:
    known = measured()
    for name in NAME.findall(expression):
        assert known[name.removesuffix("_bucket")] == ("histogram" if name.endswith("_bucket") else known[name])
    for name, function in re.findall(r"(?:rate|increase)\((outgate_[a-z_]+)(.*?)\[", expression):
        assert known[name.removesuffix("_bucket")] in {"counter", "histogram"}, f"{name}{function} does not only grow"


def test_the_dashboard_shows_each_metric_and_each_panel_once() -> None:
    shown = {
        name.removesuffix("_bucket")
        for panel in DASHBOARD["panels"]
        for each in panel["targets"]
        for name in NAME.findall(each["expr"])
    }
    assert measured().keys() - shown == {"outgate_audit_lag_seconds"}
    identifiers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(identifiers)) == len(identifiers)
    taken: set[tuple[int, int]] = set()
    for place in (panel["gridPos"] for panel in DASHBOARD["panels"]):
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_the_document_names_each_metric() -> None:
    section = DOCUMENT.read_text().partition("\n## Metrics and health\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(outgate_\w+)", section, re.MULTILINE)) == measured().keys()


def test_promtool_takes_the_rules() -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not here (Debian: prometheus)")
    for command in (
        ("check", "rules", "alerts.yml"),
        ("test", "rules", "alerts_test.yml"),
        ("check", "config", "prometheus.yml"),
    ):
        done = subprocess.run(["promtool", *command], cwd=FOLDER, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_takes_what_the_dashboard_asks(tmp_path: Path) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not here (Debian: prometheus)")
    plain = [each.replace("$__rate_interval", "5m").replace("$instance", "a") for each in asked().values()]
    rules = [{"record": f"panel:{number}", "expr": each} for number, each in enumerate(plain)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", "rules.yml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
