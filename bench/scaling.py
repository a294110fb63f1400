"""What a cluster of trainings costs Prometheus: series, samples a second, rule evaluation, memory, processor.

A real Prometheus with the shipped rules scrapes a fleet of ranks (bench/fleet.py), sends what is kept per run by remote
write to a second one, and is asked by its own metrics. Machine and bench share the same cores, so the processor time
of the fleet is in the load, and not in the numbers, which are of the Prometheus process alone.

    PYTHONPATH=examples python -m bench.scaling [--quick] [--minutes 10] [--only NAME]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import yaml
from bench.fleet import Fleet, page, serve

from demo.stack import ROOT, Service, Stack, binary, free_port, wait_until

SNIPPET = ROOT / "prometheus/snippets/many-ranks.yml"


@dataclass(frozen=True)
class Case:
    """One size of cluster; `trimmed` with the drop list of the snippet."""

    name: str
    ranks: int
    interval_seconds: int
    trimmed: bool


CASES = (
    Case("10 ranks", 10, 15, False),
    Case("1,000 ranks, all series", 1_000, 15, False),
    Case("1,000 ranks, trimmed", 1_000, 15, True),
    Case("10,000 ranks, all series", 10_000, 60, False),
    Case("10,000 ranks, trimmed", 10_000, 60, True),
)


@dataclass(frozen=True)
class Reading:
    """What Prometheus said of itself, over the time in which it was watched.

    Attributes:
        rules_seconds: How long one evaluation of all rule groups took, in the mean; wall-clock time.
        slowest_group: The one that took longest at last.
    """

    up: int
    series: int
    samples_per_second: float
    sent_per_second: float
    rules_seconds: float
    slowest_group: str
    missed: float
    memory_bytes: float
    cores: float
    scrape_p99_seconds: float
    firing: list[str]


def configuration(case: Case, targets: Path, remote: str) -> dict[str, Any]:
    """Takes a case, gives a prometheus.yml made of the shipped one and of the snippet for many ranks."""
    shipped = yaml.safe_load((ROOT / "prometheus/prometheus.yml").read_text())
    snippet = yaml.safe_load(SNIPPET.read_text())
    job = next(each for each in shipped["scrape_configs"] if each["job_name"] == "training")
    job["file_sd_configs"] = [{"files": [str(targets)]}]
    if case.trimmed:
        many = next(each for each in snippet["scrape_configs"] if each["job_name"] == "training")
        job["metric_relabel_configs"] = many["metric_relabel_configs"]
    interval = f"{case.interval_seconds}s"
    (write,) = snippet["remote_write"]
    return {
        "global": {"scrape_interval": interval, "evaluation_interval": interval},
        "rule_files": [str(ROOT / "prometheus/rules/*.yml")],
        "scrape_configs": [job],
        "remote_write": [{"url": f"{remote}/api/v1/write", "write_relabel_configs": write["write_relabel_configs"]}],
    }  # fmt: skip


def prometheus(stack: Stack, name: str, config: dict[str, Any], *options: str) -> Service:
    """Starts one Prometheus with this configuration on a free port."""
    port = free_port()
    path = stack.directory / f"{name}.yml"
    path.write_text(yaml.safe_dump(config))
    argv = [binary("prometheus"), f"--config.file={path}", f"--storage.tsdb.path={stack.directory / name}"]
    return stack.add(
        Service(
            name=name,
            argv=[*argv, f"--web.listen-address=127.0.0.1:{port}", *options],
            log=stack.log(name),
            url=f"http://127.0.0.1:{port}",
            ready_path="/-/ready",
        )
    )


def ask(url: str, query: str) -> list[dict[str, Any]]:
    """Takes a query, gives the result's vector."""
    answer = requests.get(f"{url}/api/v1/query", params={"query": query}, timeout=60).json()
    found: list[dict[str, Any]] = answer["data"]["result"]
    return found


def number(url: str, query: str) -> float:
    """Takes a query for one number, gives it; 0 where there is none."""
    found = ask(url, query)
    return float(found[0]["value"][1]) if found else 0.0


def own(url: str) -> dict[str, float]:
    """Gives the metrics that a Prometheus has of itself, by series."""
    lines = requests.get(f"{url}/metrics", timeout=60).text.splitlines()
    return {
        series: float(value) for series, value in (line.rsplit(" ", 1) for line in lines if line[:1] != "#")
    }


def groups(metrics: dict[str, float]) -> dict[str, float]:
    """Takes Prometheus's own metrics, gives how long each rule group last took, seconds."""
    start = "prometheus_rule_group_last_duration_seconds"
    return {
        series.rpartition(";")[2].strip('"}'): value
        for series, value in metrics.items()
        if series.startswith(start)
    }


@contextmanager
def running(case: Case, fleet: Fleet) -> Iterator[tuple[str, str]]:
    """Starts both Prometheus servers on a fleet; gives the addresses of the scraping and the receiving one."""
    with tempfile.TemporaryDirectory() as folder, serve(fleet) as address, Stack(Path(folder)) as stack:
        targets = stack.directory / "targets.json"
        fleet.write_targets(targets, address)
        receiver = prometheus(stack, "receiver", {"global": {}}, "--web.enable-remote-write-receiver")
        scraper = prometheus(stack, "scraper", configuration(case, targets, receiver.url))
        yield scraper.url, receiver.url


def measure(case: Case, text: str, seconds: float) -> Reading:
    """Takes a case and a rank's page, lets Prometheus scrape for so long, gives what it then says of itself."""
    fleet = Fleet(text, case.ranks)
    with running(case, fleet) as (url, _):
        patience = 30 + 3 * case.interval_seconds
        wait_until(
            lambda: number(url, "count(up == 1)") == case.ranks, patience, "every rank to be up", every=2
        )
        before, began = own(url), time.monotonic()
        time.sleep(seconds)
        after, spent = own(url), time.monotonic() - began
        took = groups(after)

        def rate(name: str) -> float:
            return sum(after[each] - before.get(each, 0) for each in after if each.startswith(name)) / spent

        evaluations = rate("prometheus_rule_group_duration_seconds_count") / len(took)
        return Reading(
            up=int(number(url, "count(up == 1)")),
            series=int(after["prometheus_tsdb_head_series"]),
            samples_per_second=rate("prometheus_tsdb_head_samples_appended_total"),
            sent_per_second=rate("prometheus_remote_storage_samples_total"),
            rules_seconds=rate("prometheus_rule_group_duration_seconds_sum") / evaluations,
            slowest_group=max(took, key=lambda name: took[name]),
            missed=sum(
                value for series, value in after.items() if "rule_group_iterations_missed_total" in series
            ),
            memory_bytes=after["process_resident_memory_bytes"],
            cores=rate("process_cpu_seconds_total"),
            scrape_p99_seconds=number(url, "quantile(0.99, scrape_duration_seconds)"),
            firing=sorted(
                {each["metric"]["alertname"] for each in ask(url, 'ALERTS{alertstate="firing"}')}
                - {"Watchdog"}
            ),
        )


def report(case: Case, seen: Reading, seconds: float) -> Iterator[str]:
    """Takes a case and its reading, gives the lines to print."""
    yield f"{case.name}, each {case.interval_seconds} s, watched for {seconds:.0f} s"
    yield (
        f"    {seen.up} up, {seen.series} series, {seen.samples_per_second:.0f} samples/s, "
        f"a scrape {seen.scrape_p99_seconds * 1e3:.0f} ms (p99), {seen.sent_per_second:.1f} samples/s sent on"
    )
    yield (
        f"    rules {seen.rules_seconds:.3f} s (longest: {seen.slowest_group}), {seen.missed:.0f} missed; "
        f"{seen.memory_bytes / 1e6:.0f} MB, {seen.cores:.2f} cores"
    )
    if seen.up < case.ranks:
        yield f"    LOST {case.ranks - seen.up} ranks"
    if seen.firing:
        yield f"    FIRING, though all is well: {', '.join(seen.firing)}"


def main() -> int:
    parser = argparse.ArgumentParser(description="What a cluster of trainings costs Prometheus.")
    parser.add_argument("--quick", action="store_true", help="the smallest case, for half a minute")
    parser.add_argument("--minutes", type=float, default=10.0, help="that each case is watched for (10)")
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    options = parser.parse_args()
    seconds = 30.0 if options.quick else options.minutes * 60
    cases = CASES[:1] if options.quick else [case for case in CASES if options.only in case.name]
    text = page()
    series = Fleet(text, 1).series
    print(f"scaling  a rank tells {series} series in {len(text) / 1024:.0f} KB", flush=True)
    bad = 0
    for case in cases:
        seen = measure(case, text, seconds)
        bad += bool(seen.up < case.ranks or seen.missed or seen.firing)
        for line in report(case, seen, seconds):
            print(f"scaling  {line}", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
