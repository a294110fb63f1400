"""prometheus/lint.py: silent on what is shipped, and file and line for what is broken in it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def lint(*paths: Path) -> tuple[int, list[str]]:
    """Takes files, none for all that is shipped; gives the exit status and the lines."""
    done = subprocess.run(
        [sys.executable, ROOT / "prometheus/lint.py", *paths], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


def test_what_is_shipped_has_no_fault() -> None:
    """Every rule, configuration, test and dashboard passes."""
    assert lint() == (0, [])


@pytest.mark.parametrize(
    ("source", "old", "new", "fault"),
    [
        (
            "rules/training.yml",
            "(max_over_time(training_exceptions_total{",
            "(max_over_time(training_exception_total{",
            "nothing exports the metric training_exception_total; did you mean training_exceptions_total?",
        ),
        (
            "rules/training.yml",
            "(increase(training_loss_spikes_total[15m])) >= 3",
            "(increase(training_loss_spikes_total[15m]) >= 3",
            "the expression does not parse: unclosed left parenthesis",
        ),
        (
            "rules/training.yml",
            "  - name: epochwatch-training",
            " - name: ]",
            "no YAML: did not find expected node content",
        ),
        (
            "rules/training.yml",
            "        for: 30s",
            "        for: 30",
            'refused: not a valid duration string: "30"',
        ),
        (
            "prometheus/prometheus.yml",
            "    honor_labels: true",
            "    honour_labels: true",
            "refused: parsing YAML file yaml: unmarshal errors: line 25: field honour_labels not found in type"
            " config.ScrapeConfig",
        ),
        (
            "prometheus/alertmanager.yml",
            "      receiver: events",
            "      receiver: quiet",
            'refused: undefined receiver "quiet" used in route',
        ),
    ],
)
def test_fault_is_named_with_file_and_line(
    tmp_path: Path, source: str, old: str, new: str, fault: str
) -> None:
    """A broken file is named with the line at which it is broken."""
    original = ROOT / "prometheus" / source.removeprefix("prometheus/")
    path = tmp_path / source
    path.parent.mkdir()
    text = original.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    line = text[: text.index(old)].count("\n") + 1

    status, lines = lint(path)

    assert (status, lines) == (1, [f"{path}:{line}: {fault}"])


def test_dashboard_with_a_wrong_name_is_named(tmp_path: Path) -> None:
    """A dashboard that asks for a metric that is not there is named with the line of the panel's query."""
    path = tmp_path / "board.json"
    path.write_text(
        '{\n "panels": [\n  {"targets": [{"expr": "sum(training_epoch{run=~\\"$run\\"})"}]}\n ]\n}\n'
    )

    assert lint(path) == (
        1,
        [f"{path}:3: nothing exports the metric training_epoch; did you mean training_epochs?"],
    )


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"a: [1,\n", "2: no YAML: did not find expected node content"),
        (b"a: b\xff\n", "1: no YAML: 'utf-8' codec can't decode byte 0xff in position 4: invalid start byte"),
        (b"a: b\nc: 'd\n", "3: no YAML: found unexpected end of stream"),
    ],
)
def test_broken_file_is_named(tmp_path: Path, content: bytes, fault: str) -> None:
    """What is no YAML is named with its line, and the next file is looked at all the same."""
    path, after = tmp_path / "broken.yml", tmp_path / "later.yml"
    path.write_bytes(content)
    after.write_text("expr: nonesuch\n")

    assert lint(path, after) == (1, [f"{path}:{fault}", f"{after}:1: nothing exports the metric nonesuch"])


GRAFANA = ("grafana/dashboards/", "grafana/dashboards-zh/", "grafana/provisioning/**/")
SHIPPED = [
    path
    for folder in ("", "alertbridge/", "examples/**/", "exporter/**/", *GRAFANA, "prometheus/**/")
    for ending in ("yml", "yaml", "json")
    for path in ROOT.glob(f"{folder}*.{ending}")
]


def test_every_shipped_file_is_linted_and_named_when_it_is_broken(tmp_path: Path) -> None:
    """A line that is no YAML is found in a copy of each YAML and JSON file that a team copies or starts."""
    broken = {}
    for path in SHIPPED:
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text() + "\n]\n")
        broken[str(copy)] = copy.read_text().count("\n")
    status, lines = lint(*(Path(name) for name in broken))
    listed = subprocess.run(
        [sys.executable, "-c", "import runpy; print(*runpy.run_path('prometheus/lint.py')['shipped']())"],
        capture_output=True, text=True, check=True, cwd=ROOT,
    ).stdout.split()  # fmt: skip

    assert len(SHIPPED) > 20
    assert {Path(name) for name in listed} == set(SHIPPED)
    assert status == 1
    found = dict(re.findall(r"^(.+?):(\d+): no YAML", "\n".join(lines), re.MULTILINE))
    assert {name: int(line) for name, line in found.items()} == broken


def test_missing_file_is_named(tmp_path: Path) -> None:
    """A file that is not there is a fault, not a traceback."""
    path = tmp_path / "none.yml"

    assert lint(path) == (1, [f"{path}:1: cannot be read: No such file or directory"])


def test_missing_tools_say_how_to_get_them(tmp_path: Path) -> None:
    """Without promtool and amtool the script says what to run."""
    tree = tmp_path / "tree"
    shutil.copytree(ROOT / "prometheus", tree / "prometheus")
    (tree / "alertbridge/alertbridge").mkdir(parents=True)
    shutil.copy(ROOT / "alertbridge/alertbridge/metrics.py", tree / "alertbridge/alertbridge")
    done = subprocess.run(
        [sys.executable, tree / "prometheus/lint.py"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "EPOCHWATCH_STACK": ""},
    )

    assert done.returncode == 1
    assert done.stderr.strip() == f"no {tree}/.stack/bin/amtool; run prometheus/install.py first"
