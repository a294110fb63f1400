"""Tells what happens to jobs, through the couriers that a run's events take too."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from ..courier import Courier
from ..events import Event
from ..masking import masked

FLUSH_SECONDS = 5.0


class JobHerald:
    """Masks events and hands them to the couriers; with no couriers it tells nobody.

    Args:
        couriers: One for each receiver.
        secrets: What must not stand in any event, besides the environment's secrets.
    """

    def __init__(
        self,
        couriers: Sequence[Courier],
        *,
        environ: Mapping[str, str] = os.environ,
        secrets: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._couriers = couriers
        self._environ = environ
        self._secrets = secrets
        self._clock = clock

    def start(self) -> None:
        """Starts the couriers' threads."""
        for courier in self._couriers:
            courier.start()

    def tell(self, event: Event, environ: Mapping[str, str] = MappingProxyType({})) -> None:
        """Takes an event, from any thread, and returns at once.

        Args:
            environ: What the job's command has in its environment besides; its secrets stand in no event either.
        """
        known = {**self._environ, **environ}
        clean = event.by(lambda text: masked(text, known, self._secrets))
        for courier in self._couriers:
            courier.offer(clean)

    def close(self) -> None:
        """Waits until everything is told, 5 seconds at most."""
        deadline = self._clock() + FLUSH_SECONDS
        for courier in self._couriers:
            courier.close(deadline)
