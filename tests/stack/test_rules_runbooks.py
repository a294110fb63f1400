"""The runbooks: one section for each alert in both languages, with queries that Prometheus can answer."""

from __future__ import annotations

import re
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORDS = {
    "runbooks.md": (
        {"critical": "critical.", "warning": "warning.", "info": "info."},
        "**Usual causes:**",
        "**Do:**",
    ),
    "runbooks.zh-CN.md": (
        {"critical": "严重", "warning": "警告", "info": "提示"},
        "**常见原因：**",
        "**处理：**",
    ),
}
SEVERITY = {
    rule["alert"]: rule["labels"]["severity"]
    for path in sorted((ROOT / "prometheus/rules").glob("*.yml"))
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
}


@pytest.fixture(scope="module")
def lint() -> ModuleType:
    """prometheus/lint.py, as a module."""
    spec = spec_from_file_location("prometheus_lint", ROOT / "prometheus/lint.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def sections(name: str) -> dict[str, str]:
    """Takes a runbook's name, gives the text of each alert."""
    parts = re.split(r"^### (\w+)$", (ROOT / "docs" / name).read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def queries(text: str) -> list[str]:
    return [
        line for block in re.findall(r"```promql\n(.*?)```", text, re.DOTALL) for line in block.splitlines()
    ]


@pytest.mark.parametrize("name", WORDS)
def test_every_alert_has_its_section(name: str) -> None:
    """Each alert has one section that says its level, what to ask, the usual causes and what to do."""
    levels, causes, advice = WORDS[name]
    found = sections(name)

    assert sorted(found) == sorted(SEVERITY)
    for alert, text in found.items():
        assert text.strip().startswith(f"*{levels[SEVERITY[alert]]}*"), alert
        assert queries(text), alert
        assert causes in text, alert
        assert advice in text, alert


def test_both_languages_ask_the_same() -> None:
    """The queries are the same in both languages."""
    english, chinese = (sections(name) for name in WORDS)

    assert {alert: queries(text) for alert, text in english.items()} == {
        alert: queries(text) for alert, text in chinese.items()
    }


def test_queries_are_sound(lint: ModuleType) -> None:
    """Every query parses and asks for metrics that are there."""
    known = lint.exported() | lint.recorded((ROOT / "prometheus/rules").glob("*.yml"))
    path = ROOT / "docs/runbooks.md"
    asked = [query for text in sections(path.name).values() for query in queries(text)]

    assert [
        str(fault) for query in asked for fault in lint.faults(lint.Expression(path, 1, query), known)
    ] == []


@pytest.mark.parametrize("name", WORDS)
def test_links_lead_somewhere(name: str) -> None:
    """Links between sections and to files hit what is there."""
    text = (ROOT / "docs" / name).read_text()
    for target in re.findall(r"\]\(([^)]+)\)", text):
        file, _, anchor = target.partition("#")
        assert not file or (ROOT / "docs" / file).exists(), target
        assert not anchor or anchor in {alert.lower() for alert in SEVERITY}, target
