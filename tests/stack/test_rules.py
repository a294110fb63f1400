"""The shipped rules: accepted by each Prometheus there is, tested by promtool, complete, and in words for people."""

from __future__ import annotations

import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.stack.versions import each_version

from alertbridge.links import SHIPPED_RUNBOOKS
from epochwatch.catalogue import CATALOGUE
from epochwatch.supervisor.catalogue import JOB_CATALOGUE

ROOT = Path(__file__).parents[2]
RULES = sorted((ROOT / "prometheus/rules").glob("*.yml"))
TESTS = sorted((ROOT / "prometheus/tests").glob("*.yml"))
PROMTOOLS = each_version("promtool")
ANNOTATIONS = {"summary", "summary_zh", "description", "description_zh", "runbook_url", "dashboard"}
SEVERITIES = {
    "critical": {
        "TrainingFailed", "TrainingProcessDied", "TrainingStalled", "TrainingLossNonFinite", "TrainingOutOfMemory",
        "TrainingGpuXid", "TrainingGpuEccUncorrectable", "TrainingJobFailed", "TrainingJobMissedStart",
        "TrainingSchedulerAbsent",
    },
    "warning": {
        "TrainingLossPlateau", "TrainingLossDiverging", "TrainingLossSpikes", "TrainingGradientExploding",
        "TrainingGradientVanishing", "TrainingStepsSkipped", "TrainingLossScaleCollapsed", "TrainingThroughputDrop",
        "TrainingInputBound", "TrainingStraggler", "TrainingRanksDesynced", "TrainingCheckpointStale",
        "TrainingRestartLoop", "TrainingGpuIdle", "TrainingGpuThrottled", "TrainingGpuHot",
        "TrainingGpuMemoryPressure", "TrainingJobOverrunning", "AlertbridgeDown", "AlertbridgeDeliveryFailing",
        "AlertbridgeBacklog", "AlertbridgeRobotLimited", "AlertbridgeQuotaNearlySpent",
    },
    "info": {
        "TrainingOverfitting", "TrainingFinished", "TrainingNewBest", "TrainingExporterDegraded", "Watchdog",
    },
}  # fmt: skip
# There only once something has gone wrong, so not in a healthy run.
NOT_WHEN_HEALTHY: set[str] = set()


def rules_of(path: Path) -> list[dict[str, Any]]:
    """Takes a rule file, gives its rules in order."""
    return [rule for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


ALERTS = [rule for path in RULES for rule in rules_of(path) if "alert" in rule]
GROUPS = [group for path in TESTS for group in yaml.safe_load(path.read_text())["tests"]]


def halves(folder: Path) -> list[list[Path]]:
    """Takes an empty folder, gives the shipped tests in two parts that take equally long, to use two processors."""
    parts: list[list[Path]] = [[], []]
    for path in TESTS:
        document = yaml.safe_load(path.read_text())
        rule_files = [str(path.parent / name) for name in document["rule_files"]]
        for number, part in enumerate(parts):
            if groups := document["tests"][number::2]:
                half = folder / f"{path.stem}-{number}.yml"
                half.write_text(
                    yaml.dump(
                        {**document, "rule_files": rule_files, "tests": groups}, Dumper=yaml.CSafeDumper
                    )
                )
                part.append(half)
    return parts


def run_tests(promtool: Path, paths: list[Path]) -> str:
    """Takes test files, gives what promtool says if a test fails, else nothing."""
    environment = {**os.environ, "GOGC": "400"}  # a third quicker
    done = subprocess.run(
        [promtool, "test", "rules", *paths], capture_output=True, text=True, check=False, env=environment
    )
    return done.stdout + done.stderr if done.returncode else ""


@pytest.mark.parametrize("promtool", PROMTOOLS)
def test_promtool_accepts_the_rules(promtool: Path) -> None:
    """Every rule file loads."""
    done = subprocess.run([promtool, "check", "rules", *RULES], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("promtool", PROMTOOLS)
def test_promtool_tests_pass(promtool: Path, tmp_path: Path) -> None:
    """Every alert fires, ends and stays silent as its tests say."""
    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(lambda paths: run_tests(promtool, paths), halves(tmp_path)))

    assert said == ["", ""]


def test_every_alert_is_there_with_its_severity() -> None:
    """The alerts are those that are promised, each at its level."""
    found: dict[str, set[str]] = {}
    for rule in ALERTS:
        found.setdefault(rule["labels"]["severity"], set()).add(rule["alert"])

    assert found == SEVERITIES


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_alert_speaks_to_people(rule: dict[str, Any]) -> None:
    """Every alert has its texts in both languages, no raw value in them, and links to its runbook and a dashboard."""
    annotations = rule["annotations"]

    assert annotations.keys() == ANNOTATIONS
    assert annotations["runbook_url"] == f"{SHIPPED_RUNBOOKS}#{rule['alert'].lower()}"
    assert re.match(r"/d/epochwatch-\w+\?.*time=", annotations["dashboard"])
    for name in ("summary_zh", "description_zh"):
        assert re.search(r"[\u4e00-\u9fff]", annotations[name]), name
        assert not re.search(r"[\u4e00-\u9fff][,;:!?]", annotations[name]), f"{name} has ASCII punctuation"


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_alert_keeps_the_run(rule: dict[str, Any]) -> None:
    """No alert on a training or a job loses the label that tells which."""
    if not rule["alert"].startswith("Training"):
        return
    assert "run" in rule["labels"] or "$labels.run" in rule["annotations"]["summary"]
    assert not re.search(r"\bby\s*\(", rule["expr"]), (
        "an aggregation by a list drops the labels that routes need"
    )


@pytest.mark.parametrize("name", sorted(set().union(*SEVERITIES.values()) - {"Watchdog"}))
def test_alert_is_tested_both_ways(name: str) -> None:
    """Each alert's tests see it fire and not fire, and compare its texts word by word."""
    groups = [group for group in GROUPS if group["name"].startswith(f"{name}: ")]
    counts = [bool(test["exp_samples"]) for group in groups for test in group["promql_expr_test"]]
    texts = [
        alert for group in groups for test in group.get("alert_rule_test", []) for alert in test["exp_alerts"]
    ]

    assert {True, False} == set(counts)
    assert texts
    for alert in texts:
        assert alert["exp_annotations"].keys() == ANNOTATIONS
        for text in alert["exp_annotations"].values():
            assert not re.search(r"%!|<no value>|\d\.\d{6}", text), text


def test_the_healthy_run_has_every_metric() -> None:
    """The two hours in which nothing may fire feed every family of the catalogues."""
    text = (ROOT / "prometheus/tests/healthy.yml").read_text()
    fed = set(re.findall(r"series: '(\w+)", text))
    catalogue = (*CATALOGUE, *JOB_CATALOGUE)
    names = {metric.name + ("_bucket" if metric.kind == "histogram" else "") for metric in catalogue}

    assert names - fed == NOT_WHEN_HEALTHY
