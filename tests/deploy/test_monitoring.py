"""The dashboard, the alert rules and docs/metrics.md speak of metrics that there are."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML

import celeriac
from celeriac import Celeriac, workflow
from celeriac.api import create_app

ROOT = Path(celeriac.__file__).parent
DASHBOARD = ROOT / "deploy" / "grafana" / "celeriac.json"
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
NAME = re.compile(r"\bceleriac_[a-z_]+")
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


@workflow(name="monitoring.noop")
def noop() -> None: ...


@pytest.fixture
def metrics(durable: Celeriac) -> dict[str, tuple[str, str]]:
    """The names of all samples -> the metric as docs/metrics.md has it, and its type."""
    durable.register()
    text = create_app(durable).test_client().get("/metrics").text
    found = {}
    for family in text_string_to_metric_families(text):
        told = f"{family.name}_total" if family.type == "counter" else family.name
        found |= {family.name + suffix: (told, family.type) for suffix in SUFFIXES[family.type]}
    return found


def rules() -> list[dict[str, Any]]:
    return [rule for group in YAML(typ="safe").load(ALERTS)["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return [each for each in found if each["type"] != "row"]


def expressions() -> Iterator[str]:
    for panel in panels():
        yield from (target["expr"] for target in panel["targets"])
    for variable in json.loads(DASHBOARD.read_text())["templating"]["list"]:
        yield str(variable.get("definition", ""))
    yield from (rule["expr"] for rule in rules())


def test_every_metric_that_is_asked_for_is_one_that_there_is(metrics):
    asked = {name for expression in expressions() for name in NAME.findall(expression)}
    assert set() == asked - metrics.keys()
    assert len(asked) > 20


def test_the_page_of_metrics_lists_all_of_them_and_no_other(metrics):
    told = re.findall(r"^\| `(celeriac_\w+)` \|", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE)
    assert sorted({name for name, _ in metrics.values()}) == sorted(told)


def test_counters_and_only_counters_end_in_total_and_times_are_seconds(metrics):
    for told, kind in metrics.values():
        assert told.endswith("_total") is (kind == "counter"), told
        assert kind != "histogram" or told.endswith("_seconds")


def test_the_dashboard_shows_every_metric_that_is_no_detail(metrics):
    asked = {name for expression in expressions() for name in NAME.findall(expression)}
    shown = {metrics[name][0] for name in asked}
    details = {"celeriac_build_info", "celeriac_beat_done_last", "celeriac_beat_passed_timestamp_seconds"}
    assert details == {told for told, _ in metrics.values()} - shown


def test_the_panels_of_the_dashboard_do_not_lie_over_each_other():
    taken: dict[tuple[int, int], str] = {}
    for panel in panels():
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]
    assert len({each["id"] for each in panels()}) == len(panels())


def test_every_alert_says_how_bad_it_is_and_what_to_do():
    for rule in rules():
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["action"]
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not here (Debian: the package prometheus)")
def test_promtool_takes_the_rules_the_expressions_of_the_dashboard_and_the_metrics(durable, tmp_path):
    said = subprocess.run(["promtool", "check", "rules", ALERTS], capture_output=True, text=True, check=False)
    assert 0 == said.returncode, said.stderr
    panels_as_rules = [
        {"record": f"panel:{n}", "expr": expression.replace("$__rate_interval", "5m")}
        for n, expression in enumerate(e for e in expressions() if not e.startswith("label_values") and e)
    ]
    file = tmp_path / "panels.yml"
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": panels_as_rules}]}))  # JSON is YAML
    said = subprocess.run(["promtool", "check", "rules", file], capture_output=True, text=True, check=False)
    assert 0 == said.returncode, said.stdout + said.stderr
    shown = create_app(durable).test_client().get("/metrics").text
    said = subprocess.run(["promtool", "check", "metrics"], input=shown, capture_output=True, text=True, check=False)
    assert 0 == said.returncode, said.stderr
