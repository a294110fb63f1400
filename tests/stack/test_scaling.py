"""Many ranks: what the snippets drop, share out and send on, tried with real Prometheus servers on a small fleet."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from bench.fleet import Fleet, page
from bench.scaling import CASES, Case, ask, configuration, measure, number, prometheus, report, running

from demo.stack import ROOT, Stack, binary, wait_until

SNIPPETS = ROOT / "prometheus/snippets"
SERIES = re.compile(r'^(?P<name>\w+)\{.*\brank="(?P<rank>\d+)"')


@pytest.fixture(scope="module")
def text() -> str:
    """What a rank of a real training tells."""
    return page()


def drop_rules() -> list[dict[str, Any]]:
    """Gives the snippet's rules on series, the one for every kind of training first."""
    (job,) = yaml.safe_load((SNIPPETS / "many-ranks.yml").read_text())["scrape_configs"]
    rules: list[dict[str, Any]] = job["metric_relabel_configs"]
    return rules


def is_dropped(series: str, rule: dict[str, Any]) -> bool:
    """Tells whether Prometheus would drop a series of a promtool test."""
    found = SERIES.match(series)
    return found is not None and bool(re.fullmatch(rule["regex"], f"{found['name']};{found['rank']}"))


def test_no_alert_needs_what_is_dropped_of_other_ranks(tmp_path: Path) -> None:
    """Each promtool test of an alert that has such series passes without them."""
    rule, _ = drop_rules()
    source = ROOT / "prometheus/tests/training.yml"
    document = yaml.load(source.read_text(), Loader=yaml.CSafeLoader)
    touched = []
    for group in document["tests"]:
        kept = [each for each in group["input_series"] if not is_dropped(each["series"], rule)]
        if group["name"].startswith("Training") and len(kept) < len(group["input_series"]):
            touched.append({**group, "input_series": kept})
    path = tmp_path / "trimmed.yml"
    rule_files = [str(source.parent / name) for name in document["rule_files"]]
    path.write_text(
        yaml.dump({**document, "rule_files": rule_files, "tests": touched}, Dumper=yaml.CSafeDumper)
    )
    done = subprocess.run(
        [binary("promtool"), "test", "rules", path], capture_output=True, text=True, check=False
    )

    assert len(touched) >= 3
    assert done.returncode == 0, done.stdout + done.stderr


def test_trimming_leaves_what_differs_by_rank(text: str) -> None:
    """Of a rank's series two in five go; state, progress, time and GPU stay for each."""
    series = [line.partition(" ")[0] for line in text.splitlines() if line[:1] != "#"]
    others = [each.replace('rank="0"', 'rank="7"') for each in series]
    kept = [each for each in others if not any(is_dropped(each, rule) for rule in drop_rules())]
    names = {each.partition("{")[0] for each in kept}

    assert not any(is_dropped(each, rule) for each in series for rule in drop_rules())
    assert len(kept) < 0.65 * len(others)
    assert names >= {
        "training_run_state", "training_last_progress_timestamp_seconds", "training_stall_timeout_seconds",
        "training_global_step", "training_step_part_seconds_total", "training_exceptions_total",
        "training_nonfinite_total", "training_gpu_utilization_ratio", "training_gpu_xid_errors_total",
    }  # fmt: skip


def test_a_healthy_fleet_is_silent_and_arrives_above(tmp_path: Path, text: str) -> None:
    """Remote write and federation each bring the runs and no rank to another Prometheus, and nothing fires."""
    fleet = Fleet(text, 12, ranks_per_run=6)
    federation = yaml.safe_load((SNIPPETS / "federation.yml").read_text())
    (job,) = federation["scrape_configs"]
    with running(Case("12 ranks", 12, 1, True), fleet) as (url, receiver), Stack(tmp_path) as stack:
        job["static_configs"] = [{"targets": [url.removeprefix("http://")]}]
        above = prometheus(stack, "above", {**federation, "global": {"scrape_interval": "1s"}} | {
            "scrape_configs": [{**job, "scrape_interval": "1s"}]
        }).url  # fmt: skip
        wait_until(lambda: number(url, "count(up == 1)") == 12, 30, "all ranks")
        for store in (receiver, above):
            wait_until(
                lambda store=store: len(ask(store, "run:training_active:max")) == 2,
                30,
                f"the runs at {store}",
            )
            runs = {each["metric"]["run"] for each in ask(store, "run:training_active:max == 1")}
            assert runs == {"run-0", "run-1"}
            names = {each["metric"]["__name__"] for each in ask(store, '{__name__=~".+", run!=""}')}
            assert {name for name in names if not name.startswith("run:")} <= {"ALERTS"}
        assert number(url, "count(training_run_state) by (state)") == 12
        assert number(url, "count(training_step_duration_seconds_count)") == 2
        assert ask(url, 'ALERTS{alertname!="Watchdog"}') == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bench_loads_every_case(case: Case, tmp_path: Path) -> None:
    """The configuration of each size is one that Prometheus takes."""
    path = tmp_path / "prometheus.yml"
    path.write_text(yaml.safe_dump(configuration(case, tmp_path / "targets.json", "http://127.0.0.1:9")))
    done = subprocess.run(
        [binary("promtool"), "check", "config", "--syntax-only", path],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr


def test_a_run_stays_on_one_shard(tmp_path: Path) -> None:
    """Each run's ranks go to one of the servers, together, and no run to none."""
    config = yaml.safe_load((SNIPPETS / "shard.yml").read_text())
    (job,) = config["scrape_configs"]
    targets = tmp_path / "targets.json"
    targets.write_text(json.dumps([
        {"targets": [f"10.0.{run}.{rank}:9400"], "labels": {"__meta_epochwatch_run": f"run-{run}"}}
        for run in range(20) for rank in range(3)
    ]))  # fmt: skip
    job["file_sd_configs"] = [{"files": [str(targets)]}]
    seen: dict[str, set[str]] = {}
    for shard in range(4):
        job["relabel_configs"][-1]["regex"] = str(shard)
        path = tmp_path / "prometheus.yml"
        path.write_text(yaml.safe_dump({"scrape_configs": [job]}))
        done = subprocess.run(
            [binary("promtool"), "check", "service-discovery", "--timeout=1s", path, "training"],
            capture_output=True, text=True, check=True, env={**os.environ, "LC_ALL": "C"},
        )  # fmt: skip
        for each in json.loads(done.stdout):
            if each.get("labels"):
                address = each["labels"]["instance"]
                seen.setdefault(address, set()).add(str(shard))
    shards: dict[str, set[str]] = {}
    for address, where in seen.items():
        shards.setdefault(address.split(".")[2], set()).update(where)

    assert len(seen) == 60
    assert all(len(where) == 1 for where in shards.values())
    assert len(set.union(*shards.values())) == 4


def test_bench_reads_what_prometheus_says_of_itself(text: str) -> None:
    """Series, samples and rules of a small fleet are what its size gives, and its lines say so."""
    case = Case("12 ranks", 12, 1, False)
    seen = measure(case, text, 4)

    assert (seen.up, seen.firing, seen.missed) == (12, [], 0)
    assert seen.series > 12 * Fleet(text, 1).series
    assert seen.samples_per_second > 12 * Fleet(text, 1).series * 0.8
    assert seen.slowest_group.startswith("epochwatch-")
    assert 0 < seen.rules_seconds < 1
    assert 30e6 < seen.memory_bytes < 500e6
    assert f"12 up, {seen.series} series" in "".join(report(case, seen, 4))
