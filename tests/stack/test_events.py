"""Events that a real training tells reach the group once, through a real Alertmanager or straight."""

from __future__ import annotations

import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from demo.group import Group
from demo.stack import Service, Stack, bridge_config, wait_until

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

SCRIPT = Path(__file__).with_name("event_training.py")

REPORTS = "https://reports.example.com/runs"
# How a training ends, the event it tells, and what stands in its message.
ENDINGS = {
    "raises": ("TrainingFailed", "RuntimeError: the data set has a hole"),
    "runs-out": ("TrainingFailed", "CUDA out of memory"),
    "finishes": ("TrainingFinished", "60 of 60 epochs"),
    "waits": ("TrainingInterrupted", "SIGINT"),
}


def training(stack: Stack, ending: str, **environment: str) -> Service:
    return stack.add(
        Service(
            name=ending,
            argv=[sys.executable, str(SCRIPT), ending],
            log=stack.log(f"training-{ending}"),
            env={
                "EPOCHWATCH_TARGETS_DIR": str(stack.targets),
                "EPOCHWATCH_HISTORY": str(stack.directory / "runs"),
                "EPOCHWATCH_REPORT_URL": REPORTS,
                **environment,
            },
        )
    )


def alerts(alertmanager: Service, run: str) -> list[dict[str, Any]]:
    """Gives the alerts of a run that Alertmanager knows, inhibited ones too."""
    answer = requests.get(f"{alertmanager.url}/api/v2/alerts", params={"filter": f'run="{run}"'}, timeout=5)
    found: list[dict[str, Any]] = answer.json()
    return found


def told(group: Group, run: str) -> list[str]:
    """Gives the names of the alerts that the group was told of a run, oldest first."""
    names = [re.findall(r"Training[A-Z]\w+", message["text"]) for message in group.with_text(run)]
    return [name for found in names for name in dict.fromkeys(found)]


def report_of(stack: Stack, run: str) -> str:
    """Gives the run's id in the name of its report, once that is there."""
    pattern = f"{run}-*.html"
    reports = stack.directory / "runs" / "reports"
    found = wait_until(lambda: list(reports.glob(pattern)), 60, f"the report of {run}")
    assert len(found) == 1
    return str(found[0].stem.rpartition("-")[2])


def test_each_event_of_a_training_is_told_once(stack: Stack, group: Group) -> None:
    """Start, new best and each kind of end make one message each; the rules that find the same out stay quiet."""
    config = bridge_config(group.webhook, group.secret)
    # Four trainings at once are more than a robot's budget has for what is not critical: no digests here.
    config["receivers"]["default"]["robots"][0]["limits"] = {"messages": 1000}
    bridge = stack.bridge(config)
    alertmanager = stack.alertmanager(bridge.url)
    stack.prometheus(alertmanager.url)
    trainings = {
        ending: training(stack, ending, EPOCHWATCH_ALERTMANAGER_URL=alertmanager.url) for ending in ENDINGS
    }
    for ending in ENDINGS:
        started = group.wait_for(f"tells-{ending}", "TrainingStarted")
        assert all(part in started["text"] for part in ("model: cnn-2x", "dataset: digits", "batch size: 32"))
        best = group.wait_for(f"tells-{ending}", "TrainingNewBest", seconds=60)
        assert "50.00% → 90.00% (+40.00 pp), epoch 3" in best["text"]

    waiting = trainings["waits"].process
    assert waiting is not None
    wait_until(lambda: told(group, "tells-finishes")[2:], 60, "the first end")
    waiting.send_signal(signal.SIGINT)
    for ending, (name, words) in ENDINGS.items():
        assert words in group.wait_for(f"tells-{ending}", name, seconds=60)["text"]
        # Four trainings at once keep their histories in one file, and each message links its own report.
        run_id = report_of(stack, f"tells-{ending}")
        assert f"{REPORTS}/tells-{ending}-{run_id}.html" in group.wait_for(f"tells-{ending}", name)["text"]
    assert "accuracy ▇▁▁" in group.wait_for("tells-finishes", "TrainingFinished")["text"]
    assert "checkpoint: checkpoints/last.pt" in group.wait_for("tells-finishes", "TrainingFinished")["text"]
    assert "event_training.py:" in group.wait_for("tells-raises", "TrainingFailed")["text"]

    # The rules have found out by themselves, and Alertmanager keeps what they say for itself.
    twins = {"raises": "TrainingFailed", "runs-out": "TrainingOutOfMemory", "finishes": "TrainingFinished"}
    for ending, name in twins.items():
        run = f"tells-{ending}"
        twin = wait_until(
            lambda run=run, name=name: [
                alert
                for alert in alerts(alertmanager, run)
                if alert["labels"]["alertname"] == name and "event" not in alert["labels"]
            ],
            60,
            f"{name} of {run}",
        )
        assert twin[0]["status"]["inhibitedBy"]
    time.sleep(4)  # two more flushes of every group
    for ending, (name, _) in ENDINGS.items():
        assert told(group, f"tells-{ending}") == ["TrainingStarted", "TrainingNewBest", name]
    assert [trainings[ending].exit_code for ending in ENDINGS] == [1, 1, 0, -signal.SIGINT]


def test_nodes_that_end_together_make_one_message(stack: Stack, group: Group, bridge: Service) -> None:
    """Two nodes fail and a third is stopped by its launcher: the group hears of the run's failure once."""
    alertmanager = stack.alertmanager(bridge.url)
    ends = [
        ("TrainingFailed", "critical", {"kind": "other"}, "RuntimeError: a peer has gone, says node 1"),
        ("TrainingFailed", "critical", {"kind": "other"}, "RuntimeError: a peer has gone, says node 2"),
        ("TrainingInterrupted", "info", {}, "terminated from outside (SIGTERM)"),
    ]
    for name, severity, more, text in ends:
        labels = {"alertname": name, "run": "three-nodes", "severity": severity, "event": "true", **more}
        alert = {"labels": labels, "annotations": {"summary": f"three-nodes: {text}"}}
        requests.post(f"{alertmanager.url}/api/v2/alerts", json=[alert], timeout=5).raise_for_status()
    group.wait_for("three-nodes", "a peer has gone")
    time.sleep(4)  # two more flushes of every group

    assert len(group.messages()) == 1


def test_a_failure_is_in_the_group_within_seconds(stack: Stack, group: Group, bridge: Service) -> None:
    """From the exception to the message it takes 2 seconds at most directly, 5 through Alertmanager."""
    alertmanager = stack.alertmanager(bridge.url)
    script = stack.directory / "fails.py"
    script.write_text(
        "import sys, time, epochwatch\n"
        "with epochwatch.start(sys.argv[1], port=0, addr='127.0.0.1', language='en') as run:\n"
        "    run.step(loss=1.0)\n"
        "    print(time.time(), flush=True)\n"
        "    raise RuntimeError('boom')\n"
    )
    ways = {
        "through-alertmanager": (5.0, {"EPOCHWATCH_ALERTMANAGER_URL": alertmanager.url}),
        "directly": (
            2.0,
            {
                "EPOCHWATCH_NOTIFY": "dingtalk",
                "DINGTALK_WEBHOOK": group.webhook,
                "DINGTALK_SECRET": group.secret,
            },
        ),
    }
    for run, (limit, environment) in ways.items():
        service = stack.add(
            Service(name=run, argv=[sys.executable, str(script), run], log=stack.log(run), env=environment)
        )
        message = group.wait_for(run, "RuntimeError: boom", seconds=20)
        raised = float(service.log.read_text().splitlines()[0])
        assert message["id"] in group.accepted()
        assert time.time() - raised < limit
        assert wait_until(lambda service=service: service.exit_code, 10, "its end") == 1
        if run == "directly":
            assert group.token not in service.log.read_text()
            assert group.secret not in service.log.read_text()
