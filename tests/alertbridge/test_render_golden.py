"""Messages as people see them, kept as files: a change of a template shows as a change of these.

`python tests/alertbridge/test_render_golden.py` writes them anew; look at them before committing.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from alertbridge import settings
from alertbridge.curve import Curve
from alertbridge.message import Message
from alertbridge.render import Backlog, Renderer, Style
from alertbridge.webhook import parse

GOLDEN = Path(__file__).parent / "golden"
NOW = datetime(2026, 11, 22, 19, 20, 30, tzinfo=timezone.utc)
STYLE = Style(
    timezone="Asia/Shanghai",
    grafana_url="https://grafana.example.com",
    mention=settings.Mention(mobiles=("13900000000",)),
)
CURVE = Curve("validation", (2.3, 1.21, 0.74, 0.52, 0.4, 0.33, 0.28, 0.24, 0.2, 0.17, 0.14, 0.1234, 0.126,
                             0.131, 0.1265, 0.129, 0.1301))  # fmt: skip
NAN_CURVE = Curve("validation", (0.52, 0.4, 0.38, float("nan"), 0.6, 0.9, float("inf"), float("nan")))
BACKLOG = Backlog(notifications=71, oldest_at=NOW - timedelta(minutes=9))
OUTAGE = Backlog(notifications=3, oldest_at=NOW - timedelta(hours=1), reason="outage")


def cases() -> Iterator[tuple[str, str, Style, Curve | None, Backlog | None]]:
    """Gives the name of a message, the body it is made of, its style, curve and backlog."""
    bodies = sorted(path.stem for path in GOLDEN.glob("*.json"))
    for language in ("zh", "en"):
        style = Style(**{**vars(STYLE), "language": language})
        card = Style(**{**vars(style), "kind": "action_card"})
        generic = Style(**{**vars(style), "template": "generic", "keyword": "训练"})
        for body in bodies:
            yield f"{body}.training.{language}", body, style, None, None
        for body in (
            "plateau-firing",
            "plateau-resolved",
            "gpu-mixed",
            "node-outage",
            "hostile",
            "disk-full",
        ):
            yield f"{body}.generic.{language}", body, generic, None, None
        yield f"plateau-firing.curve.{language}", "plateau-firing", style, CURVE, None
        yield f"plateau-firing.nan-curve.{language}", "plateau-firing", style, NAN_CURVE, None
        yield f"plateau-firing.card.{language}", "plateau-firing", card, CURVE, None
        yield f"gpu-mixed.card.{language}", "gpu-mixed", card, None, None
        yield f"node-outage.digest.{language}", "node-outage", style, None, BACKLOG
        yield f"gpu-mixed.digest.{language}", "gpu-mixed", card, None, OUTAGE


def shown(message: Message) -> str:
    """Gives a message as a text that can be read and compared."""
    head = [f"title: {message.title}", f"kind: {message.kind}", f"mention: {message.mention}"]
    head += [f"button: {button.title} {button.url}" for button in message.buttons]
    return "\n".join([*head, "---", message.text, ""])


def rendered(body: str, style: Style, curve: Curve | None, backlog: Backlog | None) -> str:
    notification = parse((GOLDEN / f"{body}.json").read_bytes())
    return shown(Renderer().render(notification, style, now=NOW, curve=curve, backlog=backlog))


@pytest.mark.parametrize(
    ("name", "body", "style", "curve", "backlog"), list(cases()), ids=[name for name, *_ in cases()]
)
def test_a_message_reads_as_its_golden_file(
    name: str, body: str, style: Style, curve: Curve | None, backlog: Backlog | None
) -> None:
    """The message of a kept body is exactly the kept one."""
    assert rendered(body, style, curve, backlog) == (GOLDEN / f"{name}.md").read_text()


def test_every_golden_file_is_one_of_the_cases() -> None:
    """No golden file is left over from a case that is gone."""
    assert sorted(path.stem for path in GOLDEN.glob("*.md")) == sorted(name for name, *_ in cases())


if __name__ == "__main__":
    for name, *case in cases():
        (GOLDEN / f"{name}.md").write_text(rendered(*case))
