"""Leaves a job's metrics where Prometheus finds them after the process is gone, for jobs that system cron starts.

A file for node_exporter's textfile collector, a push to a Pushgateway, or both. Neither may stop or delay a run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from prometheus_client import CollectorRegistry, push_to_gateway, write_to_textfile
from prometheus_client.exposition import basic_auth_handler, default_handler

from ..errors import JobError
from ..troubles import Troubles
from .collector import JobCollector
from .jobbook import JobBook

PUSH_TIMEOUT_SECONDS = 5.0
READABLE_BY_ALL = 0o644
PUSHED_AS = "epochwatch"


class Publisher:
    """Publishes one job's book, whole, each time it is told to.

    Args:
        textfile_dir: The directory that node_exporter reads (--collector.textfile.directory).
        pushgateway: Address of a Pushgateway, user and password included if it wants some.

    Raises:
        JobError: If the directory is none or the address cannot be right.
    """

    def __init__(
        self,
        book: JobBook,
        troubles: Troubles,
        textfile_dir: Path | None = None,
        pushgateway: str | None = None,
    ) -> None:
        self._troubles = troubles
        self._registry = CollectorRegistry()
        self._registry.register(JobCollector([book], on_error=troubles.report_exception))
        self._ways: list[Callable[[], None]] = []
        if textfile_dir is not None:
            if not textfile_dir.is_dir():
                raise JobError(
                    f"--textfile {textfile_dir} is no directory; give the one that node_exporter reads "
                    "(its --collector.textfile.directory)"
                )
            self._ways.append(partial(self._write, textfile_dir / f"epochwatch_{book.spec.name}.prom"))
        if pushgateway is not None:
            self._ways.append(partial(self._push, Gateway(pushgateway), book.spec.name))
        self._threads: list[threading.Thread] = []
        self._publishing = threading.Lock()

    def publish_soon(self) -> None:
        """Publishes what is known now on a thread of its own, so that nobody waits for a file system or a network."""
        if self._ways:
            thread = threading.Thread(target=self.publish, name="epochwatch-publisher", daemon=True)
            self._threads.append(thread)
            thread.start()

    def publish(self) -> None:
        """Publishes what is known now; what fails is reported."""
        with self._publishing:
            for way in self._ways:
                try:
                    way()
                except Exception as error:
                    self._troubles.report_exception("job_publish", error)

    def close(self) -> None:
        """Waits for what is under way, and publishes a last time."""
        for thread in self._threads:
            thread.join(2 * PUSH_TIMEOUT_SECONDS)
        if self._ways:
            self.publish()

    def _write(self, path: Path) -> None:
        write_to_textfile(str(path), self._registry)
        # node_exporter is another user, and root's cron may have a umask that keeps it out.
        path.chmod(READABLE_BY_ALL)

    def _push(self, gateway: Gateway, job: str) -> None:
        # PUT, which replaces the job's whole group: what is no longer known must go. No host in the grouping key: a job
        # that moves to another machine would leave its old promise behind.
        try:
            push_to_gateway(
                gateway.address,
                PUSHED_AS,
                self._registry,
                {"job_name": job},
                timeout=PUSH_TIMEOUT_SECONDS,
                handler=gateway.handler,
            )
        except OSError as error:
            raise OSError(f"{gateway.host} did not take the metrics: {error}") from None


class Gateway:
    """Address of a Pushgateway, its password kept apart.

    Raises:
        JobError: If it is no HTTP address.
    """

    def __init__(self, address: str) -> None:
        try:
            parts = urlsplit(address if "://" in address else f"http://{address}")
            right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            right = False
        if not right:
            # The address is not shown: it may hold a password.
            raise JobError("--pushgateway must be an address such as http://pushgateway:9091")
        self.host = parts.netloc.rpartition("@")[2]
        self.address = urlunsplit((parts.scheme, self.host, parts.path, "", ""))
        self._login = (unquote(parts.username or ""), unquote(parts.password or ""))

    def handler(
        self,
        url: str,
        method: str,
        timeout: float | None,
        headers: list[tuple[str, str]],
        data: bytes,
    ) -> Callable[[], None]:
        """Gives what sends a request, as prometheus_client wants it."""
        if any(self._login):
            return basic_auth_handler(url, method, timeout, headers, data, *self._login)
        return default_handler(url, method, timeout, headers, data)
