"""The committed dashboards: built from the code, every query sound, every name one that the exporter has."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import requests

import epochwatch
from demo.stack import Stack, wait_until
from epochwatch.catalogue import CATALOGUE
from epochwatch.supervisor.catalogue import JOB_CATALOGUE

pytest.importorskip("grafana_foundation_sdk", reason="the SDK needs Python 3.11")

from grafana.build import FOLDERS, HERE, files, out_of_step

DASHBOARDS = [path for folder in FOLDERS.values() for path in sorted((HERE / folder).glob("*.json"))]
ALWAYS_LABELS = {"run", "rank", "job", "instance"}
LABELS = {"ALERTS": {"alertname", "alertstate", "severity", "run"}}
for metric in CATALOGUE:
    for suffix in ("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",):
        le = {"le"} if suffix == "_bucket" else set()
        LABELS[metric.name + suffix] = ALWAYS_LABELS | set(metric.labels) | le
for metric in JOB_CATALOGUE:
    LABELS[metric.name] = {"job", "instance", *metric.labels}


def panels(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Gives every panel that draws something, those in folded rows too."""
    for panel in board["panels"]:
        yield from panels(panel) if panel["type"] == "row" else [panel]


def expressions(board: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Gives each expression with where it stands; Grafana's own variables are filled in."""
    for panel in panels(board):
        for target in panel["targets"]:
            yield f"{panel['title']} {target['refId']}", filled(target["expr"])
    for mark in board["annotations"]["list"]:
        yield mark["name"], filled(mark["expr"])


def filled(expr: str) -> str:
    expr = re.sub(r"\$__(rate_)?interval\b", "1m", expr)
    expr = re.sub(r"\$__range\b", "6h", expr)
    return re.sub(r"\$\w+", "x", expr)


def selectors(expr: str) -> list[promql_parser.VectorSelector]:
    """Takes an expression, gives every selector in it.

    Raises:
        ValueError: it is no PromQL.
    """
    found: list[promql_parser.VectorSelector] = []

    def keep(node: object) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)

    promql_parser.walk(promql_parser.parse(expr), keep)
    return found


def unknown(expr: str) -> list[str]:
    """Gives a line for every metric and every matched label that the catalogue does not have."""
    lines = []
    for selector in selectors(expr):
        if selector.name not in LABELS:
            lines.append(f"no metric {selector.name}")
            continue
        names = {matcher.name for matcher in selector.matchers.matchers}
        lines += [f"{selector.name} has no label {name}" for name in sorted(names - LABELS[selector.name])]
    return lines


@pytest.fixture(params=DASHBOARDS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def board(request: pytest.FixtureRequest) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(request.param.read_text(encoding="utf-8"))
    return content


def test_the_committed_files_are_what_the_code_builds() -> None:
    """No dashboard is missing, left over or changed by hand."""
    assert out_of_step(files()) == []


def test_a_file_that_is_changed_missing_or_left_over_is_named(tmp_path: Path) -> None:
    """Each of the three ways to be out of step is told with the file's name."""
    for folder in FOLDERS.values():
        shutil.copytree(HERE / folder, tmp_path / folder)
    (tmp_path / "dashboards" / "training-run.json").write_text("{}")
    (tmp_path / "dashboards-zh" / "training-run.json").unlink()
    (tmp_path / "dashboards" / "old.json").write_text("{}")

    lines = [line.removeprefix(f"{tmp_path}/") for line in out_of_step(files(tmp_path))]

    assert lines == [
        "dashboards/old.json: no dashboard of this name is built any more",
        "dashboards/training-run.json: differs from what is built",
        "dashboards-zh/training-run.json: missing",
    ]


def test_every_query_reads_metrics_and_labels_that_exist(board: dict[str, Any]) -> None:
    """Every expression parses, and names only what the exporter's catalogue has."""
    faults = {where: unknown(expr) for where, expr in expressions(board) if unknown(expr)}

    assert faults == {}


@pytest.mark.parametrize(
    ("expr", "fault"),
    [
        ('training_los{run="x"}', "no metric training_los"),
        ('training_loss{stage="train"}', "training_loss has no label stage"),
        ("rate(training_step_duration_seconds[1m])", "no metric training_step_duration_seconds"),
    ],
)
def test_a_wrong_name_in_a_query_would_be_noticed(expr: str, fault: str) -> None:
    """The check above names an unknown metric, an unknown label and a histogram read without its suffix."""
    assert unknown(expr) == [fault]


def test_a_query_that_does_not_parse_would_be_noticed() -> None:
    """The check above refuses what Prometheus would refuse."""
    with pytest.raises(ValueError, match="unclosed left parenthesis"):
        unknown("sum by (phase) (training_loss")


def test_every_panel_says_what_it_shows_in_which_unit(board: dict[str, Any]) -> None:
    """Title, description, unit and at least one query stand on every panel, and none is shown twice."""
    shown = list(panels(board))

    assert all(panel["title"] and panel["description"] for panel in shown)
    assert all(panel["fieldConfig"]["defaults"]["unit"] for panel in shown)
    assert all(panel["targets"] for panel in shown)
    assert all(
        target["legendFormat"] for panel in shown if panel["type"] != "stat" for target in panel["targets"]
    )


def test_panel_and_query_ids_are_unique(board: dict[str, Any]) -> None:
    """Grafana drops a panel whose id another one has, and a query whose letter is taken."""
    ids = [panel["id"] for panel in board["panels"]] + [
        panel["id"] for row in board["panels"] for panel in row.get("panels", [])
    ]
    letters = [[target["refId"] for target in panel["targets"]] for panel in panels(board)]

    assert len(ids) == len(set(ids))
    assert all(len(of_panel) == len(set(of_panel)) for of_panel in letters)


def test_no_panel_covers_another(board: dict[str, Any]) -> None:
    """Every cell of the 24-column grid belongs to one panel at most."""
    cells = [
        (x, y)
        for panel in board["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]

    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_the_data_source_is_chosen_by_the_viewer(board: dict[str, Any]) -> None:
    """No panel is tied to one Prometheus: a team's own has another uid than ours."""
    assert {panel["datasource"]["uid"] for panel in panels(board)} == {"${datasource}"}
    assert board["templating"]["list"][0]["type"] == "datasource"


def test_both_languages_draw_the_same_queries() -> None:
    """The Chinese build differs from the English one in its words only."""
    english, chinese = (
        {path.stem: sorted(expressions_only(path)) for path in DASHBOARDS if path.parent.name == folder}
        for folder in FOLDERS.values()
    )

    assert english == chinese


def expressions_only(path: Path) -> list[str]:
    return [expr for _, expr in expressions(json.loads(path.read_text(encoding="utf-8")))]


@pytest.mark.stack
def test_every_panel_draws_a_real_run(stack: Stack) -> None:
    """Each query gives data once a run is scraped, but for what needs a GPU or trouble."""
    alertmanager = stack.alertmanager("http://127.0.0.1:9")
    prometheus = stack.prometheus(alertmanager.url)
    queries = [
        (where, expr.replace('run="x"', 'run="dashboards"'))
        for where, expr in expressions(json.loads(DASHBOARDS[0].read_text(encoding="utf-8")))
    ]

    with epochwatch.start(
        "dashboards", epochs=500, addr="127.0.0.1", port=0, targets_dir=stack.targets, gpu=False
    ) as run:
        epochs = run.epochs()

        def empty() -> set[str]:
            next(epochs)
            for _ in run.batches(range(4)):
                run.step(loss=0.5, lr=0.1, grad_norm=1.0, samples=8)
            run.log("validation", loss=0.4, accuracy=0.9)
            return {where for where, expr in queries if not answer(prometheus.url, expr)}

        wait_until(lambda: empty() == WITHOUT_GPU_OR_TROUBLE, 40, "every panel to have data", every=0.5)


WITHOUT_GPU_OR_TROUBLE = {
    "Alerts",
    "GPU memory A",
    "GPU memory B",
    "GPU temperature A",
    "GPU temperature B",
    "GPU utilization A",
}


def answer(prometheus_url: str, expr: str) -> list[Any]:
    """Gives what Prometheus has for an expression now."""
    reply = requests.get(f"{prometheus_url}/api/v1/query", params={"query": expr}, timeout=10).json()
    assert reply["status"] == "success", f"{expr}: {reply['error']}"
    found: list[Any] = reply["data"]["result"]
    return found
