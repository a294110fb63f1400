"""What docs/ say of templates and of the sandbox is what the code does."""

from __future__ import annotations

import re
from dataclasses import fields
from datetime import datetime, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from alertbridge.alertview import AlertView, Lens
from alertbridge.render import Renderer, Style
from alertbridge.sandbox.app import create_app
from alertbridge.sandbox.call import Rules
from alertbridge.sandbox.modes import MODES
from alertbridge.secret import Secret
from alertbridge.view import Kind, Link, view_of
from alertbridge.webhook import parse

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden"
TEMPLATES = (ROOT / "docs/templates.md").read_text()
SANDBOX = (ROOT / "docs/sandbox.md").read_text()
BOTH = pytest.mark.parametrize("suffix", [".md", ".zh-CN.md"])
NOW = datetime(2026, 11, 22, 19, 20, 30, tzinfo=timezone.utc)


@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize("body", sorted(path.stem for path in GOLDEN.glob("*.json")))
def test_the_documented_template_works(tmp_path: Path, language: str, body: str) -> None:
    """The example of docs/templates.md makes a message of every kept webhook."""
    found = re.search(r"```jinja\n(.*?)```", TEMPLATES, re.DOTALL)
    assert found is not None
    (tmp_path / "short.md.j2").write_text(found[1])
    faults: list[Exception] = []
    style = Style(template="short.md.j2", language=language)  # type: ignore[arg-type]
    message = Renderer(tmp_path, on_fault=faults.append).render(
        parse((GOLDEN / f"{body}.json").read_bytes()), style, now=NOW
    )
    assert faults == []
    assert ":" in message.title
    assert message.text.startswith("### ")


@BOTH
def test_every_name_that_a_template_sees_is_documented(suffix: str) -> None:
    """Names of the view, of an alert, of a kind and of a link stand in docs/templates.md, and in Chinese."""
    text = (ROOT / f"docs/templates{suffix}").read_text()
    lens = Lens("en", ZoneInfo("UTC"), NOW)
    notification = parse((GOLDEN / "plateau-firing.json").read_bytes())
    view = view_of(notification, lens, curve=None, backlog=None, as_card=False)
    names = {*view.shown(1), *(field.name for one in (AlertView, Kind, Link) for field in fields(one))}
    assert sorted(name for name in names if f"`{name}`" not in text) == []


@BOTH
def test_every_part_is_documented(suffix: str) -> None:
    """The macros of the built-in parts and words stand in docs/templates.md, and in Chinese."""
    text = (ROOT / f"docs/templates{suffix}").read_text()
    folder = ROOT / "alertbridge/alertbridge/templates"
    macros = {
        name
        for file in ("parts.j2", "words.en.j2", "words.zh.j2")
        for name in re.findall(r"{% macro (\w+)", (folder / file).read_text())
    }
    assert sorted(name for name in macros if f"`{name}`" not in text) == []


def test_the_modes_of_the_sandbox_are_told_in_its_words() -> None:
    """docs/sandbox.md says of each mode what the sandbox itself says."""
    for name, what in MODES.items():
        assert f"| `{name}` | {what} |\n" in SANDBOX


@BOTH
def test_every_mode_and_address_of_the_sandbox_is_documented(suffix: str) -> None:
    """docs/sandbox.md lists what the sandbox can do, and the Chinese page too."""
    text = (ROOT / f"docs/sandbox{suffix}").read_text()
    assert sorted(name for name in MODES if f"\n| `{name}` | " not in text) == []
    app = create_app(Rules(tokens=(Secret("t"),)))
    addresses = {rule.rule.partition("<")[0] for rule in app.url_map.iter_rules()}
    shown = {
        address for address in addresses if address.startswith(("/api/", "/robot", "/open-apis", "/cgi-bin"))
    }
    assert len(shown) >= 6
    assert sorted(address for address in shown if f"{address}" not in text) == []
