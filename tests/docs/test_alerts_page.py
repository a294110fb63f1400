"""docs/alerts.md is made from the rules and the runbooks."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def alerts() -> ModuleType:
    """docs/alerts.py, as a module."""
    spec = importlib.util.spec_from_file_location("docs_alerts", ROOT / "docs/alerts.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_rules_say(alerts: ModuleType) -> None:
    """docs/alerts.md is what docs/alerts.py makes now."""
    assert (ROOT / "docs/alerts.md").read_text(encoding="utf-8") == alerts.page(), (
        "run: python docs/alerts.py"
    )


def test_every_rule_file_is_in_it(alerts: ModuleType) -> None:
    """No file of rules is forgotten."""
    assert set(alerts.TITLES) == {path.name for path in alerts.RULES.glob("*.yml")}


def test_a_meaning_is_a_sentence(alerts: ModuleType) -> None:
    """Each alert has one in both languages, of a length for a table."""
    meanings = alerts.Meanings.read()
    for texts, end in ((meanings.english, "."), (meanings.chinese, "。")):
        assert [
            name for name, text in texts.items() if not (10 < len(text) < 400 or text == "始终触发。")
        ] == []
        assert all(text.endswith(end) for text in texts.values())
