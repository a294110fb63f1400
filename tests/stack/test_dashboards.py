"""The committed dashboards: built from the code, sound, linked to one another and to the alerts."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

pytest.importorskip("grafana_foundation_sdk", reason="the SDK needs Python 3.11")

from grafana.build import BOARDS, FOLDERS, HERE, files, out_of_step
from grafana.lint import asked
from grafana.located import panels
from grafana.preview.made_up.team import longer, recent
from prometheus.lint import plain
from tests.stack.promql import selectors

from epochwatch.catalogue import CATALOGUE
from epochwatch.supervisor.catalogue import JOB_CATALOGUE

ROOT = Path(__file__).parents[2]
DASHBOARDS = [path for folder in FOLDERS.values() for path in sorted((HERE / folder).glob("*.json"))]
# What Prometheus adds, and what a team may.
EVERYWHERE = {"job", "instance", "pod", "namespace"}
LABELS: dict[str, set[str]] = {}
for metric in (*CATALOGUE, *JOB_CATALOGUE):
    own = {"run", "rank"} if metric in CATALOGUE else set()
    for suffix in ("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",):
        le = {"le"} if suffix == "_bucket" else set()
        LABELS[metric.name + suffix] = EVERYWHERE | own | set(metric.labels) | le


def unknown(expr: str) -> list[str]:
    """Gives a line for every label that a selector of ours matches and the catalogue does not have."""
    return [
        f"{selector.name} has no label {matcher.name}"
        for selector in selectors(expr)
        for matcher in selector.matchers.matchers
        if matcher.name not in LABELS.get(selector.name, {matcher.name})
    ]


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


def test_every_query_matches_labels_that_exist(board: dict[str, Any]) -> None:
    """No selector asks for a label that its metric does not have, which would be silent for ever."""
    faults = {whose: unknown(plain(expr)) for _, whose, expr in asked(board) if unknown(plain(expr))}

    assert faults == {}


def test_a_wrong_label_in_a_query_would_be_noticed() -> None:
    """The check above names an unknown label."""
    assert unknown('training_loss{stage="train"}') == ["training_loss has no label stage"]


def test_every_series_of_a_curve_has_a_name(board: dict[str, Any]) -> None:
    """A legend never shows a series' raw labels."""
    nameless = [
        panel["title"]
        for _, panel in panels(board)
        if panel["type"] in ("timeseries", "state-timeline", "bargauge")
        if not all(target["legendFormat"] for target in panel["targets"])
    ]

    assert nameless == []


def test_panel_and_query_ids_are_unique(board: dict[str, Any]) -> None:
    """Grafana drops a panel whose id another one has, and a query whose letter is taken."""
    ids = [panel["id"] for panel in board["panels"]] + [
        panel["id"] for row in board["panels"] for panel in row.get("panels", [])
    ]
    letters = [[target["refId"] for target in panel["targets"]] for _, panel in panels(board)]

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


def test_a_table_names_each_of_its_columns(board: dict[str, Any]) -> None:
    """Whatever a query of a table brings is renamed, and no override misses its column."""
    for _, panel in panels(board):
        if panel["type"] != "table":
            continue
        organize = panel["transformations"][1]["options"]
        values = [name for name in organize["renameByName"] if name.startswith("Value")]
        wanted = [f"Value #{target['refId']}" for target in panel["targets"]]
        assert values == (wanted if len(wanted) > 1 else ["Value"])
        overridden = {one["matcher"]["options"] for one in panel["fieldConfig"]["overrides"]}
        assert overridden <= set(organize["renameByName"].values())


def test_both_languages_draw_the_same_queries() -> None:
    """The Chinese build differs from the English one in its words only."""
    english, chinese = (
        {
            path.stem: [expr for _, _, expr in asked(json.loads(path.read_text(encoding="utf-8")))]
            for path in DASHBOARDS
            if path.parent.name == folder
        }
        for folder in FOLDERS.values()
    )

    assert english == chinese
    assert set(english) == set(BOARDS)


def test_the_chinese_build_is_chinese() -> None:
    """Every description has Chinese in it: none was left in English."""
    english = [
        f"{path.stem}: {panel['title']}"
        for path in (HERE / "dashboards-zh").glob("*.json")
        for _, panel in panels(json.loads(path.read_text(encoding="utf-8")))
        if not re.search("[\u4e00-\u9fff]", panel["description"])
    ]

    assert english == []


def test_links_lead_to_dashboards_and_variables_that_are_there(board: dict[str, Any]) -> None:
    """A click in one dashboard opens another that has the variables it is given."""
    dead = [link for link in links_in(board) if dangling(link)]

    assert dead == []


def links_in(node: Any) -> list[str]:
    """Gives the addresses of dashboards anywhere in a part of one."""
    if isinstance(node, dict):
        own = [node["url"]] if str(node.get("url", "")).startswith("/d/") else []
        return own + [link for value in node.values() for link in links_in(value)]
    if isinstance(node, list):
        return [link for value in node for link in links_in(value)]
    return []


def dangling(link: str) -> list[str]:
    """Takes an address within Grafana, gives what in it does not exist."""
    address = urlsplit(link)
    uid = address.path.removeprefix("/d/")
    by_uid = {board.uid: {variable.name for variable in board.variables} for board in BOARDS.values()}
    if uid not in by_uid:
        return [f"no dashboard {uid}"]
    given = {name.removeprefix("var-") for name in parse_qs(address.query) if name.startswith("var-")}
    return [f"{uid} has no variable {name}" for name in sorted(given - by_uid[uid])]


RULES = sorted((ROOT / "prometheus" / "rules").glob("*.yml"))
ALERTS = {
    rule["alert"]: rule["annotations"]["dashboard"]
    for path in RULES
    for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
    if "alert" in rule
}


@pytest.mark.parametrize("alert", sorted(ALERTS))
def test_the_link_of_an_alert_leads_to_its_dashboard(alert: str) -> None:
    """Every alert opens a dashboard that is there, with the variable that it fills in."""
    link = re.sub(r"\{\{.*?\}\}", "x", ALERTS[alert])

    assert dangling(link) == []


def test_links_of_alerts_that_lead_nowhere_would_be_noticed() -> None:
    """The check above names a dashboard and a variable that are not there."""
    assert dangling("/d/epochwatch-nothing?var-run=x") == ["no dashboard epochwatch-nothing"]
    assert dangling("/d/epochwatch-jobs?var-run=x") == ["epochwatch-jobs has no variable run"]


def test_the_event_of_a_training_links_to_the_same_dashboard() -> None:
    """What a training tells by itself opens the dashboard of the run, as its alerts do."""
    assert dangling("/d/epochwatch-run?var-run=vit&time=1") == []


def test_the_made_up_history_says_what_a_real_one_would() -> None:
    """Every series of the history is one that the exporter serves, with its labels and no other."""
    for series in (*recent(1.8e9), *longer(1.8e9)):
        if series.name.startswith("training_"):
            assert series.name in LABELS
            assert set(series.labels) <= LABELS[series.name], series.name
