"""The one place where a run is wired together, and the order in which it ends."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from prometheus_client import CollectorRegistry

from . import supervised
from .books import Books
from .collector import Collector, Source
from .cuda import CudaSource
from .discovery import TargetFile
from .ending import EndWatch
from .errors import SettingsError
from .failure import describe, exception_kind
from .gpu import gpu_source
from .history import make_chronicle
from .identity import reachable_target, run_labels
from .listening import listen, tls_context
from .notify import gpu_names, make_herald
from .pages import Pages, Scrapes
from .ranks import Place, port_offset, read_place
from .server import Server
from .settings import Settings
from .sources import ExporterSource, TrainingSource
from .troubles import LOGGER

HOLD_SECONDS = 30.0
# For a scrape each minute: an end in order that nobody has seen looks like a sudden death.
FINISHED_HOLD_SECONDS = 75.0
STUCK_HOLD_SECONDS = 5.0
LAST_PORT = 65535
GPU_NAMES_SECONDS = 1.5


class Session:
    """Everything that serves one run and notices its end.

    Args:
        held: The ports that other runs of this process serve on, and their names.

    Raises:
        ServeError: If the address cannot be served on.
    """

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str],
        registry: CollectorRegistry | None,
        held: Mapping[int, str] = MappingProxyType({}),
    ) -> None:
        self.books = books = Books(settings)
        self.ended = self.entered = False
        self.thread = threading.get_ident()
        self.place = place = read_place(environ)
        host, pid = socket.gethostname(), os.getpid()
        self._registry = CollectorRegistry() if registry is None else registry
        self._scrapes = Scrapes()
        self._supervised = supervised.read(environ)
        taken = None if self._supervised is None else self._supervised.port
        offset = port_offset(settings.port, place.local_rank, taken)
        port = settings.port + offset if settings.port else 0
        port = port if port <= LAST_PORT else 0
        tls = None if settings.tls_cert is None else tls_context(settings.tls_cert, settings.tls_key)
        pages = Pages(settings.run, self._registry, self._scrapes, books.troubles, settings.token)
        self._server = Server(listen(settings.addr, port, held.get(port)), pages, tls=tls)
        self.port = self._server.port
        self.target = reachable_target(settings.addr, self._server.port, settings.advertise, offset)
        self.url = f"{'http' if tls is None else 'https'}://{self.target}"
        report = books.troubles.report_exception
        self._gpu = gpu_source(place, on_error=report, environ=environ) if settings.gpu else None
        run_info = run_labels(pid, host, start_directory())
        cuda = CudaSource(environ) if self._gpu is None else CudaSource(environ, self._gpu.names)
        devices: list[Source] = [cuda] if self._gpu is None else [self._gpu, cuda]
        sources: list[Source] = [TrainingSource(books, place, run_info), *devices, ExporterSource(books)]
        self._collector = Collector(constant_labels(settings, place), sources, on_error=report)
        self._target_file = None
        if settings.targets_dir is not None:
            self._target_file = TargetFile(settings.targets_dir, host, pid, self._server.port)
        self.end_watch = EndWatch(self)
        try:
            chronicle = make_chronicle(books, place, run_info, devices, environ, self._supervised)
            self.herald = make_herald(
                books, place, self.url, self._gpu_names, environ, chronicle, self._supervised
            )
        except BaseException:
            self._server.close()
            raise

    def start(self) -> None:
        """Starts to serve, and tells Prometheus where.

        Raises:
            SettingsError: If the registry serves a run already.
        """
        try:
            self._registry.register(self._collector)
        except ValueError as error:
            self._server.close()
            raise SettingsError(
                "registry serves a run already; give each run a registry of its own, or none (argument registry=)"
            ) from error
        self._server.start()
        self.end_watch.start()
        if self._gpu is not None:
            self._gpu.start()
        if self._target_file is not None:
            self._announce(self._target_file)
        self._say("started")
        if self.herald is not None:
            self.herald.start()
        LOGGER.info("run %s: metrics at %s/metrics", self.books.settings.run, self.url)

    def end(
        self, state: str, hold: bool = True, *, stuck: bool = False, error: BaseException | None = None
    ) -> None:
        """Ends the run once: tells it, shows the state until it was scraped, then serves no more.

        Args:
            hold: Whether to wait for a scrape at all.
            stuck: Whether the training thread waits in foreign code: what is on a device may never come, and whoever
                ends the process does not wait for long.
            error: The exception that ended the run, if one did.
        """
        if self.ended:
            self.end_watch.stop()  # what the thread that ended it could not give back
            return
        self.ended = True
        patient = True
        try:
            if state == "failed":
                error = error or sys.exc_info()[1] or getattr(sys, "last_value", None)
                self._say("failed", kind="other" if error is None else exception_kind(error))
                self._tell_end(state, error)  # at once; values still on their way change nothing about it
            if not stuck:
                self.books.settle()
            self.books.close(state)
            self._tell_end(state, error)
            if hold:
                longest_seconds = FINISHED_HOLD_SECONDS if state == "finished" else HOLD_SECONDS
                self._scrapes.wait_for_next(STUCK_HOLD_SECONDS if stuck else longest_seconds)
        except KeyboardInterrupt:
            # The user does not want to wait; the exception that ended the run goes on.
            LOGGER.warning("run %s: %s; not waiting for the last scrape", self.books.settings.run, state)
            patient = False
        except Exception as error:
            self.books.troubles.report_exception("end", error)
        finally:
            if self.herald is None:
                self._stop(None)
            else:
                self._stop(self.herald.close if patient else self.herald.drop)

    def give_way(self) -> None:
        """Ends the run for one that replaces it: frees the port, and waits for no scrape and no message."""
        if self.ended:
            return
        self.ended = True
        try:
            self.books.close("interrupted")
        except Exception as error:
            self.books.troubles.report_exception("end", error)
        finally:
            self._stop(None if self.herald is None else self.herald.replaced)

    def forget_inherited(self) -> None:
        """Makes the copy in a forked child inert: it records nothing and ends nothing."""
        self.ended = True
        self.books.recorder.go_inert()
        if self.herald is not None:
            self.herald.go_inert()

    def _tell_end(self, state: str, error: BaseException | None) -> None:
        if self.herald is None:
            return
        failure = None
        if state == "failed":
            failure = describe(error, start_directory())
        cause = "SIGINT" if isinstance(error, KeyboardInterrupt) else ""
        self.herald.ended(state, failure, "SIGTERM" if self.end_watch.terminated else cause)

    def _say(self, word: str, **facts: str) -> None:
        if self._supervised is not None:
            self._supervised.say(word, run=self.books.settings.run, **facts)

    def _gpu_names(self) -> str:
        return "" if self._gpu is None else gpu_names(self._gpu.collect, GPU_NAMES_SECONDS)

    def _stop(self, farewell: Callable[[], None] | None) -> None:
        stops: list[Callable[[], None]] = [] if farewell is None else [farewell]
        stops += [self.end_watch.stop, self._server.close]
        stops.append(lambda: self._registry.unregister(self._collector))
        if self._gpu is not None:
            stops.append(self._gpu.close)
        if self._target_file is not None:
            stops.append(self._target_file.remove)
        for stop in stops:
            try:
                stop()
            except KeyboardInterrupt:
                LOGGER.warning("run %s: not waiting for the end any more", self.books.settings.run)
            except Exception as error:
                self.books.troubles.report_exception("end", error)

    def _announce(self, target_file: TargetFile) -> None:
        try:
            labels = {"__meta_epochwatch_run": self.books.settings.run}
            if self.books.settings.tls_cert is not None:
                labels["__scheme__"] = "https"
            target_file.write(self.target, labels)
        except OSError as error:
            self.books.troubles.report(
                "discovery",
                f"{target_file.path} cannot be written ({error.strerror or error}); Prometheus will not find "
                "this run by itself (argument targets_dir=, environment EPOCHWATCH_TARGETS_DIR)",
            )


def constant_labels(settings: Settings, place: Place) -> dict[str, str]:
    """Gives the labels that every series of the run carries."""
    return {"run": settings.run, "rank": str(place.rank), **settings.labels}


def start_directory() -> Path:
    """Gives the directory of the script that runs, or the working directory where there is none."""
    script: Any = getattr(sys.modules.get("__main__"), "__file__", None)
    return Path(script).absolute().parent if script else Path.cwd()
