"""Each way in which a real training process can end is told, once, and as what it was."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest
from bench.scaling import ask

from demo.group import Group
from demo.stack import Service, Stack, wait_until

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

SCRIPT = Path(__file__).with_name("ending_training.py")
TOLD = {
    "raise": "TrainingFailed",
    "finish": "TrainingFinished",
    "nan": "TrainingLossNonFinite",
    "die": "TrainingProcessDied",
}


def test_every_ending_is_told_as_what_it_was(stack: Stack, group: Group, bridge: Service) -> None:
    """An exception, a good end, a NaN loss and kill -9 each make one message with the right name, and no other."""
    alertmanager = stack.alertmanager(bridge.url)
    stack.prometheus(alertmanager.url)
    trainings = {
        ending: stack.add(
            Service(
                name=ending,
                argv=[sys.executable, str(SCRIPT), ending],
                log=stack.log(f"training-{ending}"),
                env={"EPOCHWATCH_TARGETS_DIR": str(stack.targets)},
            )
        )
        for ending in TOLD
    }
    group.wait_for("will-nan", seconds=60)
    # On a busy machine its first scrape may come later than that of the others; what nobody has seen cannot be missed.
    wait_until(lambda: ask(stack.prometheus_url, 'run:training_active:max{run="will-die"}'), 60, "its scrape")
    dying = trainings["die"].process
    assert dying is not None
    os.kill(dying.pid, signal.SIGKILL)

    for ending, alertname in TOLD.items():
        group.wait_for(f"will-{ending}", alertname, seconds=120)

    assert wait_until(lambda: trainings["raise"].exit_code, 30, "the failed training's end") == 1
    assert "RuntimeError: the data set has a hole" in trainings["raise"].last_lines()
    assert trainings["finish"].exit_code == 0

    # What is wrong about a second message would come with the next evaluations.
    time.sleep(5)
    for ending, alertname in TOLD.items():
        firing = {
            name
            for message in group.with_text(f"will-{ending}")
            for name in [*TOLD.values(), "TrainingStalled"]
            if name in message["text"]
        }
        assert firing == {alertname}
