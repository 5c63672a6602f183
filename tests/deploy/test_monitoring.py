"""Board and alerts: promtool takes them, and they ask for nothing that a server does not tell."""

import json
import re
import subprocess
from typing import Any

import pytest

from headrace.http.meters import Meters
from headrace.http.metrics import Metrics
from headrace.http.tracing import ENDPOINTS
from headrace.runtime.config import Config
from headrace.runtime.node import Node

from .files import DEPLOY, documents, need

MONITORING = DEPLOY / "monitoring"
NAME = re.compile(r"\bheadrace_\w+")


def told() -> dict[str, set[str]]:
    """Return the labels of each series of `/metrics`."""
    node = Node(Config(disk_reserve_mb=0))
    meters = Meters(node)
    meters.count("route", 200)
    found: dict[str, set[str]] = {}
    for metric in Metrics(node, meters).collect():
        for sample in metric.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
        labels = {name for sample in metric.samples for name in sample.labels} - {"le"}
        for name in (metric.name, f"{metric.name}_total"):  # without a sample yet, too
            found.setdefault(name, set()).update(labels)
    return found


def panels() -> list[dict[str, Any]]:
    board = json.loads((MONITORING / "grafana.json").read_text())
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def asked() -> dict[str, str]:
    """Return every expression, by where it stands."""
    found = {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in panels()
        for target in panel["targets"]
    }
    [rules] = documents("monitoring/headrace.rules.yaml")
    for rule in rules["groups"][0]["rules"]:
        found[rule["alert"]] = rule["expr"]
    return found


def test_board_and_alerts_ask_only_for_metrics_that_there_are() -> None:
    series = told()
    for place, expression in asked().items():
        for name in NAME.findall(expression):
            assert name in series, f"{place}: {name}"
        for labels in re.findall(r"headrace_\w+\{([^}]*)\}", expression):
            for label in re.findall(r"(\w+) *=~?", labels):
                known = {"instance", "job"}.union(*(series[n] for n in NAME.findall(expression)))
                assert label in known, f"{place}: {label}"


def test_the_board_names_its_legend_by_labels_that_there_are() -> None:
    series = told()
    for panel in panels():
        for target in panel["targets"]:
            known = set().union(*(series[name] for name in NAME.findall(target["expr"])))
            for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                assert label in known, panel["title"]


def test_panels_lie_beside_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize(
    "words",
    [("check", "rules", "headrace.rules.yaml"), ("test", "rules", "headrace.rules.test.yaml")],
)
def test_promtool_finds_no_fault_in_the_alerts(words: tuple[str, ...]) -> None:
    done = subprocess.run(
        [need("promtool"), *words], cwd=MONITORING, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_seen_to_fire_in_their_tests() -> None:
    [rules] = documents("monitoring/headrace.rules.yaml")
    tested = (MONITORING / "headrace.rules.test.yaml").read_text()
    for rule in rules["groups"][0]["rules"]:
        assert rule["alert"] in tested
        assert rule["annotations"].keys() == {"summary", "action"}
        assert rule["labels"]["severity"] in {"critical", "warning"}


def test_the_example_of_opentelemetry_turns_spans_on() -> None:
    lines = (MONITORING / "otel.env").read_text().splitlines()
    names = {line.partition("=")[0] for line in lines if not line.startswith("#")}
    assert names & {*ENDPOINTS}
    assert all(name.startswith("OTEL_") for name in names)
