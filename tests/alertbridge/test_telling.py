"""What waited is told: merged, and never all in memory at once."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

from alertbridge.budget import Budget
from alertbridge.outbox.claim import Claim
from alertbridge.outbox.outbox import Outbox
from alertbridge.outbox.robotstate import RobotPlan
from alertbridge.settings import Settings
from alertbridge.telling import Teller

ROBOT = {"dingtalk": {"webhook": "https://example.com/robot/send?access_token=x"}}


def test_telling_a_backlog_takes_less_memory_than_its_text(
    outbox: Outbox, put: Callable[..., str], clock: Callable[[], float]
) -> None:
    """A group of 500 alerts that changed 40 times while the robot was away is told in its newest state."""
    teller = Teller(Settings.model_validate({"language": "en", "receivers": {"ml": {"robots": [ROBOT]}}}))
    runs = tuple(f"r{number:03}" for number in range(500))
    for change in range(40):
        put("NodeDown", runs=runs, truncatedAlerts=change)
    claim = outbox.claim("ml", [RobotPlan("robot", Budget(20, 60))], clock())
    assert isinstance(claim, Claim)
    assert len(claim.received_at) == 40
    text_bytes = sum(len(body) for body in outbox.bodies(claim))

    tracemalloc.start()
    message = teller.tell("ml", claim, outbox.bodies(claim))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert "NodeDown (539)" in message.title
    assert peak_bytes < text_bytes
