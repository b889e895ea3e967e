"""Alarms and dashboard name what the application reports, and every alarm has its runbook."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from starlette.testclient import TestClient

from app.domain.states import JobState
from app.queue import QUEUES

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RUNBOOKS = (ROOT / "docs" / "runbooks.md").read_text(encoding="utf-8")
NAME = re.compile(r"\battune_\w+")
LABEL = re.compile(r"(queue|state)=\"(\w+)\"")
KNOWN: dict[str, set[str]] = {"queue": set(QUEUES), "state": {str(state) for state in JobState}}


def _rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((PROMETHEUS / "attune.rules.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def _of_dashboard() -> Iterator[str]:
    dashboard = json.loads((ROOT / "deploy" / "grafana" / "attune.json").read_text())
    for panel in dashboard["panels"]:
        yield from (target["expr"] for target in panel["targets"])


def test_every_figure_exists_and_is_shown_and_explained(client: TestClient) -> None:
    exposed = set(re.findall(r"^# TYPE (\w+) ", client.get("/metrics").text, re.MULTILINE))
    alarms = [rule["expr"] for rule in _rules()]
    shown = list(_of_dashboard())
    assert {name for text in (*alarms, *shown) for name in NAME.findall(text)} - exposed == set()
    assert exposed - {name for text in shown for name in NAME.findall(text)} == set()
    assert set(re.findall(r"^\| `(attune_\w+)", RUNBOOKS, re.MULTILINE)) == exposed
    for label, value in (pair for text in (*alarms, *shown) for pair in LABEL.findall(text)):
        assert value in KNOWN[label]


def test_every_alarm_has_a_runbook() -> None:
    alarms = {rule["alert"]: rule for rule in _rules()}
    assert set(re.findall(r"^### (Attune\w+)$", RUNBOOKS, re.MULTILINE)) == set(alarms)
    for name, rule in alarms.items():
        assert rule["annotations"]["runbook"] == f"docs/runbooks.md#{name.lower()}"
        assert {"summary", "description"} < set(rule["annotations"])
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_the_alarms_ring_when_they_should() -> None:
    command = ["promtool", "test", "rules", str(PROMETHEUS / "attune.rules.test.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
