"""grafana/lint.py: silent on what is committed; file, line, panel and the builder's line for what is broken."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from grafana import lint as grafana_lint

ROOT = Path(__file__).parents[2]
RUN = ROOT / "grafana" / "dashboards" / "training-run.json"


def lint(path: Path) -> list[str]:
    """Takes a file, gives the lines that say what is wrong with it."""
    return [str(problem) for problem in sorted(grafana_lint.lint(path))]


def stated_at(title: str) -> str:
    """Gives file and line at which the builder states a panel of the run's dashboard."""
    for module in sorted((ROOT / "grafana" / "boards").glob("training_run*.py")):
        for number, line in enumerate(module.read_text(encoding="utf-8").splitlines(), 1):
            if f'Words("{title}"' in line:
                return f"grafana/boards/{module.name}:{number}"
    raise AssertionError(title)


def test_what_is_committed_has_no_fault() -> None:
    """Every dashboard in both languages passes, and is what the builder builds."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-m", "grafana.lint"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("old", "new", "panel", "fault"),
    [
        (
            'avg by (phase) (training_loss{run=\\"$run\\", rank=~\\"$rank\\"})',
            'avg by (phase) (training_loss{run=\\"$run\\", rank=~\\"$rank\\"}',
            "Loss",
            "query A: the expression does not parse: unclosed left parenthesis",
        ),
        (
            'max(training_gradient_norm{run=\\"$run\\", rank=~\\"$rank\\"})',
            'max(training_gradient_norms{run=\\"$run\\", rank=~\\"$rank\\"})',
            "Gradient norm",
            "query A: nothing exports the metric training_gradient_norms; did you mean training_gradient_norm?",
        ),
        (
            'sum(rate(training_samples_total{run=\\"$run\\", rank=~\\"$rank\\"}[$__rate_interval]))',
            'sum(rate(training_samples_total{run=\\"$run\\", rank=~\\"$rank\\"}[5m]))',
            "Throughput",
            "a rate over 5m; take $__rate_interval",
        ),
    ],
)
def test_a_broken_query_is_named(tmp_path: Path, old: str, new: str, panel: str, fault: str) -> None:
    """A query that Prometheus would refuse is named with its line in the JSON, its panel, and the builder's line."""
    text = RUN.read_text(encoding="utf-8")
    assert text.count(old) >= 1
    path = tmp_path / RUN.name
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    line = text[: text.index(old)].count("\n") + 1

    assert lint(path) == [f'{path}:{line}: panel "{panel}" ({stated_at(panel)}): {fault}']


def loss(board: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(panel for panel in board["panels"] if panel["title"] == "Loss")
    return found


FAULTS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a key that is misspelt": (lambda b: b.update(titel="x"), r"'titel' was unexpected"),
    "a number that is a text": (lambda b: loss(b).update(id="7"), r"'7' is not of type 'number'"),
    "a colour mode that is not there": (
        lambda b: loss(b)["fieldConfig"]["defaults"].update(color={"mode": "rainbow"}),
        r"'rainbow' is not one of",
    ),
    "a legend in a place that is not there": (
        lambda b: loss(b)["options"]["legend"].update(placement="top"),
        r"'top' is not one of \['bottom', 'right'\]",
    ),
    "a line style that is not there": (
        lambda b: loss(b)["fieldConfig"]["defaults"]["custom"].update(drawStyle="lines"),
        r"'lines' is not one of",
    ),
    "thresholds without steps": (
        lambda b: loss(b)["fieldConfig"]["defaults"].update(thresholds={"mode": "absolute"}),
        r"'steps' is a required property",
    ),
    "a variable of an unknown type": (
        lambda b: b["templating"]["list"][1].update(type="querry"),
        r"'querry' is not one of",
    ),
    "a panel of an unknown type": (
        lambda b: loss(b).update(type="graph"),
        r"nothing is known of panels of the type graph",
    ),
    "no description": (lambda b: loss(b).pop("description"), r"the panel has no description"),
    "no unit": (lambda b: loss(b)["fieldConfig"]["defaults"].pop("unit"), r"the panel has no unit"),
    "no query": (lambda b: loss(b).update(targets=[]), r"the panel asks nothing"),
    "one fixed data source": (
        lambda b: loss(b)["datasource"].update(uid="prometheus"),
        r"the data source is not the one that the viewer chooses",
    ),
    "no variable for the data source": (
        lambda b: b["templating"]["list"].pop(0),
        r"no variable for the data source",
    ),
    "a variable of a metric that is not there": (
        lambda b: b["templating"]["list"][1].update(query="label_values(training_runs_info, run)"),
        r"variable run: nothing exports the metric training_runs_info",
    ),
    "an annotation that does not parse": (
        lambda b: b["annotations"]["list"][0].update(expr="ALERTS{"),
        r"annotation Alerts: the expression does not parse",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_grafana_would_not_take_is_named(tmp_path: Path, name: str) -> None:
    """Whatever is not by Grafana's types or by the house rules gets a line, with the panel it is in."""
    break_it, fault = FAULTS[name]
    board = json.loads(RUN.read_text(encoding="utf-8"))
    break_it(board)
    path = tmp_path / RUN.name
    path.write_text(json.dumps(board, indent=2, ensure_ascii=False), encoding="utf-8")

    lines = lint(path)

    assert [line for line in lines if re.search(fault, line)], lines
    assert all(re.match(re.escape(str(path)) + r":\d+: ", line) for line in lines)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b'{"panels": [}\n', "1: no JSON"),
        (b'{"title": "x",\n "uid": "y",,}\n', "2: no JSON"),
        (b"[1, 2]\n", "1: no dashboard: not an object"),
        (b'{"title": "\xff"}', "1: no JSON: 'utf-8' codec can't decode byte 0xff"),
    ],
)
def test_a_file_that_is_no_dashboard_is_named(tmp_path: Path, content: bytes, fault: str) -> None:
    """What is no JSON, or no object, is a fault with its line and no traceback."""
    path = tmp_path / "broken.json"
    path.write_bytes(content)

    assert lint(path)[0].startswith(f"{path}:{fault}")


def test_the_command_names_the_fault_and_fails(tmp_path: Path) -> None:
    """As `make lint` starts it: the line on standard output, exit status 1."""
    path = tmp_path / "broken.json"
    path.write_text("{")
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-m", "grafana.lint", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)

    assert done.returncode == 1
    assert done.stdout.startswith(f"{path}:")
    assert done.stderr == ""


def test_a_query_broken_in_the_builder_alone_is_named_there(tmp_path: Path) -> None:
    """Before the files are built anew: the builder's panel and line, and that the files differ."""
    pytest.importorskip("grafana_foundation_sdk", reason="the SDK needs Python 3.11")
    for folder, left_out in (("grafana", ["node_modules", "schema/node_modules"]), ("prometheus", [])):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns(*left_out))
    (tmp_path / "alertbridge" / "alertbridge").mkdir(parents=True)
    shutil.copy(ROOT / "alertbridge/alertbridge/metrics.py", tmp_path / "alertbridge/alertbridge")
    builder = tmp_path / "grafana" / "boards" / "training_run_learning.py"
    good, bad = 'f"max(training_gradient_norm{{{RUN}}})"', 'f"max(training_gradient_norm{{{RUN}}}"'
    text = builder.read_text(encoding="utf-8")
    assert text.count(good) == 1
    builder.write_text(text.replace(good, bad), encoding="utf-8")

    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-m", "grafana.lint"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)

    files = [f"grafana/{folder}/training-run.json" for folder in ("dashboards", "dashboards-zh")]
    titles = ("Gradient norm", "梯度范数")
    assert done.returncode == 1
    for file, title in zip(files, titles, strict=True):
        fault = "query A: the expression does not parse: unclosed left parenthesis"
        assert f"{file}:1: differs from what is built; run: python -m grafana.build" in done.stdout
        place = re.escape(f'panel "{title}" ({stated_at("Gradient norm")}): {fault}')
        assert re.search(rf"{re.escape(file)}:\d+: {place}", done.stdout), done.stdout
