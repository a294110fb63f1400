"""The one place where a supervisor is wired together: the jobs' books, the endpoint that shows them, the herald."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry

from ..courier import Courier
from ..discovery import TargetFile
from ..identity import reachable_target
from ..launch import read_launch
from ..listening import listen, tls_context
from ..notify import alertmanagers, robots
from ..outcome import Channel
from ..pages import Pages, Scrapes
from ..ranks import Place
from ..server import Server
from ..settings import Settings
from ..spokesman import Spokesman
from ..troubles import LOGGER, Troubles
from .aftermath import Aftermath
from .collector import JobCollector
from .herald import JobHerald
from .jobbook import JobBook
from .nursery import Nursery
from .runner import Runner
from .signals import ENDING_SIGNALS, Signals

PORT = 9401
HOLD_SECONDS = 75.0

# What of the environment is the supervisor's as well as the training's; the rest of EPOCHWATCH_* is the training's.
SHARED = (
    "alertmanager_url",
    "notify",
    "language",
    "labels",
    "addr",
    "advertise",
    "targets_dir",
    "tls_cert",
    "tls_key",
    "token",
    "token_file",
)


def read_settings(arguments: Mapping[str, object], environ: Mapping[str, str]) -> Settings:
    """Takes what the command line says (None is "not given") and the environment, gives the supervisor's settings.

    Raises:
        SettingsError: If one of them is wrong.
    """
    shared = {f"EPOCHWATCH_{name.upper()}" for name in SHARED}
    own = {name: value for name, value in environ.items() if name in shared}
    return Settings.read(arguments, own)


def check_usable(settings: Settings, environ: Mapping[str, str]) -> None:
    """Looks whether a supervisor could begin with these settings, here and now; takes no port and starts nothing.

    Raises:
        ServeError: If the address cannot be served on.
        SettingsError: If a robot's address is not there or cannot be right.
    """
    listen(settings.addr, 0).close()
    if settings.tls_cert is not None:
        tls_context(settings.tls_cert, settings.tls_key)
    channels_to(settings, environ, "")


def channels_to(settings: Settings, environ: Mapping[str, str], url: str) -> list[Channel]:
    """Gives a channel to everybody who is to be told of jobs.

    Args:
        url: Address of the supervisor's endpoint.

    Raises:
        SettingsError: If a robot's address is not there or cannot be right.
    """
    place = Place()
    spokesman = Spokesman(place, read_launch(place, environ))
    return [*alertmanagers(settings, spokesman, url), *robots(settings, spokesman, url, environ)]


class Supervisor:
    """Serves and tells of jobs, from `start` to `close`; `runner` gives what runs one of them.

    Args:
        settings: `run` is what the endpoint's page is called; `labels` are on all events.
        books: One for each job; may grow while it serves.
        scrape_job: Under which `job` Prometheus finds it through `targets_dir`. The rules ask for a scheduler's, so
            that one without any series is noticed.

    Raises:
        ServeError: If the address cannot be served on.
        SettingsError: If a robot's address is not there or cannot be right.
    """

    def __init__(
        self,
        settings: Settings,
        books: Sequence[JobBook],
        environ: Mapping[str, str] = os.environ,
        *,
        scrape_job: str = "training-job",
    ) -> None:
        self.troubles = Troubles()
        self.nursery = Nursery()
        self._aftermath = Aftermath(self.nursery, self.troubles)
        self._settings = settings
        self._environ = environ
        self._scrapes = Scrapes()
        registry = CollectorRegistry()
        registry.register(JobCollector(books, on_error=self.troubles.report_exception))
        tls = None if settings.tls_cert is None else tls_context(settings.tls_cert, settings.tls_key)
        pages = Pages(settings.run, registry, self._scrapes, self.troubles, settings.token)
        self._server = Server(listen(settings.addr, settings.port), pages, tls=tls)
        self.port = self._server.port
        target = reachable_target(settings.addr, self.port, settings.advertise, 0)
        self.url = f"{'http' if tls is None else 'https'}://{target}"
        self._target, self._scrape_job = target, scrape_job
        self._target_file: TargetFile | None = None
        if settings.targets_dir is not None:
            self._target_file = TargetFile(settings.targets_dir, socket.gethostname(), os.getpid(), self.port)
        try:
            self.herald = self._make_herald(settings, environ)
        except BaseException:
            self._server.close()
            raise

    def start(self) -> None:
        """Starts to serve and to tell."""
        self._server.start()
        self.herald.start()
        self._announce()
        LOGGER.info("jobs: metrics at %s/metrics", self.url)

    def runner(self, book: JobBook, *, interactive: bool = False) -> Runner:
        """Gives what runs a job, again and again, on any thread.

        Args:
            interactive: Whether somebody is in front of it, whose terminal and input the command gets; only for one
                run at a time, on the main thread.
        """
        return Runner(
            book.spec,
            book,
            self.herald,
            self.nursery,
            self._aftermath,
            self.troubles,
            interactive=interactive,
            environ=inherited(self._environ, self._settings),
            port=self.port,
        )

    def close(self, hold: bool = True, signals: Signals | None = None) -> None:
        """Tells what is left to tell, and serves no more.

        Args:
            hold: Whether to show the end until it was scraped: two scrape intervals at most, 75 s at most, not at all
                if nobody ever scraped.
            signals: Any of these ends the wait.
        """
        try:
            self.herald.close()
            self._aftermath.close()
            if hold:
                self._hold(signals)
        finally:
            if self._target_file is not None:
                with suppress(OSError):
                    self._target_file.remove()
            self._server.close()

    def _hold(self, signals: Signals | None) -> None:
        if signals is None:
            self._scrapes.wait_for_next(HOLD_SECONDS)
            return

        def wait() -> None:
            self._scrapes.wait_for_next(HOLD_SECONDS)
            signals.put(0)

        waiting = threading.Thread(target=wait, name="epochwatch-hold", daemon=True)
        waiting.start()
        while not set(signals.take()) & {0, *ENDING_SIGNALS}:
            select.select([signals], [], [])

    def _announce(self) -> None:
        """Tells Prometheus where the jobs are; a file that cannot be written keeps no job from running."""
        if self._target_file is None:
            return
        labels = {"job": self._scrape_job}
        if self._settings.tls_cert is not None:
            labels["__scheme__"] = "https"
        try:
            self._target_file.write(self._target, labels)
        except OSError as error:
            self.troubles.report(
                "discovery",
                f"{self._target_file.path} cannot be written ({error.strerror or error}); Prometheus will not find the "
                "jobs by itself (environment EPOCHWATCH_TARGETS_DIR)",
            )

    def _make_herald(self, settings: Settings, environ: Mapping[str, str]) -> JobHerald:
        channels = channels_to(settings, environ, self.url)
        couriers = [Courier(channel, self.troubles) for channel in channels]
        return JobHerald(couriers, environ=environ, secrets=list(_secrets(settings)))


def inherited(environ: Mapping[str, str], settings: Settings) -> dict[str, str]:
    """Gives the environment of commands: ours without the flags of `epochwatch run`, and whom the flags say to tell."""
    kept = {name: value for name, value in environ.items() if not name.startswith("EPOCHWATCH_JOB")}
    told = {
        "EPOCHWATCH_ALERTMANAGER_URL": settings.alertmanager_url,
        "EPOCHWATCH_NOTIFY": settings.notify,
        "EPOCHWATCH_LANGUAGE": settings.language if settings.notify else None,
    }
    return kept | {name: value for name, value in told.items() if value}


def _secrets(settings: Settings) -> Iterator[str]:
    if settings.token is not None:
        yield settings.token.reveal()
    for address in (settings.alertmanager_url or "").split(","):
        yield urlsplit(address).password or ""
