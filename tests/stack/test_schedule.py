"""Scheduled trainings, however they end, do not end or do not start, reach the group once and as what they were."""

from __future__ import annotations

import json
import re
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from demo.group import Group
from demo.stack import RULES, Service, Stack, bridge_config, console_script, free_port, wait_until
from epochwatch.supervisor.state import JobState
from epochwatch.supervisor.statefile import StateFile

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

SCRIPT = Path(__file__).with_name("job_training.py")

# How a job ends: the outcome counted, the exit code, what the rules say of it, what it is told by, and in which words.
ENDINGS: dict[str, tuple[str, int | None, str | None, str, str]] = {
    "succeeds": ("success", 0, None, "TrainingJobFinished", "exit code 0"),
    "raises": (
        "failure",
        1,
        "TrainingJobFailed",
        "TrainingJobFailed",
        "RuntimeError: the data set has a hole",
    ),
    "runs-out": ("cuda_oom", 1, "TrainingOutOfMemory", "TrainingJobFailed", "CUDA out of memory"),
    "is-killed": ("signal", 137, "TrainingJobFailed", "TrainingJobFailed", "SIGKILL"),
    "segfaults": ("signal", 139, "TrainingJobFailed", "TrainingJobFailed", "SIGSEGV"),
    "hangs": ("timeout", 143, "TrainingJobFailed", "TrainingJobFailed", "2 s"),
    "speaks": ("failure", 1, "TrainingJobFailed", "TrainingFailed", "RuntimeError: the data set has a hole"),
    "starts-late": (
        "",
        None,
        "TrainingJobMissedStart",
        "TrainingJobMissedStart",
        "nothing was there to start it",
    ),
}
QUIET = ("TrainingStarted", "TrainingNewBest")


def scheduler(stack: Stack, prefix: str, *flags: str) -> Service:
    """Starts a scheduler whose jobs were promised by one that is gone: all but one a minute ago, that one two hours."""
    state = stack.directory / f"{prefix}-state"
    jobs = {}
    for ending in ENDINGS:
        due_at = time.time() // 60 * 60 - (7200 if ending == "starts-late" else 60)
        schedule = time.strftime("%M %H * * *", time.gmtime(due_at))
        promised = JobState(schedule=schedule, timezone="UTC", next_start=due_at, settled=due_at - 1)
        StateFile(state, f"{prefix}-{ending}").write(promised)
        command = [sys.executable, str(SCRIPT), ending]
        jobs[f"{prefix}-{ending}"] = {"schedule": schedule, "timezone": "UTC", "command": command}
        if ending == "hangs":
            jobs[f"{prefix}-{ending}"] |= {"timeout": "2s", "stop_grace": "1s"}
    return start_scheduler(stack, prefix, {"state_dir": str(state), "jobs": jobs}, *flags)


def start_scheduler(stack: Stack, prefix: str, config: dict[str, Any], *flags: str) -> Service:
    """Starts a scheduler that Prometheus finds."""
    port = free_port()
    file = stack.directory / f"{prefix}.yml"
    file.write_text(json.dumps(config))
    service = Service(
        name=f"scheduler-{prefix}",
        argv=[
            console_script("epochwatch"),
            "schedule",
            str(file),
            f"--port={port}",
            "--addr=127.0.0.1",
            *flags,
        ],
        log=stack.log(f"scheduler-{prefix}"),
        url=f"http://127.0.0.1:{port}",
        ready_path="/metrics",
    )
    (stack.targets / f"{prefix}.json").write_text(json.dumps([{"targets": [f"127.0.0.1:{port}"]}]))
    return stack.add(service)


def told(group: Group, job: str) -> list[str]:
    """Gives the names of the alerts that the group was told of a job, oldest first."""
    found = []
    for message in group.with_text(job):
        found += list(dict.fromkeys(re.findall(r"Training[A-Z]\w+", message["text"])))
    return [name for name in found if name not in QUIET]


def query(prometheus: Service, expression: str) -> dict[str, float]:
    answer = requests.get(f"{prometheus.url}/api/v1/query", params={"query": expression}, timeout=5).json()
    return {each["metric"]["job_name"]: float(each["value"][1]) for each in answer["data"]["result"]}


def rules_alerts(alertmanager: Service, prefix: str) -> dict[str, dict[str, Any]]:
    """Gives what the rules have found out about each job, by its ending."""
    alerts = requests.get(f"{alertmanager.url}/api/v2/alerts", timeout=5).json()
    return {
        alert["labels"]["job_name"].removeprefix(f"{prefix}-"): alert
        for alert in alerts
        if alert["labels"].get("job_name", "").startswith(prefix) and "event" not in alert["labels"]
    }


def test_every_end_of_a_scheduled_training_is_told_once(stack: Stack, group: Group) -> None:
    """Each makes one message with the right name, told by itself or found out by the rules, and the metrics agree."""
    config = bridge_config(group.webhook, group.secret)
    config["receivers"]["default"]["robots"][0]["limits"] = {"messages": 1000}
    alertmanager = stack.alertmanager(stack.bridge(config).url)
    prometheus = stack.prometheus(alertmanager.url)
    scheduler(stack, "tells", f"--alertmanager-url={alertmanager.url}")
    scheduler(stack, "is-silent")

    for ending, (_, _, found_as, told_as, words) in ENDINGS.items():
        subject = "digits-mlp" if ending == "speaks" else f"tells-{ending}"
        assert words in group.wait_for(subject, told_as, seconds=60)["text"]
        if found_as is not None:
            group.wait_for(f"is-silent-{ending}", found_as, seconds=60)
    found = {ending: name for ending, (_, _, name, _, _) in ENDINGS.items() if name is not None}
    for prefix in ("tells", "is-silent"):
        wait_until(
            lambda prefix=prefix: rules_alerts(alertmanager, prefix).keys() == found.keys(), 30, "the rules"
        )
    time.sleep(4)  # two more flushes of every group

    for ending, (outcome, code, found_as, told_as, _) in ENDINGS.items():
        assert told(group, f"is-silent-{ending}") == ([found_as] if found_as else []), ending
        if ending != "speaks":
            assert told(group, f"tells-{ending}") == [told_as], ending
        for job in (f"tells-{ending}", f"is-silent-{ending}"):
            runs = f'training_job_runs_total{{job_name="{job}"}}'
            assert query(prometheus, f"{runs} > 0") == ({job: 1} if outcome else {})
            if outcome:
                assert query(prometheus, f'{runs[:-1]},outcome="{outcome}"}}') == {job: 1}
                assert query(prometheus, f'training_job_last_exit_code{{job_name="{job}"}}') == {job: code}
    # What the training itself has said, its job does not say again.
    assert told(group, "digits-mlp") == ["TrainingFailed"]
    assert told(group, "tells-speaks") == []
    quiet = rules_alerts(alertmanager, "tells")
    assert {ending for ending, alert in quiet.items() if alert["status"]["inhibitedBy"]} == found.keys()
    missed = query(prometheus, "time() - training_job_next_start_timestamp_seconds > 0")
    assert sorted(missed) == ["is-silent-starts-late", "tells-starts-late"]


def hurried_rules(directory: Path) -> Path:
    """Gives the shipped rules of jobs, with seconds for the minutes that two of them wait."""
    text = (RULES / "jobs.yml").read_text()
    for patient, hurried in (("+ 600\n", "+ 2\n"), ("for: 5m\n", "for: 2s\n")):
        assert text.count(patient) == 1
        text = text.replace(patient, hurried)
    rules = directory / "hurried"
    rules.mkdir()
    (rules / "jobs.yml").write_text(text)
    return rules


def test_a_run_that_does_not_end_and_a_scheduler_that_is_gone_are_told(
    stack: Stack, group: Group, bridge: Service
) -> None:
    """A run of several times its usual length is told until it ends; then kill -9 takes the scheduler away."""
    state = stack.directory / "state"
    due_at = time.time() // 60 * 60 - 60
    schedule = time.strftime("%M %H * * *", time.gmtime(due_at))
    usual = JobState(schedule, "UTC", next_start=due_at, settled=due_at - 1)
    yesterday = due_at - 86400
    succeeded = replace(
        usual,
        last_start=yesterday,
        last_end=yesterday + 1,
        last_success=yesterday + 1,
        last_duration_seconds=1.0,
    )
    StateFile(state, "nightly").write(succeeded)
    command = [sys.executable, "-c", "import time; time.sleep(15)"]
    job = {"schedule": schedule, "timezone": "UTC", "command": command}

    alertmanager = stack.alertmanager(bridge.url)
    stack.prometheus(alertmanager.url, rules=hurried_rules(stack.directory))
    service = start_scheduler(stack, "jobs", {"state_dir": str(state), "jobs": {"nightly": job}})

    text = group.wait_for("nightly", "TrainingJobOverrunning", seconds=60)["text"]
    assert "The longest run of the last week took 1s" in text
    wait_until(lambda: len(group.with_text("TrainingJobOverrunning")) == 2, 60, "its end")
    assert told(group, "nightly") == ["TrainingJobOverrunning"] * 2

    assert service.process is not None
    service.process.kill()
    assert "no longer scheduled" in group.wait_for("nightly", "TrainingSchedulerAbsent", seconds=60)["text"]
    assert told(group, "nightly") == [*["TrainingJobOverrunning"] * 2, "TrainingSchedulerAbsent"]
