"""Every query of every dashboard, in a real Prometheus: by a made-up history, and by a real run, job and bridge."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

pytest.importorskip("grafana_foundation_sdk", reason="the SDK needs Python 3.11")

from grafana.board import queries_of
from grafana.build import BOARDS
from grafana.preview.made_up.openmetrics import lines, replayed
from grafana.preview.made_up.team import longer, recent

import epochwatch
from demo.group import Group
from demo.stack import BINARIES, Service, Stack, StackError, binary, console_script, free_port, wait_until

pytestmark = pytest.mark.stack

ROOT = Path(__file__).parents[2]
RECORD = ROOT / "grafana" / "preview" / "gpt-on-h100.om.xz"
WEBHOOK = ROOT / "tests" / "alertbridge" / "golden" / "plateau-firing.json"
MINUTE = 60


@dataclass(frozen=True)
class Asked:
    """One query: whose it is, what it asks, and why it may rightly have no data."""

    where: str
    expr: str
    absent: str


def all_asked(**variables: str) -> Iterator[Asked]:
    """Gives every query of every panel and mark, with Grafana's variables filled in."""
    for slug, board in BOARDS.items():
        for section in board.sections:
            for panel in section.panels:
                for letter, query in zip("ABCDEFGHIJKLMNOP", queries_of(panel), strict=False):
                    where = f"{slug}: {panel.title.en} {letter}"
                    yield Asked(where, filled(query.expr, slug, variables), query.absent or panel.absent)
        for mark in board.marks:
            yield Asked(f"{slug}: mark {mark.name.en}", filled(mark.expr, slug, variables), mark.absent)


def filled(expr: str, slug: str, variables: dict[str, str]) -> str:
    """Gives an expression as Grafana would send it: one run where there is one to choose, else all there are."""
    values = {"rank": ".*", "job_name": ".*", "receiver": ".*"} | variables
    if slug != "training-run":
        values["run"] = ".*"
    return re.sub(r"\$([a-z_]\w*)", lambda match: values[match[1]], expr)


def answer(prometheus_url: str, path: str, **parameters: str | float) -> list[Any]:
    """Gives what Prometheus has.

    Raises:
        AssertionError: it refuses the question.
    """
    reply = requests.get(f"{prometheus_url}/api/v1/{path}", params=parameters, timeout=10).json()
    assert reply["status"] == "success", f"{parameters}: {reply.get('error')}"
    data = reply["data"]
    found: list[Any] = data["result"] if isinstance(data, dict) else data
    return found


def empty(prometheus_url: str, queries: list[Asked], at: float) -> set[str]:
    return {one.where for one in queries if not answer(prometheus_url, "query", query=one.expr, time=at)}


def test_every_query_has_data_in_a_history(stack: Stack) -> None:
    """A team's hour of trainings, GPUs, jobs, messages and trouble leaves no panel empty, without exception."""
    end = time.time() // 15 * 15
    text = stack.directory / "history.om"
    with text.open("w", encoding="utf-8") as file:
        file.writelines(replayed(RECORD, end))
        file.writelines(lines(recent(end), end - 12 * MINUTE, end, 15))
        file.writelines(lines(longer(end), end - 12 * MINUTE, end, 15))
        file.write("# EOF\n")
    prometheus = with_history(stack, text)
    of_run = {
        run: list(all_asked(run=run, __rate_interval=interval, __range="10m"))
        for run, interval in (("resnet50-imagenet", "5m"), ("vit-b16-finetune", "5m"), ("gpt-stdlib", "1m"))
    }
    queries = [one for one in of_run["resnet50-imagenet"] if not ELSEWHERE.search(one.where)]
    queries += [one for one in of_run["vit-b16-finetune"] if IN_A_POD.search(one.where)]
    queries += [one for one in of_run["gpt-stdlib"] if ENDED.search(one.where)]

    assert {one.where for one in queries} == {one.where for one in of_run["gpt-stdlib"]}
    assert len(queries) > 120
    assert empty(prometheus.url, queries, end) == set()
    for board in BOARDS.values():
        for variable in board.variables:
            assert values_of(prometheus.url, variable.query, end), f"{board.uid}: {variable.name}"


RECORDED = {
    "run:training_active:max": "",
    "run:training_epochs:max": "",
    "run:training_loss:avg": ',phase="train"',
    "run:training_loss_best:min": ',phase="train"',
    "run:training_accuracy_best_ratio:max": ',phase="validation"',
    "run:training_gpu_utilization_ratio:avg": "",
    "run:training_samples:rate5m": "",
}


def test_the_overview_shows_runs_that_a_store_knows_by_recording_rules_alone(stack: Stack) -> None:
    """A store above several servers, which is sent `run:` series and no rank's, still has its runs in the overview."""
    end = time.time() // 15 * 15
    text = stack.directory / "history.om"
    samples = [f'{name}{{run="far"{more}}} 1 {end:.0f}\n' for name, more in RECORDED.items()]
    text.write_text("".join(samples) + "# EOF\n")
    prometheus = with_history(stack, text)
    queries = [
        one for one in all_asked(__rate_interval="5m", run="far", __range="10m") if one.where in OF_FAR
    ]

    runs = {
        one.where: [
            series["metric"].get("run")
            for series in answer(prometheus.url, "query", query=one.expr, time=end)
        ]
        for one in queries
    }

    assert runs == {where: ["far"] for where in OF_FAR}
    run_variable = BOARDS["overview"].variables[0].query
    assert values_of(prometheus.url, run_variable, end) == ["far"]


OF_FAR = (
    *(f"overview: Runs {letter}" for letter in "ABFGHJ"),
    "overview: States A",
    "overview: Loss A",
    "overview: Throughput A",
)

# A run is in a pod or a supervisor's job, goes on or has ended: no one run has all of it.
IN_A_POD = re.compile(r"training-run: (CPU|Memory) B")
ENDED = re.compile(r"training-run: mark (Ends|New best losses)")
ELSEWHERE = re.compile(f"{IN_A_POD.pattern}|{ENDED.pattern}")


def with_history(stack: Stack, text: Path) -> Service:
    """Takes OpenMetrics, gives a Prometheus that has it and scrapes nothing."""
    data = stack.directory / "data"
    subprocess.run(
        [
            binary("promtool", BINARIES),
            "tsdb",
            "create-blocks-from",
            "openmetrics",
            "-q",
            str(text),
            str(data),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    config = stack.directory / "empty.yml"
    config.write_text("global: {}\n")
    port = free_port()
    return stack.add(
        Service(
            name="prometheus",
            argv=[
                binary("prometheus", BINARIES),
                f"--config.file={config}",
                f"--storage.tsdb.path={data}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            log=stack.log("prometheus"),
            url=f"http://127.0.0.1:{port}",
            ready_path="/-/ready",
        )
    )


def values_of(prometheus_url: str, query: str, at: float) -> list[Any]:
    """Takes a variable's query, gives what the viewer can choose, asked as Grafana asks."""
    match = re.fullmatch(r"label_values\((.*), (\w+)\)", query)
    assert match, query
    selector = re.sub(r"\$\w+", ".*", match[1]).replace('="', '=~"').replace("=~=~", "=~").replace("~=~", "~")
    return answer(
        prometheus_url, f"label/{match[2]}/values", **{"match[]": selector, "start": at - 3600, "end": at}
    )


def test_every_query_has_data_or_a_reason_in_a_live_stack(
    stack: Stack, group: Group, bridge: Service
) -> None:
    """A real run, job and bridge fill every panel that states no reason to be empty."""
    scraped(stack, "alertbridge", bridge.url)
    alertmanager = stack.alertmanager("http://127.0.0.1:9")
    prometheus = stack.prometheus(alertmanager.url)
    scraped(stack, "training-scheduler", supervised(stack).url)
    requests.post(f"{bridge.url}/v1/alerts/default", data=WEBHOOK.read_bytes(), timeout=5).raise_for_status()
    queries = list(all_asked(run="dashboards", __rate_interval="10s", __range="1m"))
    needed = [one for one in queries if not one.absent]

    with epochwatch.start(
        "dashboards", epochs=5000, addr="127.0.0.1", port=0, targets_dir=stack.targets, gpu=False
    ) as run:
        epochs = run.epochs()

        def still_empty() -> set[str]:
            next(epochs)
            for _ in run.batches(range(4)):
                with run.part("forward"):
                    run.step(loss=0.5, lr=0.1, grad_norm=1.0, samples=8)
            run.log("validation", loss=0.4, accuracy=0.9)
            return empty(prometheus.url, needed, time.time())

        with suppress(StackError):
            wait_until(lambda: not still_empty(), 45, "every panel to have data", every=0.5)
        assert still_empty() == set()

    assert len(needed) > 60


def scraped(stack: Stack, job: str, url: str) -> None:
    """Announces a process where Prometheus looks."""
    target = {"targets": [url.removeprefix("http://")], "labels": {"job": job}}
    (stack.targets / f"{job}.json").write_text(json.dumps([target]))


def supervised(stack: Stack) -> Service:
    """Starts a job that goes on."""
    port = free_port()
    command = [console_script("epochwatch"), "run", "--job", "sleeper", "--addr", "127.0.0.1"]
    state = str(stack.directory / "state")
    return stack.add(
        Service(
            name="job",
            argv=[*command, "--port", str(port), "--state-dir", state, "--", "sleep", "600"],
            log=stack.log("job"),
            url=f"http://127.0.0.1:{port}",
            ready_path="/metrics",
        )
    )
