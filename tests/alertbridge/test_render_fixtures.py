"""The recorded bodies of real Alertmanagers become messages."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import pytest

from alertbridge.render import Renderer, Style
from alertbridge.webhook import parse

FIXTURES = Path(__file__).parent / "fixtures"
NOW = datetime(2026, 11, 22, 20, 0, 0, tzinfo=timezone.utc)


@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize("template", ["training", "generic"])
@pytest.mark.parametrize("body", sorted(FIXTURES.glob("webhook-*.json")), ids=lambda path: path.stem)
def test_a_recorded_body_names_run_alert_and_local_time(body: Path, template: str, language: str) -> None:
    """A recorded body gives a message with the run, the alert's name and the time in the group's zone."""
    style = Style(language=language, template=template, timezone="Asia/Shanghai")

    message = Renderer().render(parse(body.read_bytes()), style, now=NOW)

    assert "r0" in message.title
    assert "TrainingLossNotFinite" in message.text
    assert "11-23 03:" in message.text
