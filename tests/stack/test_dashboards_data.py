"""Every query of every dashboard, in a real Prometheus: by a made-up history, and by a real run, job and bridge."""

from __future__ import annotations

import json
import re
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
from grafana.preview.backfilled import prometheus
from grafana.preview.made_up.openmetrics import lines, replayed
from grafana.preview.made_up.team import longer, recent, runs

import epochwatch
from demo.group import Group
from demo.stack import Service, Stack, StackError, console_script, free_port, wait_until

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
    values = {"run": "", "rank": ".*", "job_name": ".*", "receiver": ".*"} | variables
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


@dataclass(frozen=True)
class History:
    """A Prometheus that holds a team's last minutes; `end` is the moment of the last sample."""

    url: str
    end: float

    def values(self, slug: str, title: str, letter: str = "A", **variables: str) -> dict[str, float]:
        """Takes a panel's query, gives the value of each series by the label that tells them apart."""
        where = f"{slug}: {title} {letter}"
        [one] = [
            one for one in all_asked(__rate_interval="10m", __range="10m", **variables) if one.where == where
        ]
        found = answer(self.url, "query", query=one.expr, time=self.end)
        return {"/".join(series["metric"].values()): float(series["value"][1]) for series in found}


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    """A team's last minutes of trainings, GPUs, jobs, messages and trouble."""
    end = time.time() // 15 * 15
    directory = tmp_path_factory.mktemp("history")
    text = directory / "history.om"
    with text.open("w", encoding="utf-8") as file:
        file.writelines(replayed(RECORD, end))
        file.writelines(lines(recent(end), end - 12 * MINUTE, end, 15))
        file.writelines(lines(longer(end), end - 12 * MINUTE, end, 15))
        file.write("# EOF\n")
    with Stack(directory) as stack:
        yield History(prometheus(stack, text).url, end)


def test_every_query_has_data_in_a_history(history: History) -> None:
    """It leaves no panel, no mark and no choice empty, without exception."""
    of_run = {
        run: list(all_asked(run=run, __rate_interval=interval, __range="10m"))
        for run, interval in (("resnet50-imagenet", "5m"), ("vit-b16-finetune", "5m"), ("gpt-stdlib", "1m"))
    }
    queries = [one for one in of_run["resnet50-imagenet"] if not ELSEWHERE.search(one.where)]
    queries += [one for one in of_run["vit-b16-finetune"] if IN_A_POD.search(one.where)]
    queries += [one for one in of_run["gpt-stdlib"] if ENDED.search(one.where)]

    assert {one.where for one in queries} == {one.where for one in of_run["gpt-stdlib"]}
    assert len(queries) > 120
    assert empty(history.url, queries, history.end) == set()
    for board in BOARDS.values():
        for variable in board.variables:
            assert values_of(history.url, variable.query, history.end), f"{board.uid}: {variable.name}"


# A run is in a pod or a supervisor's job, goes on or has ended: no one run has all of it.
IN_A_POD = re.compile(r"training-run: (CPU|Memory) B")
ENDED = re.compile(r"training-run: mark (Ends|New best losses)")
ELSEWHERE = re.compile(f"{IN_A_POD.pattern}|{ENDED.pattern}")


def test_what_is_computed_is_what_was_made_up(history: History) -> None:
    """Time left, goodput, waits, lateness and counts come out as the history has them."""
    truth = {run.name: run for run in runs(history.end)}
    resnet, vit = truth["resnet50-imagenet"], truth["vit-b16-finetune"]

    left = history.values("overview", "Runs", "E")
    assert left["vit-b16-finetune"] == pytest.approx(vit.epochs * vit.epoch_seconds - 1.1 * 3600, rel=0.15)
    assert left["resnet50-imagenet"] == pytest.approx(90 * 330 - 5.2 * 3600, rel=0.05)
    assert left.keys() == {"resnet50-imagenet", "vit-b16-finetune", "bert-intent-zh"}
    of_run = history.values("training-run", "Time left", run="resnet50-imagenet")
    assert list(of_run.values()) == [pytest.approx(left["resnet50-imagenet"], rel=0.01)]
    codes = history.values("overview", "Runs", "A")
    assert {run: code for run, code in codes.items() if run in truth} == {
        run.name: float({"training": 3, "evaluating": 4, "checkpointing": 5}[run.state(history.end)])
        for run in truth.values()
        if run.ended is None
    }
    assert codes["gpt-stdlib"] == 1
    goodput = history.values("overview", "Goodput")
    assert goodput["resnet50-imagenet"] == pytest.approx(0.88, abs=0.05)
    parts = history.values("training-run", "Where a step's time goes", run="bert-intent-zh")
    assert sum(parts.values()) == pytest.approx(0.15, rel=0.05)
    own = history.values("training-run", "Own work a step, by rank", run="resnet50-imagenet")
    assert max(own, key=lambda rank: own[rank]) == str(resnet.hot_rank)
    assert history.values("gpus", "GPUs") == {"": 8.0}
    assert history.values("jobs", "Missed starts") == {"": 1.0}
    assert history.values("jobs", "Next start")[""] == pytest.approx(-18 * MINUTE, abs=30)


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
    store = prometheus(stack, text)
    queries = [
        one for one in all_asked(__rate_interval="5m", run="far", __range="10m") if one.where in OF_FAR
    ]

    runs = {
        one.where: [
            series["metric"].get("run") for series in answer(store.url, "query", query=one.expr, time=end)
        ]
        for one in queries
    }

    assert runs == {where: ["far"] for where in OF_FAR}
    run_variable = BOARDS["overview"].variables[0].query
    assert values_of(store.url, run_variable, end) == ["far"]


OF_FAR = (
    *(f"overview: Runs {letter}" for letter in "ABFGHJ"),
    "overview: States A",
    "overview: Loss A",
    "overview: Throughput A",
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
    server = stack.prometheus(alertmanager.url)
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
            return empty(server.url, needed, time.time())

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
