"""A group of alerts that is larger than the bridge takes at a time is told all the same."""

from __future__ import annotations

import re

import pytest
import requests

from demo.group import Group
from demo.stack import Service, Stack
from demo.watch import metric

pytestmark = pytest.mark.stack

GPUS = 3000


def test_more_alerts_than_one_webhook_holds(stack: Stack, group: Group, bridge: Service) -> None:
    """3,000 alerts of one run, 12 MB together, make a message that counts them all, and nothing is refused."""
    alertmanager = stack.alertmanager(bridge.url, group_wait="2s")
    annotations = {"summary": "GPU is hot", "description": "x" * 2000, "description_zh": "热" * 700}
    labels = {"alertname": "TrainingGpuHot", "severity": "warning", "run": "wide"}
    alerts = [
        {"labels": {**labels, "gpu": f"{number}"}, "annotations": annotations} for number in range(GPUS)
    ]
    requests.post(f"{alertmanager.url}/api/v2/alerts", json=alerts, timeout=20).raise_for_status()

    text = group.wait_for("wide", "more", seconds=60)["text"]

    assert text.count("gpu ") + int(re.findall(r"and (\d+) more", text)[0]) == GPUS
    failed = "alertmanager_notifications_failed_total"
    assert metric(alertmanager.url, failed, integration="webhook") == 0
