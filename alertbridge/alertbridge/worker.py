"""A thread that calls `step(now)` again and again, sleeping as long as it says or until it is woken."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from alertbridge.errors import AlertbridgeError
from alertbridge.secret import mask

log = logging.getLogger(__name__)

# How soon a thread looks again on its own: another process may have put something into the store.
POLL_SECONDS = 1.0
FAILURE_SECONDS = 1.0


class Worker:
    """Takes a step to repeat, runs it in a thread between `start` and `stop`.

    Args:
        step: takes the time, gives the seconds until it wants to run again, None for "when there is news".
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[float], float | None],
        clock: Callable[[], float],
        *,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self.name = name
        self._step = step
        self._clock = clock
        self._poll_seconds = poll_seconds
        self._news = threading.Event()
        self._stopping = threading.Event()
        self._trouble = ""
        self._thread = threading.Thread(target=self._run, name=f"alertbridge-{name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Ends the present sleep. Cheap; safe from any thread."""
        self._news.set()

    def ask_to_stop(self) -> None:
        """Makes the thread end after the step it is in."""
        self._stopping.set()
        self._news.set()

    def join(self, seconds: float) -> bool:
        """Waits for the end of the thread; gives whether it came."""
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping.is_set():
            # Before the step: news that come during it must not be slept over.
            self._news.clear()
            if self._stopping.is_set():
                return
            wait_seconds = self._guarded_step()
            wait_seconds = (
                self._poll_seconds if wait_seconds is None else min(wait_seconds, self._poll_seconds)
            )
            if wait_seconds > 0:
                self._news.wait(wait_seconds)

    def _guarded_step(self) -> float | None:
        try:
            wait_seconds = self._step(self._clock())
        except AlertbridgeError as error:
            self._note(mask(str(error)), trace=False)
        except Exception as error:
            self._note(mask(f"{type(error).__name__}: {error}"), trace=True)
        else:
            if self._trouble:
                log.info("%s: works again", self.name)
                self._trouble = ""
            return wait_seconds
        self._stopping.wait(FAILURE_SECONDS)
        return 0.0

    def _note(self, trouble: str, trace: bool) -> None:
        # Once per change: a full disk would otherwise fill the log every second.
        if trouble != self._trouble:
            log.error("%s: %s", self.name, trouble, exc_info=trace)
            self._trouble = trouble
