"""All that one run writes down, without anything that serves it: what the handle and the session share."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from .catalogue import EXCEPTION_KINDS, PARTS, SKIP_REASONS
from .ledger import Ledger
from .recorder import Recorder
from .settings import Settings
from .timeline import Timeline
from .troubles import Troubles
from .values import Reader

LAST_VALUES_SECONDS = 1.0


@dataclass
class Progress:
    """What the handle writes directly, because it is rare."""

    started_at: float
    planned_epochs: int | None = None
    planned_steps: int | None = None
    ended_at: float | None = None
    checkpoint_path: str | None = None
    batches_done: bool = False  # the training's loader has been gone over to its end
    skipped_steps: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SKIP_REASONS, 0))
    exceptions: dict[str, int] = field(default_factory=lambda: dict.fromkeys(EXCEPTION_KINDS, 0))
    part_seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))


class Books:
    """The recorder, the ledger, the timeline and the progress of one run."""

    def __init__(
        self,
        settings: Settings,
        *,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.settings = settings
        self.now = now
        self.clock = clock
        self.troubles = Troubles()
        self.ledger = Ledger(self.troubles, settings.min_delta)
        self.reader = Reader(self.troubles)
        self.timeline = Timeline(clock)
        self.recorder = Recorder(self.ledger, self.timeline, self.reader, self.troubles, clock)
        self.progress = Progress(now(), settings.epochs, settings.steps)

    def settle(self) -> None:
        """Waits for the values still on their way from a device, for a second at most."""
        deadline = self.clock() + LAST_VALUES_SECONDS
        self.reader.poll()
        while self.reader.flying and self.clock() < deadline:
            time.sleep(0.001)
            self.reader.poll()

    def close(self, state: str) -> None:
        """Enters the end state; nothing is taken any more."""
        self.recorder.close()
        self.progress.ended_at = self.now()
        self.timeline.enter(state)
