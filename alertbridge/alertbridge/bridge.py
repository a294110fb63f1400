"""The bridge as a whole: what it accepts goes into the outbox, and threads tell it."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Literal

from prometheus_client import CollectorRegistry

from alertbridge.errors import AlertbridgeError, ConfigError, StoreError
from alertbridge.metrics import Metrics, OutboxCollector, RobotLabel
from alertbridge.outbox.arrival import Arrival
from alertbridge.outbox.outbox import Outbox
from alertbridge.outbox.put import Verdict
from alertbridge.outbox.upkeep import SWEEP_ROWS
from alertbridge.refusal import Refusals, too_large
from alertbridge.settings import Settings
from alertbridge.watchdog import SOURCE as OWN_SOURCE
from alertbridge.watchdog import is_alive, is_heartbeat
from alertbridge.webhook import Notification
from alertbridge.wiring import MakeRobot, MakeTeller, Wiring, wire
from alertbridge.worker import Worker

log = logging.getLogger(__name__)

SWEEP_SECONDS = 60.0


class Bridge:
    """Takes settings and an outbox, gives what the HTTP side needs: accept, ready, reload.

    Args:
        make_robot: makes the client of a configured robot.
        make_teller: makes the function that renders a claim.
        load: reads the configuration anew, for `reload`; none if there is no file.
        registry: for the metrics; a new one by default.
        clock: seconds since the epoch.
        chance: gives numbers in [0, 1).

    Raises:
        ConfigError: a robot or a template cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        outbox: Outbox,
        *,
        make_robot: MakeRobot,
        make_teller: MakeTeller,
        load: Callable[[], Settings] | None = None,
        registry: CollectorRegistry | None = None,
        clock: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.outbox = outbox
        self.metrics = Metrics(registry or CollectorRegistry())
        self._make_robot = make_robot
        self._make_teller = make_teller
        self._load = load
        self._clock = clock
        self._chance = chance
        self._refusals = Refusals()
        self._reloading = threading.Lock()
        self._wiring = self._wire(settings)
        self._sweeper = Worker("sweeper", self._sweep, clock, poll_seconds=SWEEP_SECONDS)
        self._old_wirings: list[Wiring] = []
        self._running = False
        self.metrics.registry.register(OutboxCollector(outbox, self._labels, clock))

    @property
    def settings(self) -> Settings:
        return self._wiring.settings

    def start(self) -> None:
        """Starts the threads that tell what lies in the outbox."""
        self._running = True
        self._wiring.start()
        self._sweeper.start()
        self._warn_of_strangers()

    def stop(self, seconds: float) -> None:
        """Ends the threads: a message that is being sent gets `seconds` to end, else it stays claimed."""
        self._running = False
        workers = [self._sweeper, *self._wiring.all_workers]
        workers += [worker for wiring in self._old_wirings for worker in wiring.all_workers]
        for worker in workers:
            worker.ask_to_stop()
        deadline = time.monotonic() + seconds
        for worker in workers:
            if not worker.join(max(0.0, deadline - time.monotonic())):
                log.warning("%s is still sending; what it sends stays claimed in the outbox", worker.name)

    def accept(
        self, receiver: str, source: str, notification: Notification, body: str
    ) -> Verdict | Literal["heartbeat"]:
        """Takes a webhook, gives what became of it once that is on disk.

        Raises:
            StoreError: it is not stored.
        """
        if self.settings.receivers[receiver].watchdog_seconds is not None and is_heartbeat(notification):
            if is_alive(notification):
                self.outbox.beat(receiver, self._clock())
            self.metrics.received.labels(receiver).inc()
            return "heartbeat"
        arrival = Arrival.of(receiver, source, notification, body, self._clock())
        verdict = self.outbox.put(arrival)
        self.metrics.received.labels(receiver).inc()
        if verdict == "stored":
            self.wake(receiver)
        else:
            self.metrics.dropped.labels(receiver, verdict).inc()
        return verdict

    def refuse(self, receiver: str, reason: Literal["too_large", "invalid"]) -> None:
        """Takes whose webhook is not taken and why: counts it, and tells the receiver what would go unnoticed."""
        self.metrics.refused.labels(receiver, reason).inc()
        log.error(
            "receiver %s: a webhook was refused (%s); Alertmanager does not send it again", receiver, reason
        )
        now = self._clock()
        if reason == "too_large" and self._refusals.is_news(receiver, now):
            try:
                self._accept_own(receiver, too_large(self.settings.max_body_bytes, now))
            except StoreError as error:
                log.error("receiver %s: nor can it be told of that: %s", receiver, error)

    def _accept_own(self, receiver: str, notification: Notification) -> None:
        self.accept(receiver, OWN_SOURCE, notification, notification.to_json())

    def wake(self, receiver: str) -> None:
        """Lets a receiver's sender look at once."""
        worker = self._wiring.workers.get(receiver)
        if worker is not None:
            worker.wake()

    def trouble(self) -> str | None:
        """Gives why the bridge cannot do its work now, or none if it can."""
        try:
            self.outbox.check(self._clock())
        except StoreError as error:
            return error.outside
        dead = [worker.name for worker in self._wiring.all_workers if not worker.alive]
        return f"not running: {', '.join(dead)}" if dead else None

    def reload(self) -> None:
        """Reads the configuration anew and uses it; on an error the old one stays.

        Raises:
            ConfigError: the new one cannot be used.
        """
        with self._reloading:
            if self._load is None:
                raise ConfigError("there is no configuration file to read again")
            try:
                wiring = self._wire(self._load())
            except AlertbridgeError as error:
                self.metrics.reload_ok.set(0)
                log.error("the configuration was not reloaded, the old one stays: %s", error)
                raise
            except Exception:
                self.metrics.reload_ok.set(0)
                raise
            self._replace(wiring)
            self.metrics.reload_ok.set(1)
            log.info("configuration reloaded: receivers %s", ", ".join(sorted(wiring.settings.receivers)))

    def _replace(self, wiring: Wiring) -> None:
        old, self._wiring = self._wiring, wiring
        for key in ("listen", "storage"):
            if getattr(old.settings, key) != getattr(wiring.settings, key):
                log.warning("%s has changed in the configuration; it takes a restart", key)
        old.ask_to_stop()
        self._old_wirings = [w for w in [*self._old_wirings, old] if any(x.alive for x in w.all_workers)]
        if self._running:
            wiring.start()
            self._warn_of_strangers()

    def _warn_of_strangers(self) -> None:
        """Says what nobody will tell, because its receiver stands no longer in the configuration."""
        try:
            found = self.outbox.counts()
        except AlertbridgeError as error:
            log.warning("the outbox cannot be looked through: %s", error)
            return
        left: dict[str, int] = {}
        for count in found:
            if count.receiver not in self.settings.receivers and count.state in ("waiting", "sending"):
                left[count.receiver] = left.get(count.receiver, 0) + count.notifications
        for receiver, notifications in sorted(left.items()):
            log.warning(
                "receiver %s is not in the configuration, and %d notifications wait for it; they stay in the outbox: "
                "configure it again, or look at them with `alertbridge outbox list` and drop them",
                receiver,
                notifications,
            )

    def _wire(self, settings: Settings) -> Wiring:
        wiring = wire(
            settings,
            self.outbox,
            self.metrics,
            make_robot=self._make_robot,
            teller=self._make_teller(settings),
            told=self.wake,
            accept=self._accept_own,
            clock=self._clock,
            chance=self._chance,
        )
        self.metrics.expect(wiring.labels)
        return wiring

    def _labels(self) -> list[RobotLabel]:
        return self._wiring.labels

    def _sweep(self, now: float) -> float:
        deleted = self.outbox.sweep(now, self._wiring.longest_window_seconds)
        return 0.0 if deleted >= SWEEP_ROWS else SWEEP_SECONDS
