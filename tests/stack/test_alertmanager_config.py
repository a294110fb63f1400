"""The shipped Alertmanager configuration: where each alert goes, and which keeps which quiet."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from tests.stack.versions import each_version

from alertbridge.settings import Settings
from demo.stack import Stack, binary

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "prometheus/alertmanager.yml"
SNIPPET = ROOT / "prometheus/snippets/alertmanager.yml"
AMTOOLS = each_version("amtool")
ALERTS = [
    (rule["alert"], rule["labels"]["severity"])
    for path in sorted((ROOT / "prometheus/rules").glob("*.yml"))
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
]
BY_SEVERITY = {"critical": "critical", "warning": "default", "info": "calm"}


def receiver_of(config: Path = CONFIG, **labels: str) -> str:
    """Takes an alert's labels, gives the receiver that amtool finds for it."""
    matched = [f"{name}={value}" for name, value in labels.items()]
    done = subprocess.run(
        [binary("amtool"), "config", "routes", "test", f"--config.file={config}", *matched],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.parametrize("amtool", AMTOOLS)
@pytest.mark.parametrize("path", [CONFIG, SNIPPET], ids=["shipped", "snippet"])
def test_amtool_accepts_the_file(amtool: Path, path: Path) -> None:
    """The configuration loads, and so does a file made of the snippet."""
    done = subprocess.run([amtool, "check-config", path], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("name", "severity"), ALERTS)
def test_rule_goes_where_its_severity_says(name: str, severity: str) -> None:
    """Each shipped alert goes by its severity; the heart-beat apart."""
    expected = "watchdog" if name == "Watchdog" else BY_SEVERITY[severity]

    assert receiver_of(alertname=name, severity=severity, run="digits") == expected


@pytest.mark.parametrize("severity", ["critical", "warning", "info"])
@pytest.mark.parametrize("name", ["TrainingStarted", "TrainingNewBest", "TrainingFinished", "TrainingFailed"])
def test_event_goes_at_once(name: str, severity: str) -> None:
    """What the training says itself takes the route of events, whatever its severity."""
    assert receiver_of(alertname=name, severity=severity, run="x", event="true") == "events"


def test_unknown_severity_is_not_lost() -> None:
    """An alert of other rules, or without any severity, goes to the default receiver."""
    assert receiver_of(alertname="NodeDown", severity="page") == "default"
    assert receiver_of(alertname="NodeDown") == "default"


@pytest.mark.parametrize(
    ("name", "severity"), [*ALERTS, ("TrainingStarted", "info"), ("NodeDown", "critical")]
)
def test_snippet_takes_ours_and_nothing_else(name: str, severity: str) -> None:
    """In a file with the snippet our alerts go to the group, all others and the heart-beat as before."""
    expected = "dingtalk-training" if name.startswith(("Training", "Alertbridge")) else "yours"

    assert receiver_of(SNIPPET, alertname=name, severity=severity, run="digits") == expected


@pytest.mark.parametrize("severity", ["critical", "warning", "info"])
def test_snippet_never_resolves_an_event(severity: str) -> None:
    """What has happened does not end; the snippet's route of events says so as the shipped one does."""
    labels = {"alertname": "TrainingStarted", "severity": severity, "run": "x", "event": "true"}
    for config in (CONFIG, SNIPPET):
        receivers = {each["name"]: each for each in yaml.safe_load(config.read_text())["receivers"]}
        hooks = receivers[receiver_of(config, **labels)]["webhook_configs"]
        assert [hook["send_resolved"] for hook in hooks] == [False]


@pytest.mark.parametrize("name", ["TrainingNewBest", "TrainingFinished"])
def test_what_fires_for_minutes_is_looked_at_each_minute(name: str) -> None:
    """A group that is flushed less often misses some of them, and takes the next for one that was told."""
    wanted = {"alertname": name, "severity": "info", "run": "x"}
    routes = yaml.safe_load(CONFIG.read_text())["route"]["routes"]
    (route,) = [
        each for each in routes if f"{name}|" in each["matchers"][0] or f'|{name}"' in each["matchers"][0]
    ]
    assert receiver_of(**wanted) == route["receiver"] == "calm"
    assert route["group_interval"] == "1m"


def test_one_robot_is_enough() -> None:
    """Every receiver but the heart-beat's leads to the bridge's receiver `default` under compose's service name."""
    receivers = {each["name"]: each for each in yaml.safe_load(CONFIG.read_text())["receivers"]}
    urls = {
        name: [hook["url"] for hook in each.get("webhook_configs", [])] for name, each in receivers.items()
    }

    address = "http://alertbridge:8060/dingtalk/default/send"
    assert urls == {
        "default": [address],
        "critical": [address],
        "calm": [address],
        "events": [address],
        "watchdog": [],
    }


def test_times_fit_the_level() -> None:
    """Events and critical alerts wait for nobody, events are groups of their own, the rest is by alert and run."""
    root = yaml.safe_load(CONFIG.read_text())["route"]
    routes = {route["receiver"]: {**root, **route} for route in root["routes"]} | {"default": root}

    assert {name: route["group_wait"] for name, route in routes.items()} == {
        "watchdog": "0s",
        "events": "0s",
        "critical": "0s",
        "calm": "1m",
        "default": "30s",
    }
    assert {name: route["group_by"] for name, route in routes.items()} == {
        "watchdog": ["alertname"],
        "events": ["..."],
        "critical": ["alertname", "run"],
        "calm": ["alertname", "run"],
        "default": ["alertname", "run"],
    }


@pytest.mark.parametrize("path", [CONFIG, SNIPPET], ids=["shipped", "snippet"])
def test_no_webhook_outgrows_the_bridge(path: Path) -> None:
    """A webhook of as many alerts as are let through, each of 16 KB, is within what the bridge takes."""
    receivers = yaml.safe_load(path.read_text())["receivers"]
    hooks = [hook for receiver in receivers for hook in receiver.get("webhook_configs", [])]
    limit = Settings.model_fields["max_body_bytes"].default

    assert hooks
    assert all(0 < hook["max_alerts"] * 16_000 <= limit for hook in hooks)


def rule(name: str, severity: str = "warning") -> dict[str, str]:
    return {"alertname": name, "severity": severity}


def event(name: str, severity: str = "info", **more: str) -> dict[str, str]:
    return {"alertname": name, "severity": severity, "event": "true", **more}


# The source, what it keeps quiet in its run, what it does not.
INHIBITIONS: list[tuple[dict[str, str], list[dict[str, str]], list[dict[str, str]]]] = [
    (
        event("TrainingFailed", "critical"),
        [rule("TrainingFailed", "critical"), rule("TrainingProcessDied", "critical"),
         rule("TrainingOutOfMemory", "critical"), rule("TrainingStalled", "critical"), rule("TrainingLossPlateau"),
         event("TrainingInterrupted")],
        [rule("TrainingLossNonFinite", "critical"), event("TrainingNewBest"), rule("TrainingGpuXid", "critical")],
    ),
    (
        event("TrainingFailed", "critical", kind="cuda_oom"),
        [event("TrainingFailed", "critical", kind="other"), event("TrainingInterrupted")],
        [event("TrainingStarted")],
    ),
    (
        event("TrainingFinished"),
        [rule("TrainingFinished", "info"), rule("TrainingProcessDied", "critical")],
        [rule("TrainingLossPlateau"), rule("TrainingFailed", "critical"), event("TrainingNewBest")],
    ),
    (
        event("TrainingJobFailed", "critical"),
        [rule("TrainingProcessDied", "critical"), rule("TrainingOutOfMemory", "critical"),
         rule("TrainingStalled", "critical")],
        [rule("TrainingLossNonFinite", "critical"), event("TrainingStarted"), event("TrainingFailed", "critical")],
    ),
    (event("TrainingNewBest"), [rule("TrainingNewBest", "info")], [rule("TrainingFinished", "info")]),
    (
        rule("TrainingProcessDied", "critical"),
        [rule("TrainingGpuHot"), rule("TrainingOverfitting", "info"), rule("TrainingExporterDegraded", "info")],
        [rule("TrainingLossNonFinite", "critical"), rule("TrainingFinished", "info"),
         rule("TrainingNewBest", "info"), event("TrainingStarted"), rule("AlertbridgeBacklog")],
    ),
    (
        rule("TrainingFailed", "critical"),
        [rule("TrainingProcessDied", "critical"), rule("TrainingStalled", "critical"), rule("TrainingLossSpikes")],
        [rule("TrainingOutOfMemory", "critical"), rule("TrainingGpuEccUncorrectable", "critical"),
         rule("TrainingRestartLoop")],
    ),
    (
        rule("TrainingOutOfMemory", "critical"),
        [rule("TrainingFailed", "critical"), rule("TrainingProcessDied", "critical"), rule("TrainingGpuIdle")],
        [event("TrainingFailed", "critical"), rule("TrainingJobFailed", "critical")],
    ),
    (
        rule("TrainingStalled", "critical"),
        [rule("TrainingThroughputDrop"), rule("TrainingGpuIdle")],
        [rule("TrainingLossNonFinite", "critical")],
    ),
    (
        rule("TrainingLossNonFinite", "critical"),
        [rule("TrainingLossPlateau"), rule("TrainingLossDiverging"), rule("TrainingLossSpikes"),
         rule("TrainingLossScaleCollapsed"), rule("TrainingGradientExploding"), rule("TrainingGradientVanishing"),
         rule("TrainingStepsSkipped"), rule("TrainingOverfitting", "info")],
        [rule("TrainingGpuHot"), rule("TrainingFailed", "critical"), rule("TrainingCheckpointStale")],
    ),
    (
        rule("TrainingLossDiverging"),
        [rule("TrainingLossPlateau"), rule("TrainingOverfitting", "info")],
        [rule("TrainingLossSpikes"), rule("TrainingLossNonFinite", "critical")],
    ),
]  # fmt: skip


def suppressed(url: str, number: int) -> dict[str, set[str]]:
    """Takes Alertmanager's address, waits for that many alerts, gives the names of the quiet ones by run."""
    deadline = time.monotonic() + 20
    before: dict[str, set[str]] | None = None
    while True:
        alerts: list[dict[str, Any]] = requests.get(f"{url}/api/v2/alerts", timeout=5).json()
        if len(alerts) == number and all(alert["status"]["state"] != "unprocessed" for alert in alerts):
            quiet = quiet_ones(alerts)
            # Inhibitions are learned on a thread of their own, after the alerts are there.
            if quiet == before:
                return quiet
            before = quiet
        assert time.monotonic() < deadline, f"{len(alerts)} of {number} alerts are there"
        time.sleep(0.4)


def quiet_ones(alerts: list[dict[str, Any]]) -> dict[str, set[str]]:
    """Takes alerts, gives the names of the inhibited ones by run."""
    quiet: dict[str, set[str]] = {}
    for alert in alerts:
        if alert["status"]["inhibitedBy"]:
            quiet.setdefault(alert["labels"]["run"], set()).add(alert["labels"]["alertname"])
    return quiet


def test_inhibitions_in_a_real_alertmanager(stack: Stack) -> None:
    """Each source keeps quiet what follows from it, in its own run, and nothing else."""
    url = stack.alertmanager("http://127.0.0.1:9").url
    alerts, expected = [], {}
    for number, (source, quiet, loud) in enumerate(INHIBITIONS):
        # One target at a time beside the source: two targets could keep each other quiet.
        for place, target in enumerate([*quiet, *loud]):
            run = f"run-{number}-{place}"
            alerts += [{**source, "run": run}, {**target, "run": run}, {**target, "run": f"{run}-other"}]
            if place < len(quiet):
                expected[run] = {target["alertname"]}
    reverse = {  # where the target in turn is the stronger word for the source
        f"run-{number}-{len(quiet) + place}": {source["alertname"]}
        for number, (source, quiet, loud) in enumerate(INHIBITIONS)
        for place, target in enumerate(loud)
        if any(target == other and source in kept for other, kept, _ in INHIBITIONS)
    }
    requests.post(
        f"{url}/api/v2/alerts", json=[{"labels": labels} for labels in alerts], timeout=5
    ).raise_for_status()

    assert suppressed(url, len(alerts)) == expected | reverse


@pytest.mark.parametrize(
    ("name", "quiet"),
    [
        ("TrainingFailed", True),
        ("TrainingFinished", True),
        ("TrainingInterrupted", True),
        ("TrainingJobFailed", True),
        ("TrainingJobInterrupted", True),
        ("TrainingStarted", False),
        ("TrainingJobRestarted", False),
    ],
)
def test_a_job_and_the_training_in_it_say_an_end_once(stack: Stack, name: str, quiet: bool) -> None:
    """What one of them has told of its end keeps the rules about the job quiet, though the names differ."""
    url = stack.alertmanager("http://127.0.0.1:9").url
    alerts = [{**event(name, "critical"), "run": "digits-mlp", "job_name": "nightly"}]
    for job in ("nightly", "weekly"):
        alerts += [
            {**rule(about, "critical"), "run": job, "job_name": job}
            for about in ("TrainingJobFailed", "TrainingOutOfMemory", "TrainingJobMissedStart")
        ]
    requests.post(
        f"{url}/api/v2/alerts", json=[{"labels": labels} for labels in alerts], timeout=5
    ).raise_for_status()

    expected = {"nightly": {"TrainingJobFailed", "TrainingOutOfMemory"}} if quiet else {}
    assert suppressed(url, len(alerts)) == expected


def test_alerts_without_a_run_do_not_keep_each_other_quiet(stack: Stack) -> None:
    """Rules of other people that have no run are not touched, though `equal` takes a missing label for equal."""
    url = stack.alertmanager("http://127.0.0.1:9").url
    alerts = [
        {"alertname": "TrainingFailed", "severity": "critical", "run": "digits"},
        {"alertname": "TrainingDiskFull", "severity": "warning"},
        {"alertname": "NodeDown", "severity": "warning"},
    ]
    requests.post(
        f"{url}/api/v2/alerts", json=[{"labels": labels} for labels in alerts], timeout=5
    ).raise_for_status()

    assert suppressed(url, len(alerts)) == {}
